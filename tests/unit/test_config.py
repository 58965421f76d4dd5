"""The administrator's config.json: what it may hold, and that no message tells what it holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def config():
    import_comfy()
    from diffusion_toolkit.nodes import config

    return config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def write(file: Path, settings: object) -> None:
    file.write_text(settings if isinstance(settings, str) else json.dumps(settings), encoding="utf-8")


def test_without_a_file_there_are_no_roots_and_no_libraries(config, file):
    assert config.configured_roots(file) == [] and config.configured_libraries(file) == {}


def test_roots_and_libraries_are_read_each_without_the_other(config, file):
    write(file, {"roots": {"photos": "/data"}})
    assert config.configured_roots(file) == [("photos", "/data")] and config.configured_libraries(file) == {}
    write(file, {"libraries": {" work ": " dbname=work ", "": "dbname=nameless", "empty": ""}})
    assert config.configured_roots(file) == [] and config.configured_libraries(file) == {"work": "dbname=work"}


@pytest.mark.parametrize(
    "settings",
    [
        '{"libraries": {"work": "postgresql://me:hunter2@host/db"',  # cut off
        {"libraries": ["postgresql://me:hunter2@host/db"]},
        {"libraries": {"work": {"dsn": "postgresql://me:hunter2@host/db"}}},
        ["postgresql://me:hunter2@host/db"],
        '"postgresql://me:hunter2@host/db"',
    ],
)
def test_what_cannot_be_read_is_told_without_its_content(config, file, settings):
    write(file, settings)
    with pytest.raises(config.ConfigurationError, match=r"config\.json can't be read.*It should hold") as caught:
        config.configured_libraries(file)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_bytes_that_are_no_text_are_told_without_them(config, file):
    file.write_bytes(b'{"libraries": "hunter2 \xff\xfe"}')
    with pytest.raises(config.ConfigurationError, match="can't be read") as caught:
        config.configured_libraries(file)
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o400, True), (0o644, False), (0o640, False), (0o602, False)])
def test_a_file_that_others_may_read_or_change_is_refused_with_the_command_that_helps(config, file, mode, fine):
    write(file, {})
    file.chmod(mode)
    if fine:
        config.refuse_if_others_can_read(file)
        return
    with pytest.raises(config.ConfigurationError, match=f"its mode is {mode:03o}.*Run: chmod 600 "):
        config.refuse_if_others_can_read(file)
