"""The parts of `run.py`: its arguments, and where it finds ComfyUI and the root of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from host.bootstrap import REPOSITORY
from host.comfy_models import import_comfy
from host.devices import realpath_of_windows
from host.links import make_link


@pytest.fixture(scope="module", autouse=True)
def comfyui() -> Path:
    return import_comfy()


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """Three roots by name: one inside another, and one beside them."""
    from diffusion_toolkit.nodes.command import folders as of_command
    from diffusion_toolkit.nodes.indexing import folders

    found = {"output": tmp_path / "output", "inner": tmp_path / "output" / "inner", "photos": tmp_path / "photos"}
    for folder in found.values():
        (folder / "2025").mkdir(parents=True)
    for module in (folders, of_command):
        monkeypatch.setattr(module, "roots", lambda: found)
    monkeypatch.setattr(folders, "config_file", lambda: tmp_path / "config.json")
    return found


def install(folder: Path) -> Path:
    """An empty ComfyUI, by which one is recognised."""
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfy" / "cli_args.py").touch()
    return folder


def test_what_follows_two_hyphens_is_comfyuis():
    from diffusion_toolkit.nodes.command.arguments import parse

    options = parse(["index", "pictures", "--strict", "--", "--cpu", "--strict"])
    assert (options.given.folder, options.given.strict) == ("pictures", True)
    assert options.comfyui_arguments == ["--cpu", "--strict"]


def test_a_folder_as_the_shells_of_windows_complete_it_is_understood(monkeypatch, capsys):
    from diffusion_toolkit.nodes.command.arguments import parse

    completed = 'C:\\My Pictures"'  # what is left of "C:\My Pictures\"
    with monkeypatch.context() as system:
        system.setattr("os.name", "posix")
        assert parse(["index", completed]).given.folder == completed
        system.setattr("os.name", "nt")
        options = parse(["index", completed, "--labels", 'a "b"', "--", "--base-directory", 'D:\\my comfy"'])
        assert (options.given.folder, options.given.labels) == ("C:\\My Pictures\\", 'a "b"')
        assert options.comfyui_arguments == ["--base-directory", "D:\\my comfy\\"]
        with pytest.raises(SystemExit) as ended:
            parse(["index", 'C:\\My Pictures" --labels b -- --base-directory D:\\my comfy"'])
    assert ended.value.code == 2 and 'Write "C:\\My Pictures".' in capsys.readouterr().err


def test_a_search_may_pass_over_as_many_images_as_the_node(capsys):
    import_comfy()
    from diffusion_toolkit.nodes.command.arguments import parse
    from diffusion_toolkit.nodes.search.hits import MOST_OFFSET

    for offset in (0, 10_000, MOST_OFFSET):
        assert parse(["search", "--offset", str(offset)]).given.offset == offset
    for wrong in (str(MOST_OFFSET + 1), "-1", "ten", "1.5"):
        with pytest.raises(SystemExit):
            parse(["search", f"--offset={wrong}"])
        assert f"'{wrong}' is no number from 0 to 1000000" in capsys.readouterr().err


def test_the_beginning_of_an_option_is_not_the_option():
    from diffusion_toolkit.nodes.command.arguments import parse

    assert parse(["prune", "--yes"]).given.yes
    with pytest.raises(SystemExit):
        parse(["prune", "--y"])


@pytest.mark.parametrize(
    "given, told",
    [
        (["statsu"], "there is no command 'statsu'. Did you mean status? The commands are: index, status, verify, repair, prune, search."),
        (["xyzzy"], "there is no command 'xyzzy'. The commands are: index,"),
        (["prune", "--yess"], "unrecognized arguments: --yess. Did you mean --yes?"),
        (["status", "--librari=mine", "-x"], "--librari=mine -x. Did you mean --library?"),
        (["--library", "mine", "status"], "--library comes before a command. The commands are: index, status, verify, repair, prune, search. Options follow"),
        (["search", "fox", "-snow"], 'unrecognized arguments: -snow. Words that must not be there stand in quotes with others: "fox -snow".'),
        (["index", "a.png", "b.png", "c.png"], "one folder or list is taken, and there is also 'b.png' and 1 more. Index several"),
        (["index", "a", "--pattern", "a.png", "b.png"], "there is also 'b.png'. Index several folders one by one"),
        (["status", "--nothing-like-it"], "unrecognized arguments: --nothing-like-it. ComfyUI's own options go after a --.\n"),
    ],
)
def test_what_is_misspelt_is_told_with_what_is_like_it(given, told, capsys):
    from diffusion_toolkit.nodes.command.arguments import parse

    with pytest.raises(SystemExit) as ended:
        parse(given)
    assert ended.value.code == 2 and told in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--token-state-budget", "-1"], ["--token-state-budget", "nan"], ["--workers", "0"], ["--nonsense"]])
def test_a_wrong_option_ends_with_code_2(wrong, capsys):
    from diffusion_toolkit.nodes.command.arguments import parse

    with pytest.raises(SystemExit) as ended:
        parse(["index", "pictures", *wrong])
    assert ended.value.code == 2 and wrong[0] in capsys.readouterr().err


def test_comfyui_is_found_around_a_package_that_is_linked_into_its_custom_nodes(tmp_path, monkeypatch):
    from diffusion_toolkit.nodes.command.comfyui import VARIABLE, find_comfyui

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    comfyui = install(tmp_path / "ComfyUI")
    (tmp_path / "clone").mkdir()
    (comfyui / "custom_nodes").mkdir()
    link = comfyui / "custom_nodes" / "toolkit"
    link.symlink_to(tmp_path / "clone", target_is_directory=True)
    assert find_comfyui(None, link) == comfyui


def test_a_comfyui_that_is_named_goes_before_the_one_around(tmp_path, monkeypatch):
    from diffusion_toolkit.nodes.command.comfyui import VARIABLE, find_comfyui

    around, other, third = (install(tmp_path / name) for name in ("around", "other", "third"))
    package = around / "custom_nodes" / "toolkit"
    monkeypatch.setenv(VARIABLE, str(third))
    assert find_comfyui(str(other), package) == other
    assert find_comfyui(None, package) == third


def test_without_a_comfyui_the_message_says_how_to_name_it(tmp_path, monkeypatch):
    from diffusion_toolkit.nodes.command.comfyui import VARIABLE, find_comfyui
    from diffusion_toolkit.nodes.command.errors import UsageError

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--comfyui"):
        find_comfyui(None, tmp_path / "a" / "b")
    with pytest.raises(UsageError, match="no main.py"):
        find_comfyui(str(tmp_path), tmp_path)


def test_a_folder_belongs_to_the_deepest_root_around_it(roots):
    from diffusion_toolkit.nodes.command.folders import below_a_root

    assert below_a_root(str(roots["output"] / "2025"), None) == ("output", roots["output"], "2025")
    assert below_a_root(str(roots["inner"] / "2025"), None) == ("inner", roots["inner"], "2025")
    assert below_a_root(str(roots["photos"]), None) == ("photos", roots["photos"], "")


def test_a_root_that_is_named_is_taken_and_a_relative_folder_is_below_it(roots):
    from diffusion_toolkit.nodes.command.folders import below_a_root

    assert below_a_root(str(roots["inner"] / "2025"), "output") == ("output", roots["output"], "inner/2025")
    assert below_a_root("inner/2025", "output") == ("output", roots["output"], "inner/2025")


def test_a_folder_that_is_reached_by_a_link_from_outside_is_found_where_it_lies(roots, tmp_path):
    from diffusion_toolkit.nodes.command.folders import below_a_root

    make_link(tmp_path / "shortcut", roots["photos"] / "2025")
    assert below_a_root(str(tmp_path / "shortcut"), None) == ("photos", roots["photos"], "2025")


def test_an_empty_name_of_a_folder_is_not_the_one_that_the_command_runs_in(roots, monkeypatch):
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.folders import below_a_root

    monkeypatch.chdir(roots["photos"])
    for given, root in (("", None), (" ", None), ("", "output")):
        with pytest.raises(UsageError, match="name of the folder is empty"):
            below_a_root(given, root)
    assert below_a_root(".", None) == ("photos", roots["photos"], "")
    assert below_a_root(".", "output") == ("output", roots["output"], "")


def test_a_folder_outside_the_roots_is_refused_with_the_line_that_adds_it(roots, tmp_path):
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.folders import below_a_root

    with pytest.raises(UsageError, match="There is no folder"):
        below_a_root(str(tmp_path / "elsewhere"), None)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UsageError, match=r'config\.json, such as \{"roots": \{"elsewhere": "'):
        below_a_root(str(tmp_path / "elsewhere"), None)
    with pytest.raises(UsageError, match="no root 'nowhere'"):
        below_a_root(str(roots["photos"]), "nowhere")


def test_a_folder_in_another_root_than_the_named_one_is_told_with_that_root(roots):
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.folders import below_a_root

    with pytest.raises(UsageError, match="lies in the root output, not in photos. Choose that root, and 2025 in it."):
        below_a_root(str(roots["output"] / "2025"), "photos")


def test_a_folder_may_begin_with_the_name_of_its_root_where_none_of_that_name_is_here(roots, tmp_path, monkeypatch):
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.folders import below_a_root

    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "output").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert below_a_root("photos", None) == ("photos", roots["photos"], "")
    assert below_a_root("photos/2025", None) == ("photos", roots["photos"], "2025")
    with pytest.raises(UsageError, match="There is no folder .*elsewhere.photos.2026. Check its spelling"):
        below_a_root("photos/2026", None)
    with pytest.raises(UsageError, match="elsewhere.output lies below none of the roots"):
        below_a_root("output", None)


def test_a_hidden_folder_keeps_its_dot(roots):
    from diffusion_toolkit.nodes.command.folders import below_a_root

    (roots["photos"] / ".hidden").mkdir()
    assert below_a_root(str(roots["photos"] / ".hidden"), None) == ("photos", roots["photos"], ".hidden")


def test_a_library_that_is_not_there_is_made_by_index_alone(tmp_path, monkeypatch):
    from diffusion_toolkit.nodes import host
    from diffusion_toolkit.nodes.command.errors import UsageError

    monkeypatch.delenv("DIFFUSION_TOOLKIT_DSN", raising=False)
    monkeypatch.setattr(host, "toolkit_directory", lambda: tmp_path)
    for command in ("status", "verify", "repair", "prune"):
        with pytest.raises(UsageError, match="There is no library yet"):
            context(tmp_path, command).library()
    assert not list(tmp_path.iterdir())
    opened = []
    monkeypatch.setattr(host, "open_library", opened.append)
    context(tmp_path, "index", ".").library()
    (tmp_path / "library").mkdir()
    context(tmp_path, "status").library()
    (tmp_path / "library").rmdir()
    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", "postgresql://elsewhere/images")
    context(tmp_path, "status").library()
    assert len(opened) == 3


def test_a_base_directory_that_is_not_there_is_not_made(comfyui, tmp_path):
    command = [sys.executable, str(REPOSITORY / "run.py"), "status", "--comfyui", str(comfyui), "--", "--base-directory", "misspelt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 2 and "misspelt (--base-directory). Check its spelling." in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_with_two_points_is_the_one_they_lead_to(roots, monkeypatch):
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.folders import below_a_root

    monkeypatch.chdir(roots["photos"] / "2025")
    assert below_a_root("../../output/2025", None) == ("output", roots["output"], "2025")
    assert below_a_root("../2025", "photos") == ("photos", roots["photos"], "2025")
    (roots["photos"].parent / "elsewhere").mkdir()
    with pytest.raises(UsageError, match="below none of the roots"):
        below_a_root(str(roots["output"] / ".." / "elsewhere"), None)


def asked(*arguments: str):
    """What such a command would do, as it is looked at before anything is loaded."""
    from diffusion_toolkit.nodes.command.arguments import parse
    from diffusion_toolkit.nodes.command.index import asked_for

    return asked_for(parse(["index", *arguments]).given, lambda *told: None)


@pytest.fixture
def listed(roots, monkeypatch) -> Path:
    """A list of one image in a root."""
    from diffusion_toolkit.nodes.indexing import index_run

    monkeypatch.setattr(index_run, "roots", lambda: roots)
    (roots["photos"] / "sea.jpg").touch()
    file = roots["photos"] / "list.txt"
    file.write_text("sea.jpg,summer\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("option", [["--pattern", "*.webp"], ["--no-recursive"], ["--root", "photos"]])
def test_what_is_for_folders_is_refused_beside_a_list(listed, option):
    from diffusion_toolkit.nodes.command.errors import UsageError

    assert asked(str(listed))[0].image_list == listed
    with pytest.raises(UsageError, match=f"a list of images.*{option[0]}"):
        asked(str(listed), *option)


def test_an_image_in_the_place_of_a_folder_is_told_to_be_one(listed, roots):
    from diffusion_toolkit.nodes.command.errors import UsageError

    with pytest.raises(UsageError, match="is an image. Name its folder"):
        asked(str(roots["photos"] / "sea.jpg"))


def context(tmp_path: Path, *arguments: str):
    from diffusion_toolkit.nodes.command.arguments import parse
    from diffusion_toolkit.nodes.command.context import Context
    from diffusion_toolkit.nodes.command.progress import Cancel

    return Context(parse(arguments).given, tmp_path, [], tmp_path, Cancel())


def test_workers_without_ray_are_refused(tmp_path):
    from diffusion_toolkit.nodes.command.errors import UsageError
    from diffusion_toolkit.nodes.command.index import index

    with pytest.raises(UsageError, match="--workers is for --ray"):
        index(context(tmp_path, "index", "pictures", "--workers", "2"))


def test_an_unknown_library_or_a_broken_setting_ends_with_code_2(tmp_path, monkeypatch):
    from diffusion_toolkit.nodes import host
    from diffusion_toolkit.nodes.command.errors import FAILED, WRONG
    from diffusion_toolkit.nodes.command.main import _tell

    monkeypatch.setattr(host, "toolkit_directory", lambda: tmp_path)
    with pytest.raises(RuntimeError, match="no library 'nowhere'") as unknown:
        context(tmp_path, "status", "--library", "nowhere").library()
    (tmp_path / "config.json").write_text('{"libraries": {"nowhere": "host=127.0.0.1 port=1"}}', encoding="utf-8")
    (tmp_path / "config.json").chmod(0o600)
    with pytest.raises(RuntimeError) as silent:
        context(tmp_path, "status", "--library", "nowhere").library()
    (tmp_path / "config.json").write_text("nonsense", encoding="utf-8")
    with pytest.raises(RuntimeError, match="can't be read") as broken:
        context(tmp_path, "status", "--library", "nowhere").library()
    assert [_tell(one.value) for one in (unknown, silent, broken)] == [WRONG, FAILED, WRONG]


def test_what_can_not_be_indexed_is_refused_before_anything_is_loaded(listed, roots):
    from diffusion_toolkit.nodes.command.errors import UsageError

    with pytest.raises(UsageError, match="There is no folder 'nowhere'"):
        asked(str(roots["photos"] / "nowhere"))
    with pytest.raises(UsageError, match="longer than"):
        asked(str(roots["photos"]), "--labels", "x" * 300)
    with pytest.raises(UsageError, match="longer than"):
        asked(str(roots["photos"]), "--namespace", "x" * 300)
    listed.write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(UsageError, match="names no image"):
        asked(str(listed))
    with pytest.raises(UsageError, match=r"There is no list .*lisst\.txt\. Check its spelling"):
        asked(str(roots["photos"] / "lisst.txt"))
    (roots["photos"] / "2025.txt").mkdir()
    assert asked(str(roots["photos"] / "2025.txt"))[0].subfolder == "2025.txt"


@pytest.mark.parametrize("given", [["CON"], ["photos/nul"], ["{photos}/Aux"], ["com1/x", "--root", "photos"]])
def test_a_name_that_windows_keeps_for_a_device_is_told_on_windows(listed, roots, given, monkeypatch):
    from diffusion_toolkit.embedders.folders import scan
    from diffusion_toolkit.nodes.command.errors import UsageError

    monkeypatch.setattr(scan, "device_in", partial(scan.device_in, windows=True))
    monkeypatch.setattr(os.path, "realpath", realpath_of_windows)
    with pytest.raises(UsageError, match="There can be no folder .*: Windows keeps the name (CON|nul|Aux|com1) for a device"):
        asked(*(word.format(photos=roots["photos"]) for word in given))


def test_torch_is_not_imported_where_no_model_is(comfyui):
    """It takes seconds, of which `run.py status` would have no use."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import run; run.load_package()\n"
        "from pathlib import Path\n"
        "from diffusion_toolkit.nodes.command.comfyui import start\n"
        "start(Path(sys.argv[2]), [])\n"
        "from diffusion_toolkit.nodes import host\n"
        "from diffusion_toolkit.nodes.indexing import index_run\n"
        "from diffusion_toolkit.nodes.library import status_report\n"
        "from diffusion_toolkit.nodes.command import index, later, models, ray_worker, status, upkeep\n"
        "host.roots()\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(REPOSITORY), str(comfyui)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
