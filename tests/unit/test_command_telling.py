"""What `run.py` tells while it runs and at its end, and how it hears Ctrl-C and a closed terminal."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from host.bootstrap import REPOSITORY
from host.comfy_models import import_comfy


@pytest.fixture(scope="module", autouse=True)
def comfyui() -> None:
    import_comfy()


def test_the_first_ctrl_c_waits_for_the_batch_and_the_second_does_not():
    from diffusion_toolkit.nodes.command.progress import Cancel, Cancelled

    with Cancel() as cancel, pytest.raises(Cancelled) as ended, cancel.politely():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Cancelled):
            cancel.check()
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the second signal did not end it")
    assert ended.value.signal == signal.SIGTERM


def test_outside_a_run_ctrl_c_ends_at_once():
    from diffusion_toolkit.nodes.command.progress import Cancel, Cancelled

    with Cancel(), pytest.raises(Cancelled):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the signal did not end it")
    assert signal.getsignal(signal.SIGINT) is not None


def test_ctrl_break_of_windows_is_heard_as_ctrl_c_is(monkeypatch):
    from diffusion_toolkit.nodes.command import progress

    if os.name != "nt":
        monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    spec = importlib.util.spec_from_file_location(f"{progress.__name__}_there", progress.__file__)
    there = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, there)
    spec.loader.exec_module(there)
    before = signal.signal(signal.SIGBREAK, signal.SIG_IGN)  # else it ends the tests where nobody hears it
    try:
        with there.Cancel() as cancel, cancel.politely():
            signal.raise_signal(signal.SIGBREAK)
            with pytest.raises(there.Cancelled) as ended:
                cancel.check()
    finally:
        signal.signal(signal.SIGBREAK, before)
    assert ended.value.code == 130
    assert [there.Cancelled(number).code for number in (signal.SIGINT, signal.SIGTERM)] == [130, 143]


def test_where_there_is_no_terminal_a_stage_is_a_line_each_ten_seconds(capsys, monkeypatch):
    from diffusion_toolkit.nodes.command import progress

    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = progress.Bar(progress.Cancel())
    for done in range(25):
        bar("Reading images", done, 25)
        bar("Loading a model", 0, 0)  # what stands still is told once
        bar(f"Waiting for the server ({done} s of at most 120)", 0, 0)  # which comes and goes
        now[0] += 1
    bar("Prompt vectors", 0, 7)
    assert capsys.readouterr().err.splitlines() == [
        "Reading images: 0 of 25", "Loading a model", "Waiting for the server (0 s of at most 120)", "Reading images: 10 of 25",
        "Waiting for the server (10 s of at most 120)", "Reading images: 20 of 25", "Waiting for the server (20 s of at most 120)",
        "Prompt vectors: 0 of 7",
    ]  # fmt: skip


def test_a_stage_that_differs_by_a_number_in_a_name_is_another(capsys):
    from diffusion_toolkit.nodes.command import progress

    bar = progress.Bar(progress.Cancel())
    for number in (1, 2):
        bar(f"Looking for the model m ({number} of 2 files): loading merge_v{number}.safetensors", 0, 0)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_on_a_terminal_a_stage_that_waits_has_a_clock_that_ticks(capsys, monkeypatch):
    from diffusion_toolkit.nodes.command import progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = progress.Bar(progress.Cancel())
    for second in range(3):
        bar(f"Waiting for the server ({second} s of at most 120); Reading images", 0, 0)
        now[0] += 1.5
    bar.close()
    told = capsys.readouterr().err
    assert told.count("Reading images") == 1, "the rest of a stage is told once"
    assert "(0 s of at most 120)\r" in told.replace("\x1b[A", "\r") and "(2 s of at most 120) [00:00]" in told


def test_a_report_is_in_the_words_of_where_it_is_read():
    from diffusion_toolkit.db import Words
    from diffusion_toolkit.embedders.pipeline import Encoders, IndexReport
    from diffusion_toolkit.nodes.command.words import ShellWords
    from diffusion_toolkit.nodes.indexing.index_report import report_text

    counts = SimpleNamespace(images=0, texts=0, vectors={}, images_with={}, token_states=0, token_states_bytes=0)
    report = IndexReport(missing=1, states_left_out=1)
    text = report_text(report, counts, Encoders(), [], Words())
    assert "(connect clip)" in text and "see Library Upkeep." in text and "token_state_budget" in text
    said = report_text(report, counts, Encoders(), [], ShellWords())
    assert "Not made in this run: image vectors; prompt" in said and "see `prune`." in said and "fit --token-state-budget" in said


def test_the_shell_has_its_own_for_each_of_the_nodes_words():
    from diffusion_toolkit.db import Words
    from diffusion_toolkit.nodes.command.words import ShellWords

    assert {name for name in vars(Words) if not name.startswith("__")} == {name for name in vars(ShellWords) if not name.startswith("_")}


def test_a_report_that_can_not_be_written_is_refused_at_once_and_at_the_end_is_a_failure(tmp_path, capsys):
    from diffusion_toolkit.nodes.command.errors import FAILED, WRONG, UsageError
    from diffusion_toolkit.nodes.command.index import check_report, write_report
    from diffusion_toolkit.nodes.command.main import _tell

    check_report(str(tmp_path / "report.json"))
    assert not list(tmp_path.iterdir())
    file = str(tmp_path / "nowhere" / "report.json")
    with pytest.raises(UsageError, match="--json") as at_once:
        check_report(file)
    with pytest.raises(RuntimeError, match="is in the library") as at_the_end:
        write_report(file, {}, "done")
    assert (_tell(at_once.value), _tell(at_the_end.value)) == (WRONG, FAILED)


def test_a_full_disk_under_the_standard_output_is_a_failure(monkeypatch):
    from diffusion_toolkit.nodes.command.report import write_report

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.print", full)
    with pytest.raises(RuntimeError, match="No space left on device.*is in the library"):
        write_report(None, {}, "done")


def test_letters_that_a_console_lacks_are_told_by_their_numbers(monkeypatch):
    from diffusion_toolkit.nodes.command.report import write_report

    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    write_report(None, {}, "C:\\Zdj\u0119cia")
    console.flush()
    assert console.buffer.getvalue().strip() == rb"C:\Zdj\u0119cia"


def test_a_reader_that_wants_no_more_lines_does_not_cost_the_report(tmp_path):
    """As `run.py prune --yes --json FILE | head` does."""
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r})\n"
        "from host.package import load_package; load_package()\n"
        "from diffusion_toolkit.nodes.command.report import write_report\n"
        f"write_report({str(tmp_path / 'report.json')!r}, {{'removed': 1}}, 'a line\\n' * 100_000)"
    )
    reads, writes = os.pipe()
    os.close(reads)
    try:
        done = subprocess.run([sys.executable, "-c", code], stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (0, "") and '"removed": 1' in (tmp_path / "report.json").read_text(encoding="utf-8")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_closed_terminal_cancels_and_telling_it_twice_ends_nothing_at_once():
    from diffusion_toolkit.nodes.command.progress import Cancel, Cancelled

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may have been started with nohup
    try:
        with Cancel() as cancel, cancel.politely():
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(Cancelled) as ended:
                cancel.check()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ended.value.signal == signal.SIGHUP


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_command_that_was_started_to_outlive_its_terminal_does():
    from diffusion_toolkit.nodes.command.progress import Cancel

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Cancel():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_program_is_quoted_only_where_it_must_be_since_powershell_prints_what_is_quoted():
    from diffusion_toolkit.nodes.wording import program

    assert program("C:\\ComfyUI\\python_embeded\\python.exe") == "C:\\ComfyUI\\python_embeded\\python.exe"
    assert program("/home/me/comfy(1)/python") == '"/home/me/comfy(1)/python"'
    assert program("C:\\my ComfyUI\\python.exe") == '"C:\\my ComfyUI\\python.exe"'


@pytest.mark.parametrize("folder", ["plain", "a b"])
def test_what_to_install_begins_with_this_python(monkeypatch, folder):
    from diffusion_toolkit.nodes import host

    def execute():
        raise ImportError("No module named 'nothing'", name="nothing")

    monkeypatch.setattr(sys, "executable", f"/{folder}/python")
    begins = "\n/plain/python -m pip" if folder == "plain" else '\n"/a b/python" -m pip'
    with pytest.raises(RuntimeError) as told:
        host.names_missing_requirements(execute)()
    assert begins in str(told.value)
