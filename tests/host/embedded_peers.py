"""What tests of the embedded PostgreSQL share: a library's folder, and other processes that use it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import psycopg
import pytest
from diffusion_toolkit.db.server.embedded import EmbeddedServer

CONFTEST = Path(__file__).parents[1] / "conftest.py"
PEER = """
import runpy, sys
from pathlib import Path
runpy.run_path(sys.argv[1])
from diffusion_toolkit.db.server.embedded import EmbeddedServer
server = EmbeddedServer.start(Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
"""


def not_on_windows(why: str) -> pytest.MarkDecorator:
    """For a test of what Windows does not have, or does not let anybody do."""
    return pytest.mark.skipif(os.name == "nt", reason=why)


class Peer:
    """Another process that uses the directory, until it is told to leave or is killed."""

    def __init__(self, directory: Path, inside: Sequence[str] = (), **environment: str) -> None:
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-c", PEER, str(CONFTEST), str(directory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip

    def wait_ready(self) -> Peer:
        assert self.process.stdout.readline() == "ready\n"
        return self

    def leave(self) -> None:
        self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def stopped_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that was started and stopped once, so that not each test runs initdb."""
    folder = tmp_path_factory.mktemp("stopped") / "library"
    EmbeddedServer.start(folder).stop()
    return folder


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the sockets of this test's servers alone, and what those leave there that were ended hard; short, as sockets' paths are."""
    folder = Path(tempfile.mkdtemp(prefix="s-"))
    folder.chmod(0o711)  # the server of a root runs as another user
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def directory(stopped_library: Path, tmp_path: Path, sockets: Path):
    """A library's folder for one test; whatever still serves it after the test is ended."""
    folder = tmp_path / "library"
    shutil.copytree(stopped_library, folder)
    yield folder
    if (folder / "server.json").exists():
        EmbeddedServer.start(folder).stop()


def ask(server: EmbeddedServer, sql: str):
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def postmaster(directory: Path) -> psutil.Process:
    return psutil.Process(int((directory / "postgresql" / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0]))


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two
        return False
