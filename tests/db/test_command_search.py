"""`run.py search` over a real folder and a real library, less the process around it."""

from __future__ import annotations

import io
import json
import os

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.nodes.command.errors import UsageError
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PROMPTS = {"a.png": "a red fox in snow", "b.png": "a red boat", "c.png": "a fox, red with anger"}


@pytest.fixture
def command(library, tmp_path, monkeypatch, capsys):
    """Runs it with its options: (what it said, its JSON), on a library of three files, of which c.png is gone."""
    import diffusion_toolkit.nodes.files  # noqa: F401  (keeps the `roots` that there are when it is first imported)
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
    from diffusion_toolkit.nodes import host
    from diffusion_toolkit.nodes.command.arguments import parse
    from diffusion_toolkit.nodes.command.context import Context
    from diffusion_toolkit.nodes.command.progress import Cancel
    from diffusion_toolkit.nodes.command.search import search as run
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore
    from diffusion_toolkit.nodes.routes import images

    folder = (tmp_path / "pictures").resolve()
    folder.mkdir()
    for seed, (name, prompt) in enumerate(PROMPTS.items(), 1):
        info = PngInfo()
        info.add_text("parameters", f"{prompt}\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: {seed}, Size: 8x8")
        Image.new("RGB", (8, 8), (seed, 0, 0)).save(folder / name, pnginfo=info)
        os.utime(folder / name, (seed * 86400, seed * 86400))
    with FolderStore(library, "pictures", folder, "", Encoders()) as store:
        index_folder(folder, Scan(folder), store, Encoders())
    (folder / "c.png").unlink()
    monkeypatch.setattr(host, "roots", lambda: {"pictures": folder})
    monkeypatch.setattr(host, "open_library", lambda name: library)
    images._readable.cache_clear()

    def command(*arguments: str):
        file = tmp_path / "report.json"
        with Cancel() as cancel:
            assert run(Context(parse(["search", "--json", str(file), *arguments]).given, tmp_path, [], tmp_path, cancel)) == 0
        out, command.err = capsys.readouterr()
        return out, json.loads(file.read_text(encoding="utf-8"))

    command.folder = folder
    return command


def names(record) -> list[str]:
    return [os.path.basename(image["path"]) for image in record["images"]]


def test_words_find_the_prompts_that_have_all_of_them_the_newest_first(command):
    said, record = command("red", "fox")
    assert names(record) == ["c.png", "a.png"] and record["total"] == 2 and record["filter"] == 'prompt:"red" prompt:"fox"'
    first, *lines = said.splitlines()
    assert first == f"1 to 2 of 2 images that pass {record['filter']}"
    assert "a fox, red with anger" in lines[0] and "[the file is gone]" in lines[0] and lines[0].startswith("1. #")
    assert lines[2].endswith("a red fox in snow") and lines[3].strip() == str(command.folder / "a.png")
    assert names(command("red fox")[1]) == ["c.png", "a.png"] and names(command('"red fox"')[1]) == ["a.png"]
    assert names(command("red -fox")[1]) == ["b.png"]


def test_a_filter_stands_alone_or_beside_words(library, command):
    assert names(command("--filter", "seed:2,3")[1]) == ["c.png", "b.png"]
    assert names(command("fox", "--filter", "seed:1 or seed:2")[1]) == ["a.png"]
    assert names(command()[1]) == ["c.png", "b.png", "a.png"]
    with library.connection() as conn:
        db.label_images(conn, [record["image_id"] for record in command()[1]["images"][:1]], add=["draft"])
    said, record = command("--filter=-label:darft")
    assert "draft" in record["note"] and said.splitlines()[1] == record["note"]


def test_order_pages_and_paths(command):
    said, record = command("--order", "seed", "-k", "1", "--offset", "1")
    assert names(record) == ["b.png"] and record["total"] == 3 and said.startswith("2 to 2 of 3 images\n2. #")
    said, record = command("--order", "seed", "--paths")
    assert said.splitlines() == [str(command.folder / "a.png"), str(command.folder / "b.png")]
    assert command.err.splitlines() == ["1 to 3 of 3 images", "1 file of these can't be had: it is left out."]
    assert command("nothing_of_the_kind", "--paths")[0] == "" and "There are no images that pass" in command.err


def test_nothing_found_is_told_with_why(command):
    said, record = command("wolf")
    assert said == 'There are no images that pass prompt:"wolf". Ask with fewer or other words (*ox: the end of one), or a looser filter.\n'
    assert record["images"] == [] and record["note"] == "Ask with fewer or other words (*ox: the end of one), or a looser filter."
    said, record = command("--filter", "seed:9")
    assert "the lowest is 1, the highest 3" in record["note"] and said == f"There are no images that pass seed:9. {record['note']}\n"
    said, record = command("fox", "--offset", "5")
    assert said == 'Of 2 images that pass prompt:"fox" none is after the first 5. Lower --offset.\n' == record["note"] + "\n"
    assert command("boat")[0].startswith('1 to 1 of 1 image that passes prompt:"boat"\n1. #')


def test_in_an_empty_library_the_next_step_is_to_index(library, command):
    with library.connection() as conn:
        conn.execute("DELETE FROM images")
    said, record = command()
    assert said == "There are no images. Run `index`.\n" and record["note"] == "Run `index`."


def test_paths_are_utf8_whatever_the_outputs_own_encoding_is(monkeypatch):
    from diffusion_toolkit.nodes.command.report import write_report

    for encoding, expected in (("utf-8", "ü🦊"), (None, "\\xfc\\U0001f98a")):
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr("sys.stdout", out)
        write_report(None, {}, "ü🦊", encoding)
        assert out.buffer.getvalue().decode("utf-8").strip() == expected


def test_what_is_no_question_is_refused_before_a_library_is_opened(command, monkeypatch):
    from diffusion_toolkit.nodes import host

    monkeypatch.setattr(host, "open_library", lambda name: pytest.fail("opened"))
    with pytest.raises(UsageError, match="There is no word in ' , '"):
        command(" , ")
    with pytest.raises(UsageError, match="The filter can't be understood"):
        command("--filter", "seed:")
    with pytest.raises(UsageError, match="at character 6, '\\) or \\(shark'"):  # by itself, whatever it would be in parentheses
        command("fox", "--filter", "boat ) or (shark")
    with pytest.raises(UsageError, match="both ask for the standard output"):
        command("--paths", "--json", "-")
