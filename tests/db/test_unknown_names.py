"""What is said of a misspelt name that keeps no hit away: one that must be missing, or one of several that will do."""

from __future__ import annotations

import time
from contextlib import nullcontext

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.filters import unknown_names
from host.comfy_models import import_comfy


@pytest.fixture(autouse=True)
def machine_without_haste(monkeypatch) -> None:
    """Where other tests run beside these, the time for a note may pass before the first name was looked up."""
    monkeypatch.setattr(unknown_names, "SECONDS", 10)


@pytest.fixture
def images(conn, root, image):
    """Images with names of some kinds."""
    names = {"labels": ("draft", "final"), "checkpoint": "sdxl/dreamXL_v8.safetensors", "loras": [{"name": "add-detail-xl"}], "sampler": "euler"}
    return db.write_images(conn, root, [image(1, path="mine/cats/1.png", **names), image(2, path="2.png"), image(3, path="3.png")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-label:darft", "-label:darft leaves nothing out. No image has the label 'darft'. Did you mean 'draft'?"),
        ("label!=darft", "-label=darft leaves nothing out. No image has the label 'darft'. Did you mean 'draft'?"),
        ("not tag:darft", "-label:darft leaves nothing out. No image has the label 'darft'. Did you mean 'draft'?"),
        ('-label:"finla"', "-label:finla leaves nothing out. No image has the label 'finla'. Did you mean 'final'?"),
        ("label:draft or label:fianl", "No image has the label 'fianl'. Did you mean 'final'?"),
        ("label:draft,fianl", "No image has the label 'fianl'. Did you mean 'final'?"),
        ("-label:draft,fianl", "-label:fianl leaves nothing out. No image has the label 'fianl'. Did you mean 'final'?"),
        ("-(label:draft label:fianl)", "-label:fianl leaves nothing out. No image has the label 'fianl'. Did you mean 'final'?"),
        ("-(-label:draft -label:fianl)", "No image has the label 'fianl'. Did you mean 'final'?"),
        ("(label:draft or sampler:eulre) width:64", "No image has the sampler 'eulre'. Did you mean 'euler'?"),
        ("-lora:detial-xl", "-lora:detial-xl leaves nothing out. No image has the LoRA 'detial-xl'. Did you mean 'add-detail-xl'?"),
        ("-checkpoint:dreemXL", "-checkpoint:dreemXL leaves nothing out. "
         "No image has the checkpoint 'dreemXL'. Did you mean 'sdxl/dreamXL_v8.safetensors'?"),
        ("-folder:output", "-folder:output leaves nothing out. 'output' is a root, and no folder of one: root:output passes all below it."),
        ('-folder:cats -label:darft', "-folder:cats leaves nothing out. No folder 'cats' lies directly below a root; folder:*/cats has 1 image. "
         "-label:darft leaves nothing out. No image has the label 'darft'. Did you mean 'draft'?"),
        ("-label:zebra", ""),
        ("-label:draft", ""),
        ("label:draft or label:final", ""),
        ("label:draft -rating:5 -dgo -has:label", ""),
        ("-(-label:draft)", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_name_that_no_image_has_is_told_where_one_is_near(conn, images, text: str, said: str) -> None:
    assert db.unknown_names(conn, db.parse_filter(text)) == said


def test_of_what_must_be_there_nothing_is_asked(conn, images, monkeypatch) -> None:
    monkeypatch.setattr(unknown_names, "is_there", lambda *asked: pytest.fail(f"asked for {asked}"))
    for text in ("label:draft", "label:draft (sampler:euler folder:mine)", "-(-label:draft)", "(label:draft)"):
        assert db.unknown_names(conn, db.parse_filter(text)) == ""


def test_it_is_asked_once_until_somebody_writes(conn, images, monkeypatch) -> None:
    asked, filter = [], db.all_of([db.parse_filter("-label:darft"), db.parse_filter("width:64")])
    is_there = unknown_names.is_there
    monkeypatch.setattr(unknown_names, "is_there", lambda conn, *one: asked.append(one) or is_there(conn, *one))
    told = [db.unknown_names(conn, filter) for _ in range(3)]
    assert len({*told}) == len(asked) == 1 and "Did you mean 'draft'" in told[0]
    db.label_images(conn, images[:1], add=["darft"])
    assert (db.unknown_names(conn, filter), len(asked)) == ("", 2)


def test_no_more_notes_are_kept_than_are_worth_it(conn, images, monkeypatch) -> None:
    monkeypatch.setattr(unknown_names, "KEPT", 2)
    for n in range(5):
        assert "Did you mean 'draft'" in db.unknown_names(conn, db.parse_filter(f"-label:darft{n}"))
        assert len(unknown_names._kept) <= 2


def test_where_it_would_take_long_nothing_is_told_and_the_session_goes_on(conn, images, monkeypatch) -> None:
    def slow(conn, *asked) -> bool:
        if asked[2] == "darft":
            conn.execute("SELECT pg_sleep(30)")
        return False

    monkeypatch.setattr(unknown_names, "is_there", slow)
    before = conn.execute("SHOW statement_timeout").fetchone()
    assert db.unknown_names(conn, db.parse_filter("-label:fianl")) and conn.execute("SHOW statement_timeout").fetchone() == before
    monkeypatch.setattr(unknown_names, "SECONDS", 0.2)
    assert db.unknown_names(conn, db.parse_filter("-label:darft")) == ""
    monkeypatch.setattr(unknown_names, "SECONDS", 3)  # which the first of the two never takes
    assert db.unknown_names(conn, db.parse_filter("-label:fianl -label:darft")).startswith("-label:fianl leaves nothing out.")
    assert conn.execute("SHOW statement_timeout").fetchone() == before
    assert db.count_images(conn) == 3


def test_all_names_together_take_no_longer_than_one_may(conn, images, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(unknown_names, "SECONDS", 0.2)
    monkeypatch.setattr(unknown_names, "is_there", lambda conn, *one: asked.append(one) or bool(conn.execute("SELECT pg_sleep(0.15)")))
    assert db.unknown_names(conn, db.parse_filter(" ".join(f"-lora:n{n}" for n in range(10)))) == ""
    assert 1 <= len(asked) <= 2


def test_a_filter_that_took_long_is_not_asked_about_again_for_some_minutes_whoever_writes(conn, images, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(unknown_names, "SECONDS", 0.05)
    monkeypatch.setattr(unknown_names, "is_there", lambda conn, *one: asked.append(one) or conn.execute("SELECT pg_sleep(30)"))
    filter = db.parse_filter("-lora:detial-xl")
    for n in range(3):
        assert db.unknown_names(conn, filter) == "" and len(asked) == 1
        db.label_images(conn, images[:1], add=[f"new{n}"])
    assert db.unknown_names(conn, db.parse_filter("-lora:other")) == "" and len(asked) == 2
    after, now = unknown_names.SPARED + 1, time.monotonic
    monkeypatch.setattr(unknown_names.time, "monotonic", lambda: now() + after)
    assert db.unknown_names(conn, filter) == "" and len(asked) == 3


def test_few_of_many_are_told(conn, images) -> None:
    assert db.unknown_names(conn, db.parse_filter(" ".join(f"-label:darft{n}" for n in range(8)))).count("leaves nothing out") == 3


def test_a_search_tells_it_beside_its_hits_and_one_without_hits_once(library, image, encoder, unit) -> None:
    import_comfy()
    from diffusion_toolkit.nodes import links
    from diffusion_toolkit.nodes.search import asking, no_hits

    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        ids = db.write_images(conn, root, [image(1, labels=("draft",)), image(2)])
        db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack([unit(1), unit(3, 4)]))
    parts = [links.QueryPart("image", unit(1), label="a picture")]
    wanted = asking.Wanted(filter=db.parse_filter("-label:darft"))
    found = asking.find(library, parts, wanted)
    assert len(found.hits.hits) == 2 and found.hits.note == "-label:darft leaves nothing out. No image has the label 'darft'. Did you mean 'draft'?"
    wanted = asking.Wanted(filter=db.parse_filter("label:darft or label:drafts"))
    found = asking.find(library, parts, wanted)
    assert found.hits.note == "" and no_hits.why_no_hits(library, parts, wanted).count("No image has the label 'darft'") == 1


def test_a_copy_of_a_library_that_was_written_since_is_told_of_its_own_images(conn, root, image, new_database, template):
    wanted, said = db.parse_filter("-label:darft"), []
    for label, opened in (("draft", nullcontext(conn)), ("zebra", psycopg.connect(new_database(template)))):
        with opened as one:
            db.write_images(one, db.ensure_root(one, "output", "/pictures"), [image(1, labels=(label,))])
            said.append((db.generation(one), db.unknown_names(one, wanted)))
    assert said[0][0] == said[1][0] and "'draft'" in said[0][1] and said[1][1] == ""


def test_a_note_is_told_though_another_thread_forgets_all_meanwhile(conn, images, monkeypatch):
    keep = unknown_names._keep

    def kept(*given) -> None:
        keep(*given)
        unknown_names._kept.clear()

    monkeypatch.setattr(unknown_names, "_keep", kept)
    assert "'draft'" in db.unknown_names(conn, db.parse_filter("-label:darft"))
