"""What Library Status says of folders."""

from __future__ import annotations

from types import SimpleNamespace

from host.comfy_models import import_comfy


def test_nodes_and_the_librarys_reports_call_the_kinds_alike():
    import_comfy()
    from diffusion_toolkit import db
    from diffusion_toolkit.db.words import kind_in_words
    from diffusion_toolkit.nodes.links import KINDS

    assert list(KINDS.items()) == [(kind, kind_in_words(kind)) for kind in db.KINDS]


def test_the_statements_for_a_moved_folder_can_be_run_whatever_its_name_is():
    import_comfy()
    from diffusion_toolkit.nodes.library.status_report import _host_problems

    status = SimpleNamespace(roots=[("mum", "/photos/mum's", 3)])
    [problem] = _host_problems(SimpleNamespace(embedded=False), status)
    assert "3 files lie in /photos/mum's (root" in problem.what
    [one] = _host_problems(SimpleNamespace(embedded=False), SimpleNamespace(roots=[("mum", "/photos/mum's", 1)]))
    assert one.what.startswith("1 file lies in /photos/mum's (root")
    assert "WHERE path = '/photos/mum''s'; or" in problem.remedy and "DELETE FROM roots WHERE path = '/photos/mum''s';" in problem.remedy
