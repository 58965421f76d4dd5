"""One embedded PostgreSQL for all tests of the library; each test has a fresh database, copied from a migrated one."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    postgresql = EmbeddedServer.start(tmp_path_factory.mktemp("server"))
    with psycopg.connect(postgresql.dsn("postgres"), autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET fsync = off")  # nobody keeps these databases
        conn.execute("SELECT pg_reload_conf()")
    yield postgresql
    postgresql.stop()
    shutil.rmtree(postgresql.directory, ignore_errors=True)  # pytest would keep it


@pytest.fixture(scope="session")
def new_database(postgresql: EmbeddedServer) -> Callable[..., str]:
    """Makes a database and returns its connection string."""

    def make(template: str = "template0") -> str:
        name = f"test_{next(_numbers)}"
        with psycopg.connect(postgresql.dsn("postgres"), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return postgresql.dsn(name)

    return make


@pytest.fixture(scope="session")
def template(new_database: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with an empty library in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSION_TOOLKIT_DSN", new_database())
        library = db.open_library("default", tmp_path_factory.mktemp("unused"))
        with library.connection() as conn:
            name = conn.info.dbname
        library.close()
    return name


@pytest.fixture
def dsn(postgresql: EmbeddedServer, new_database: Callable[..., str], template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The connection string of this test's own database, in the environment as a person would set it. It goes with the test: 11 MB of disk."""
    dsn = new_database(template)
    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", dsn)
    yield dsn
    with psycopg.connect(postgresql.dsn("postgres"), autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {conninfo_to_dict(dsn)['dbname']} WITH (FORCE)")


@pytest.fixture
def library(dsn: str, tmp_path: Path) -> Iterator[db.Library]:
    library = db.open_library("default", tmp_path)
    yield library
    library.close()


@pytest.fixture
def as_user(dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., db.Library]]:
    """Opens this test's library as a PostgreSQL user who owns nothing, and may read its tables, or has other `rights` on them."""
    role = "guest"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'a'")

    def opened(rights: str = "SELECT") -> db.Library:
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO {role}")
        monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", make_conninfo(dsn, user=role, password="a"))
        return db.open_library("default", tmp_path)

    yield opened
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [role])
        admin.execute(f"DROP OWNED BY {role}")
        admin.execute(f"DROP ROLE {role}")


@pytest.fixture
def conn(library: db.Library) -> Iterator[db.Connection]:
    """A connection in one transaction, for tests that need no commit of their own."""
    with library.connection() as conn:
        yield conn


@pytest.fixture
def root(conn: db.Connection) -> int:
    return db.ensure_root(conn, "output", "/pictures")


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], subprocess.Popen]:
    """Starts Python code in a process of its own, with the package loaded and `db`, `Path` and `folder` at hand."""

    def start(code: str) -> subprocess.Popen:
        tests = Path(__file__).resolve().parent.parent
        head = (
            f"import sys; sys.path.insert(0, {str(tests)!r})\n"
            "from host.package import load_package; load_package()\n"
            "from pathlib import Path\nfrom diffusion_toolkit import db\n"
            f"folder = Path({str(tmp_path)!r})\n"
        )
        return subprocess.Popen(
            [sys.executable, "-c", head + code],
            env=dict(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    return start


@pytest.fixture(scope="session")
def image() -> Callable[..., db.ImageRecord]:
    """Makes a record of image number `n`; keywords replace fields."""

    def make(n: int, **fields) -> db.ImageRecord:
        values = {"width": 64, "height": 32, "path": f"folder/{n}.png", "file_size": 10 + n, "mtime_ns": n, **fields}
        return db.ImageRecord(hash=n.to_bytes(32, "big"), **values)

    return make


@pytest.fixture(scope="session")
def unit() -> Callable[..., np.ndarray]:
    """Makes the vector [dims] that is `values` and then zeros."""

    def make(*values: float, dims: int = 8) -> np.ndarray:
        return np.array([*values, *[0.0] * (dims - len(values))], np.float32)

    return make


@pytest.fixture(scope="session")
def encoder() -> Callable[..., int]:
    """Records an encoder and makes it the active one of its family; returns its id."""

    def make(conn: db.Connection, family: str, fingerprint: str = "aa", dims: int = 8) -> int:
        encoder_id = db.ensure_encoder(conn, db.Encoder(family, fingerprint, f"{family} {fingerprint}", dims))
        db.activate_encoders(conn, [encoder_id])
        return encoder_id

    return make


@pytest.fixture
def three_kinds(library, encoder) -> dict[str, int]:
    """The encoders of host.hybrid_library's kinds, by family."""
    from host.hybrid_library import DIMS, FAMILIES

    with library.connection() as conn:
        return {family: encoder(conn, family, dims=DIMS) for family in FAMILIES.values()}


@pytest.fixture
def fill(library, three_kinds, image):
    """Adds images with random vectors, some without a kind; returns ids and vectors [n, dims] by kind, zeros for what is missing."""
    from host.hybrid_library import DIMS, FAMILIES

    def add(count: int, seed: int = 1, lacking: tuple[str, ...] = ()) -> tuple[list[int], dict[str, np.ndarray]]:
        rng = np.random.default_rng(seed)
        with library.connection() as conn:
            root, first = db.ensure_root(conn, "output", "/pictures"), db.counts(conn).images
            texts = [None if "prompt" in lacking else db.TextPair(f"text {n}", "") for n in range(first, first + count)]
            ids = db.write_images(conn, root, [image(first + n, prompt=text) for n, text in enumerate(texts)])
            text_ids = [] if "prompt" in lacking else [db.find_text(conn, text) for text in texts]
            vectors = {}
            for kind, family in FAMILIES.items():
                units = rng.normal(size=(count, DIMS))
                units /= np.linalg.norm(units, axis=1, keepdims=True)
                there = kind not in lacking and (kind == "image" or "prompt" not in lacking)
                vectors[kind] = units * there
                if there and kind == "image":
                    db.write_image_vectors(conn, three_kinds[family], ids, units * 7)
                elif there:
                    db.write_text_vectors(conn, three_kinds[family], text_ids, units)
        return ids, vectors

    return add
