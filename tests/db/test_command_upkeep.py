"""`run.py verify`, `repair` and `prune` over a real folder and a real library, less the process around them."""

from __future__ import annotations

import json
import signal
from errno import ENOSPC

import psycopg
import pytest
from diffusion_toolkit.db.server import embedded
from diffusion_toolkit.db.server._locks import FileLock
from diffusion_toolkit.nodes.command.errors import FAILED, WRONG
from PIL import Image
from psycopg.conninfo import make_conninfo


@pytest.fixture
def command(library, tmp_path, monkeypatch, capsys):
    """Runs one with its options: (exit code, what it said, its JSON), on a library of three files, of which b.png is gone."""
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
    from diffusion_toolkit.nodes import host
    from diffusion_toolkit.nodes.command.arguments import parse
    from diffusion_toolkit.nodes.command.context import Context
    from diffusion_toolkit.nodes.command.progress import Cancel
    from diffusion_toolkit.nodes.command.upkeep import upkeep as run
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore
    from diffusion_toolkit.nodes.library import status_report, upkeep

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name)
    with FolderStore(library, "pictures", folder, "", Encoders()) as store:
        index_folder(folder, Scan(folder), store, Encoders())
    (folder / "b.png").unlink()
    for module in (upkeep, status_report):
        monkeypatch.setattr(module, "roots", lambda: {"pictures": folder})
    monkeypatch.setattr(status_report, "config_file", lambda: tmp_path / "config.json")
    monkeypatch.setattr(status_report, "toolkit_directory", lambda: tmp_path)
    monkeypatch.setattr(host, "open_library", lambda name: library)

    def command(*arguments: str):
        file = tmp_path / "report.json"
        with Cancel() as cancel:
            code = run(Context(parse([*arguments, "--json", str(file)]).given, tmp_path, [], tmp_path, cancel))
        return code, capsys.readouterr().out, json.loads(file.read_text(encoding="utf-8"))

    return command


def held(library) -> list[tuple[str, bool]]:
    """Each path that the library has, and whether it is marked as missing."""
    with library.connection() as conn:
        return conn.execute("SELECT path, missing IS NOT NULL FROM paths ORDER BY path").fetchall()


def test_verify_names_problems_changes_nothing_and_strict_tells_by_the_exit_code(library, command):
    before = held(library)
    code, said, record = command("verify", "--strict")
    assert code == 3 and "Gone from pictures: 1 file." in said and record["action"] == "verify"
    assert all(problem.keys() == {"what", "remedy"} for problem in record["problems"])
    assert record["unsound_vectors"] == {} and held(library) == before
    assert command("verify")[0] == 0
    assert command("verify", "--no-thorough")[2]["unsound_vectors"] is None


def test_repair_marks_what_is_gone_and_says_so(library, command):
    code, said, record = command("repair")
    assert code == 0 and "Marked as missing in pictures: 1 file;" in said and record["done"][0].startswith("Marked as missing")
    assert held(library) == [("a.png", False), ("b.png", True), ("c.png", False)]


def test_prune_shows_and_removes_only_with_yes(library, command):
    before = held(library)
    code, said, record = command("prune")
    assert code == 0 and "prune would remove: 1 file " in said and "pictures: b.png" in said and "`prune --yes`" in said
    assert record["pruned"]["files"] == 1 and held(library) == before
    code, said, record = command("prune", "--yes")
    assert code == 0 and "Removed: 1 file " in said and "--yes" not in said
    assert held(library) == [("a.png", False), ("c.png", False)]


def test_what_comes_back_before_it_is_removed_is_not_told_nor_counted_as_removed(library, command, tmp_path, monkeypatch):
    """An image's only file, and a copy of one that stays."""
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.library import upkeep

    files, prune = tmp_path / "pictures", upkeep.prune
    with library.connection() as conn:
        columns = "root_id, image_id, file_size, mtime_ns"
        conn.execute(
            f"INSERT INTO paths (path, {columns}) SELECT place, {columns} FROM paths, unnest('{{a too.png,a again.png}}'::text[]) place"
            " WHERE path = 'a.png'"
        )
        ids = dict(conn.execute("SELECT path, image_id FROM paths"))
        db.label_images(conn, [ids["b.png"], ids["c.png"]], add=["kept"])
    (files / "c.png").unlink()

    def late(*arguments):
        for name in ("b.png", "a too.png"):
            (files / name).write_bytes(b"")
        return prune(*arguments)

    monkeypatch.setattr(upkeep, "prune", late)
    code, said, record = command("prune", "--yes")
    assert code == 0 and (
        "Removed: 2 files gone from the disk, 1 image with no other file (1 of them with a label, namespace or rating of yours). "
        "What stays: 1 image with files elsewhere.\n"
        "Images that went, with the last place of each, those with something of yours first:\n"
        "  pictures: c.png  [label kept]\n"
        "Moved, or copies: 1 file of images that stay, with all that you gave them:\n"
        "  pictures: a again.png\n"
    ) in said
    assert [one["path"] for one in record["pruned"]["going"]] == ["c.png"]
    assert record["pruned"]["named"] == ["pictures: c.png", "pictures: a again.png"]
    assert held(library) == [("a too.png", False), ("a.png", False), ("b.png", False)]


def test_a_folder_that_is_emptied_is_pruned_only_when_that_is_said(library, command, tmp_path):
    for file in (tmp_path / "pictures").iterdir():
        file.unlink()
    assert "--even-if-all-are-gone" in command("prune", "--yes")[1]
    assert len(held(library)) == 3
    command("prune", "--yes", "--even-if-all-are-gone")
    assert held(library) == []


def test_texts_of_no_image_are_told_with_the_option_that_removes_them(library, command):
    from diffusion_toolkit import db

    with library.connection() as conn:
        db.ensure_text(conn, db.TextPair("a cat", ""))
    said = command("prune")[1]
    assert "with --unused-texts also 1 text of no image" in said and "let prune remove them with --unused-texts." in said
    assert "; 1 text of no image" in command("prune", "--yes", "--unused-texts")[1]


def test_what_helps_is_told_in_the_words_of_a_shell(library, command, encoder, tmp_path, capsys):
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.command.arguments import parse
    from diffusion_toolkit.nodes.command.context import Context
    from diffusion_toolkit.nodes.command.status import status

    (tmp_path / "pictures/c.png").write_bytes(b"another")
    with library.connection() as conn:
        text = db.ensure_text(conn, db.TextPair("a cat", "a cat"))
        conn.execute("UPDATE images SET prompt_id = %s", [text])
        encoder(conn, "image"), encoder(conn, "text")
    said = command("verify")[1]
    assert "Run `index` on it: it reads them." in said and "`index` finds those again that were moved" in said
    assert "of 3 images have no image vector" in said
    assert "-> Run `index` on pictures with that model (looked for by itself, or named: --clip-vision FILE)." in said
    assert "Run `index` first: it finds what was only moved" in command("prune")[1]
    command("repair")
    status(Context(parse(["status"]).given, tmp_path, [], tmp_path, None))
    said += capsys.readouterr().out
    assert "CLIP-L and CLIP-G vectors, which are optional: searches by them find nothing.\n   -> Run `index` with --checkpoint FILE." in said
    assert "`prune` shows them, and removes them from the library with --yes." in said
    assert "The files themselves were not looked at: `verify` does." in said
    assert not [word for word in ("ueue", "Index Folder", "Library Upkeep", "connect") if word in said]


def test_strict_status_of_a_library_that_lacks_what_nobody_asked_for_is_0(library, command, tmp_path, capsys):
    from diffusion_toolkit.nodes.command.arguments import parse
    from diffusion_toolkit.nodes.command.context import Context
    from diffusion_toolkit.nodes.command.status import status

    def strictly() -> tuple[int, str]:
        return status(Context(parse(["status", "--strict"]).given, tmp_path, [], tmp_path, None)), capsys.readouterr().out

    code, said = strictly()
    assert code == (3 if library.warnings else 0) and "\nThere are no image vectors, which are optional: searches by them find nothing.\n" in said
    command("repair")  # b.png is gone
    code, said = strictly()
    assert code == 3 and "1 file was gone" in said


def test_prune_beside_a_run_is_refused_before_anything_is_looked_at(library, command, monkeypatch):
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.library import upkeep

    run = db.Run(library, "gpu-box, process 12")
    run.begin()
    try:
        assert command("verify")[0] == command("repair")[0] == command("prune")[0] == 0
        monkeypatch.setattr(upkeep, "look", lambda *arguments: pytest.fail("it was looked at"))
        with pytest.raises(UsageError, match="gpu-box, process 12 is indexing"):
            command("prune", "--yes")
    finally:
        run.end()


def test_ctrl_c_waits_for_the_page_at_hand_and_removes_nothing(library, command, monkeypatch):
    from diffusion_toolkit.nodes.command import upkeep
    from diffusion_toolkit.nodes.command.progress import Cancelled

    at_hand = []

    def told(bar, stage, done, total):
        if stage == "Files in pictures":
            signal.raise_signal(signal.SIGINT)
            at_hand.append(stage)
        bar._cancel.check()

    monkeypatch.setattr(upkeep.Bar, "__call__", told)
    with pytest.raises(Cancelled):
        command("prune", "--yes")
    assert len(held(library)) == 3 and len(at_hand) == 1


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """What a command ends with that can't have its library, of these names and connection strings: (exit code, what it says)."""
    from diffusion_toolkit.nodes import host
    from diffusion_toolkit.nodes.command.arguments import parse
    from diffusion_toolkit.nodes.command.context import Context
    from diffusion_toolkit.nodes.command.main import _tell

    monkeypatch.setattr(host, "toolkit_directory", lambda: tmp_path)

    def opened(name: str, library: str, libraries: dict[str, str]) -> tuple[int, str]:
        (tmp_path / "config.json").write_text(json.dumps({"libraries": libraries}), encoding="utf-8")
        (tmp_path / "config.json").chmod(0o600)
        given = parse([name, *(["folder"] if name == "index" else []), "--library", library]).given
        with pytest.raises(RuntimeError) as error:
            Context(given, tmp_path, [], tmp_path, None).library()
        return _tell(error.value), str(error.value)

    return opened


@pytest.mark.parametrize("name", ["index", "status", "verify", "prune"])
def test_a_library_whose_database_is_missing_or_refused_ends_with_code_2_as_an_unknown_one_does(name, dsn, opened):
    libraries = {"missing": make_conninfo(dsn, dbname="nowhere"), "refused": make_conninfo(dsn, password="hunter2")}
    for library, told in (("missing", "createdb NAME"), ("refused", "user or password"), ("nope", "no library 'nope'")):
        code, said = opened(name, library, libraries)
        assert code == WRONG and told in said


@pytest.mark.parametrize("migration", ["9999_of_tomorrow.sql", None])
def test_a_library_of_a_newer_version_or_another_program_ends_with_code_2(migration, dsn, new_database, opened):
    made = dsn if migration else new_database()
    with psycopg.connect(made) as conn:
        conn.execute("INSERT INTO migrations (name, sha256) VALUES (%s, '')" if migration else "CREATE TABLE images ()", migration and [migration])
    code, said = opened("status", "that", {"that": made})
    assert code == WRONG and ("newer Diffusion Toolkit" if migration else "images of another program") in said


def test_a_server_that_cancels_what_makes_the_library_ends_with_code_1(new_database, opened):
    code, said = opened("status", "slow", {"slow": make_conninfo(new_database(), options="-c statement_timeout=1")})
    assert code == FAILED and "cancelled the statement" in said


@pytest.mark.parametrize("trouble", ["a full disk", "another start", "PostgreSQL"])
def test_an_own_library_that_can_not_be_started_now_ends_with_code_1(trouble, tmp_path, monkeypatch, opened):
    monkeypatch.delenv("DIFFUSION_TOOLKIT_DSN", raising=False)
    monkeypatch.setattr(embedded, "READY_SECONDS", 0.1)
    starting = FileLock(tmp_path / "library" / "start.lock")
    (tmp_path / "library").mkdir()

    def join(server: embedded.EmbeddedServer) -> None:
        raise OSError(ENOSPC, "No space left on device") if trouble == "a full disk" else server._cluster.failure("It did not start", 0)

    monkeypatch.setattr(embedded.EmbeddedServer, "_join", join)
    if trouble == "another start":
        assert starting.acquire()
    code, said = opened("index", "default", {})
    if trouble == "another start":
        starting.release()
    assert code == FAILED and {"a full disk": "No space left", "another start": "for too long", "PostgreSQL": "It did not start"}[trouble] in said
