"""Libraries by name: whose database is whose, and what a person is told of one that can't be had."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import connection
from host.waiting import wait_until
from psycopg.conninfo import conninfo_to_dict, make_conninfo


def test_a_named_library_is_the_database_of_its_connection_string(new_database, monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", new_database())
    named = {"work": new_database(), "private": new_database()}
    assert db.library_names(named) == ["default", "private", "work"]
    databases = []
    for name in db.library_names(named):
        with db.open_library(name, tmp_path, named).connection() as conn:
            databases.append(conn.info.dbname)
    assert databases[1:] == [conninfo_to_dict(named[name])["dbname"] for name in ("private", "work")]
    assert len(set(databases)) == 3


def test_the_variable_goes_before_a_configured_default_and_that_before_the_embedded_server(dsn, new_database, monkeypatch, tmp_path):
    named = {"default": new_database()}

    def database() -> str:
        with db.open_library("default", tmp_path, named).connection() as conn:
            return conn.info.dbname

    assert database() == conninfo_to_dict(dsn)["dbname"]
    monkeypatch.delenv("DIFFUSION_TOOLKIT_DSN")
    assert database() == conninfo_to_dict(named["default"])["dbname"]
    assert not list(tmp_path.iterdir())


def test_a_library_whose_connection_string_changes_is_another_one(new_database, tmp_path):
    first = db.open_library("work", tmp_path, {"work": new_database()})
    second = db.open_library("work", tmp_path, {"work": new_database()})
    with first.connection() as one, second.connection() as other:
        assert one.info.dbname != other.info.dbname


def test_an_unknown_name_lists_the_configured_ones_and_where_others_are_added(tmp_path):
    with pytest.raises(db.LibraryError, match="no library 'other'. Choose one of: default, work. Others.*config.json"):
        db.open_library("other", tmp_path, {"work": "dbname=work"})


def test_the_trouble_of_a_named_library_names_its_place_in_the_configuration(new_database, tmp_path):
    dsn = new_database()
    for changes, message in (
        ({"password": "hunter2"}, "refuses the user or password. Correct them in the library 'work' of config.json\\.$"),
        ({"dbname": "nowhere"}, r"createdb NAME \(the library makes its tables itself\), or name another in the library 'work' of config.json"),
    ):
        with pytest.raises(db.LibraryError, match=message) as caught:
            db.open_library("work", tmp_path, {"work": make_conninfo(dsn, **changes)})
        assert "DIFFUSION_TOOLKIT_DSN" not in str(caught.value)
    with pytest.raises(db.LibraryError, match="the library 'work' of config.json is not a PostgreSQL connection string") as caught:
        db.open_library("work", tmp_path, {"work": "my password is hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def silent():
    """A connection string that leads to something that accepts and says nothing, for 3 s."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"host=127.0.0.1 port={listening.getsockname()[1]} connect_timeout=3"


def test_a_server_that_does_not_answer_holds_up_no_other_library(silent, dsn, tmp_path):
    named, order = {"silent": silent, "work": dsn}, []

    def wait() -> None:
        with contextlib.suppress(db.LibraryError):
            db.open_library("silent", tmp_path, named)
        order.append("silent")

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)  # it waits for an answer by then
    db.open_library("work", tmp_path, named)
    order.append("work")
    waiting.join()
    assert order == ["work", "silent"]


def test_a_server_that_does_not_answer_stops_no_other_thread(silent, tmp_path):
    """ComfyUI's event loop is one of them."""
    said, turns = [], 0

    def wait() -> None:
        with pytest.raises(db.LibraryError, match="said nothing in the time .* try again; else start it, or correct the host"):
            db.open_library("silent", tmp_path, {"silent": silent})
        said.append(True)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while waiting.is_alive():
        waiting.join(0.1)
        turns += 1
    assert said and turns > 5  # of 30 in the 3 s for which it is silent, however slow the machine; of 2 where all stand still


@pytest.fixture
def waking(silent, dsn, monkeypatch):
    """The silent server, until it `wakes`: from then on it is one that answers. The real waits, but of the clock that `later` moves."""
    asked, shift = [], [0.0]
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + shift[0]))
    connect = connection._connect

    def counted(conninfo: str, place: str = "") -> connection.Connection:
        asked.append(conninfo)
        return connect(dsn if server.awake else conninfo, place)

    monkeypatch.setattr(connection, "_connect", counted)
    server = SimpleNamespace(named={"silent": silent}, asked=asked, awake=False, later=lambda seconds: shift.__setitem__(0, shift[0] + seconds))
    return server


def test_many_who_want_a_server_that_does_not_answer_wait_for_it_once(waking, tmp_path):
    """ComfyUI asks each node before the first one runs, and two threads search in all libraries."""
    said = []

    def ask() -> None:
        with pytest.raises(db.TryAgain, match="said nothing in the time") as caught:
            db.open_library("silent", tmp_path, waking.named)
        said.append(str(caught.value))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert len(waking.asked) == 1
    assert sorted(text.endswith("(So it was just now; it is asked anew after 5 s.)") for text in said) == [False, True, True, True]


def test_a_server_that_comes_back_is_asked_anew_after_five_seconds(waking, tmp_path):
    with pytest.raises(db.TryAgain):
        db.open_library("silent", tmp_path, waking.named)
    waking.awake = True
    waking.later(4)
    with pytest.raises(db.TryAgain, match="asked anew"):
        db.open_library("silent", tmp_path, waking.named)
    waking.later(1.1)
    library = db.open_library("silent", tmp_path, waking.named)
    with library.connection() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_while_one_asks_a_silent_server_anew_the_others_are_told_at_once(waking, tmp_path):
    with pytest.raises(db.TryAgain):
        db.open_library("silent", tmp_path, waking.named)
    waking.later(6)

    def wait() -> None:
        with contextlib.suppress(db.LibraryError):
            db.open_library("silent", tmp_path, waking.named)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(lambda: len(waking.asked) == 2)
    with pytest.raises(db.TryAgain, match="asked anew"):
        db.open_library("silent", tmp_path, waking.named)
    assert waiting.is_alive()
    waiting.join()


def test_a_library_in_use_whose_server_falls_silent_is_waited_for_once(waking, tmp_path):
    waking.awake = True
    library = db.open_library("silent", tmp_path, waking.named)
    waking.awake, before = False, len(waking.asked)
    for said in ("said nothing in the time", "asked anew"):
        with pytest.raises(db.TryAgain, match=said), library.connection():
            pass
    assert len(waking.asked) == before + 1


def test_a_corrected_connection_string_and_what_failed_at_once_are_tried_at_once(waking, dsn, tmp_path):
    with pytest.raises(db.TryAgain):
        db.open_library("silent", tmp_path, waking.named)
    db.open_library("silent", tmp_path, {"silent": dsn})
    for _ in range(2):
        with pytest.raises(db.Refused, match="createdb NAME .*, or name another in the library 'lacking' of config.json.$"):
            db.open_library("lacking", tmp_path, {"lacking": make_conninfo(dsn, dbname="nowhere")})


@pytest.mark.parametrize(
    ("dsn", "secret"),
    [
        ("postgresql://me:hunter2@host/db", True),
        ("host=h password=hunter2", True),
        ("my password is hunter2", True),
        ("postgresql://me@host/db", False),
        ("service=pictures", False),
    ],
)
def test_a_connection_string_holds_a_password_or_it_does_not(dsn, secret):
    assert db.has_password(dsn) is secret
