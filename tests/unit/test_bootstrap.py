"""The set-up behind the two commands: what it refuses, and what it says then."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from host import bootstrap, comfyui_source
from host.comfyui_source import SetupError
from host.server import ComfyServer

RUN = bootstrap.REPOSITORY / "tests" / "run.py"
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)


def run_command(*arguments: str, script: Path = RUN, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("COMFYUI_", "PYTHON"))}
    command = [BASE_PYTHON, str(script), *arguments]
    return subprocess.run(command, env={**clean, **env}, capture_output=True, text=True, timeout=120, check=False)


def archive_with(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as package:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            package.addfile(member)
    return path


def comfyui_folder(folder: Path, version: str) -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").write_text("", encoding="utf-8")
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n', encoding="utf-8")
    return folder


def test_an_archive_with_another_checksum_is_refused(tmp_path: Path) -> None:
    archive = archive_with(tmp_path / "source.tar.gz", {"p/vendor/ComfyUI/main.py": b""})

    with pytest.raises(SetupError, match="was changed or damaged"):
        comfyui_source.check_sha256(archive, comfyui_source.SOURCE_SHA256)


@pytest.mark.parametrize("name", ["p/vendor/ComfyUI/../../../out.py", "/out.py", "p/vendor/ComfyUI/C:out.py", "p\\..\\out.py"])
def test_an_archive_with_a_path_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = archive_with(tmp_path / "source.tar.gz", {"p/vendor/ComfyUI/main.py": b"", name: b"print('out')"})

    with pytest.raises(SetupError, match="leaves its folder"):
        comfyui_source.extract(archive, tmp_path / "a" / "b" / "ComfyUI")

    assert not list(tmp_path.rglob("*out.py"))


def test_only_the_plain_files_of_comfyui_are_unpacked(tmp_path: Path) -> None:
    files = {"p/vendor/ComfyUI/main.py": b"main", "p/vendor/ComfyUI/comfy/sd.py": b"sd", "p/setup.py": b"not this"}
    archive = archive_with(tmp_path / "source.tar.gz", files, links={"p/vendor/ComfyUI/link.py": "/etc/passwd"})

    comfyui_source.extract(archive, tmp_path / "ComfyUI")

    unpacked = {path.relative_to(tmp_path / "ComfyUI").as_posix() for path in (tmp_path / "ComfyUI").rglob("*") if path.is_file()}
    assert unpacked == {"main.py", "comfy/sd.py"}


@pytest.mark.parametrize("refusals", [2, 99])
def test_a_folder_that_a_virus_scanner_looks_into_is_moved_when_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
    tried, new, really = [], tmp_path / "new", os.replace
    new.mkdir()

    def replace(source: Path, target: Path) -> None:
        tried.append(target)
        if len(tried) <= refusals:
            raise PermissionError("Access is denied")
        really(source, target)

    def move() -> None:
        with monkeypatch.context() as windows:
            for name, value in (("os.name", "nt"), ("os.replace", replace), ("time.sleep", lambda seconds: None)):
                windows.setattr(name, value)
            comfyui_source.move_folder(new, tmp_path / "there")

    if refusals == 99:
        with pytest.raises(SetupError, match="a program has a file in it open.*Run the command again"):
            move()
    else:
        move()
        assert (tmp_path / "there").is_dir() and not new.exists()


def test_a_temporary_folder_goes_as_soon_as_nobody_has_a_file_of_it_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, tried, really = ComfyServer(comfyui=tmp_path), [], shutil.rmtree

    def rmtree(folder: Path, ignore_errors: bool) -> None:
        tried.append(folder)
        if len(tried) == 3:
            really(folder)

    monkeypatch.setattr("shutil.rmtree", rmtree)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.stop()
    assert tried == [server.base] * 3 and not server.base.exists()


def test_a_python_without_ensurepip_is_told_what_to_install(tmp_path: Path) -> None:
    # As Debian's python3 without python3-venv: the same interpreter on a standard library that lacks one package.
    stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    home = tmp_path / "python"
    partial = home / stdlib.relative_to(sys.base_prefix)
    partial.mkdir(parents=True)
    for entry in stdlib.iterdir():
        if entry.name not in ("ensurepip", "site-packages", "__pycache__"):
            place(entry, partial / entry.name)

    answer = run_command(PYTHONHOME=str(home))

    assert answer.returncode == 1
    assert "no `ensurepip` module" in answer.stderr
    assert "apt install python3-venv" in answer.stderr
    own = run_command(PYTHONHOME=str(home), COMFYUI_PATH=str(tmp_path / "nowhere"))
    assert "COMFYUI_PATH names" in own.stderr  # no environment is to be made then


def place(source: Path, target: Path) -> None:
    with suppress(OSError):  # Windows without the right to make links, or Wine, which only says that it made one
        target.symlink_to(source)
    if not target.exists():
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def test_a_comfyui_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    answer = run_command(COMFYUI_PATH=str(tmp_path / "nowhere"))

    assert answer.returncode == 1
    assert f"COMFYUI_PATH names {(tmp_path / 'nowhere').resolve()}, which is not a folder" in answer.stderr


@pytest.mark.parametrize("script", [RUN, RUN.with_name("demo.py")], ids=["run", "demo"])
def test_a_python_that_leaves_out_a_scripts_folder_finds_ours(tmp_path: Path, script: Path) -> None:
    # -I does what the Python of ComfyUI's portable build for Windows does by its ._pth file.
    command = [BASE_PYTHON, "-I", str(script)]
    answer = subprocess.run(command, env={**os.environ, "COMFYUI_PATH": str(tmp_path / "nowhere")}, capture_output=True, text=True, check=False)

    assert "COMFYUI_PATH names" in answer.stderr


@pytest.mark.parametrize("job", ["run_job.py", "demo_job.py"])
def test_a_job_takes_from_the_path_its_own_folder_alone(tmp_path: Path, job: str) -> None:
    host, lasting = RUN.parent / "host", str(tmp_path)
    code = (
        f"import atexit, runpy, sys; sys.path.insert(0, {lasting!r}); sys.argv = ['job', '--help']\n"
        f"atexit.register(lambda: print('\\nafterwards', {lasting!r} in sys.path, {str(host)!r} in sys.path))\n"
        f"runpy.run_path({str(host / job)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=False)

    assert done.stdout.splitlines()[-1] == "afterwards True False", done.stderr


def test_a_comfyui_path_without_comfyui_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="has no ComfyUI in it"):
        comfyui_source.check_folder(tmp_path)


def test_a_comfyui_that_is_too_old_is_named_with_both_versions(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"is 0\.29\.9; 0\.30\.0 or newer is needed"):
        comfyui_source.check_folder(comfyui_folder(tmp_path / "ComfyUI", "0.29.9"))


def test_a_newer_comfyui_is_taken(tmp_path: Path) -> None:
    folder = comfyui_folder(tmp_path / "ComfyUI", "0.100.0")

    assert comfyui_source.check_folder(folder) == folder.resolve()


def test_a_comfyui_without_a_python_of_its_own_asks_for_comfyui_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)

    with pytest.raises(SetupError, match="set COMFYUI_PYTHON"):
        comfyui_source.find_python(comfyui_folder(tmp_path / "ComfyUI", "0.30.0"))


def test_a_persons_comfyui_environment_is_not_changed_unasked(tmp_path: Path) -> None:
    folder = comfyui_folder(tmp_path / "ComfyUI", "0.30.0")
    subprocess.run([BASE_PYTHON, "-m", "venv", str(folder / ".venv")], check=True)
    before = sorted(path for path in (folder / ".venv").rglob("*.dist-info"))

    answer = run_command(COMFYUI_PATH=str(folder))

    assert answer.returncode == 1
    assert f"\n    {bootstrap.venv_python(folder.resolve() / '.venv')} -m pip install" in answer.stderr and '"pgvector>=' in answer.stderr and "--install" in answer.stderr
    assert sorted(path for path in (folder / ".venv").rglob("*.dist-info")) == before


def test_what_an_environment_lacks_is_found_without_a_network(tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("pytest>=1  # there\npytest>=9999\nno-such-package-of-ours\npsycopg[binary]\n", encoding="utf-8")

    assert bootstrap.missing_requirements(Path(sys.executable), [wanted]) == ["pytest>=9999", "no-such-package-of-ours"]


def test_a_changed_requirement_list_asks_for_another_install(tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("a>=1\n", encoding="utf-8")
    before = bootstrap.stamp([wanted])
    same = bootstrap.stamp([wanted])
    wanted.write_text("a>=2\n", encoding="utf-8")

    assert same == before
    assert bootstrap.stamp([wanted]) != before


def test_another_torch_asks_for_another_install(tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("a>=1\n", encoding="utf-8")

    assert bootstrap.stamp([wanted], ["torch==1"]) != bootstrap.stamp([wanted], ["torch==2"])


def test_a_failed_install_says_what_pip_said(tmp_path: Path) -> None:
    from host.pip_install import pip_install

    with pytest.raises(SetupError, match="no-such-list.txt") as raised:
        pip_install(Path(sys.executable), ["--no-index", "-r", str(tmp_path / "no-such-list.txt")], tmp_path / "setup.log")

    assert str(tmp_path / "setup.log") in str(raised.value)


def test_a_mistaken_option_of_the_demo_is_told_before_set_up(tmp_path: Path) -> None:
    answer = run_command("--folder", str(tmp_path / "nowhere"), script=RUN.with_name("demo.py"))

    assert answer.returncode == 2
    assert "is not a folder" in answer.stderr
