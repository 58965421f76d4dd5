"""The administrator's config.json: what it may hold, and that no message tells what it holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from host.comfy_models import import_comfy


START = Path(os.sep).absolute().anchor  # of a whole path


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


def secret(dsn: str) -> bool:
    return "password" in dsn


WITH_PASSWORD = {"libraries": {"work": "host=h password=hunter2", "open": "dbname=open"}}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_libraries_with_a_password_are_refused_for_a_file_that_others_may_read(config, file):
    write(file, WITH_PASSWORD)
    file.chmod(0o644)
    with pytest.raises(config.ConfigurationError, match="chmod 600"):
        config.libraries_for(file, "work", secret)
    assert config.libraries_for(file, "open", secret)["open"] == "dbname=open"
    assert "default" not in config.libraries_for(file, "default", secret)
    file.chmod(0o600)
    assert config.libraries_for(file, "work", secret)["work"] == "host=h password=hunter2"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_default_with_a_password_is_refused_too_unless_it_is_set_elsewhere(config, file):
    write(file, {"libraries": {"default": "host=h password=hunter2"}})
    file.chmod(0o644)
    with pytest.raises(config.ConfigurationError, match="chmod 600"):
        config.libraries_for(file, "default", secret)
    config.libraries_for(file, "default", secret, set_elsewhere=True)


def test_a_broken_file_ends_the_named_libraries_and_not_the_default(config, file):
    write(file, '{"libraries": {"work": "host=h"}')
    assert config.libraries_for(file, "default", secret) == {}
    with pytest.raises(config.ConfigurationError, match="can't be read"):
        config.libraries_for(file, "work", secret)


def test_no_other_library_takes_the_place_of_a_default_that_a_broken_file_may_name(config, file):
    write(file, '{"libraries": {"default": "host=h"}')
    with pytest.raises(config.ConfigurationError, match="can't be read"):
        config.libraries_for(file, "default", secret)
    assert config.libraries_for(file, "default", secret, set_elsewhere=True) == {}


def test_a_name_that_means_nothing_is_told_with_the_one_that_was_meant(config, file):
    write(file, {"libaries": {"work": "host=h password=hunter2"}})
    [fault] = config.configuration_faults(file)
    assert '"libaries", which means nothing there. Did you mean "libraries"?' in fault and "hunter2" not in fault
    with pytest.raises(config.ConfigurationError, match='Did you mean "libraries"'):
        config.libraries_for(file, "work", secret)
    assert config.libraries_for(file, "default", secret) == {}


def test_a_connection_string_in_the_place_of_a_name_is_not_shown(config, file):
    write(file, {"postgresql://me:hunter2@host/db": {}})
    [fault] = config.configuration_faults(file)
    assert "a name that is not shown here" in fault and "hunter2" not in fault


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_faults_of_a_file_are_all_told(config, file):
    assert config.configuration_faults(file, secret) == []
    write(file, {**WITH_PASSWORD, "root": {}})
    file.chmod(0o644)
    unknown, readable = config.configuration_faults(file, secret)
    assert 'Did you mean "roots"?' in unknown and "chmod 600" in readable
    write(file, {"roots": [], "libraries": []})
    assert ['"roots"' in fault.split("It should")[0] for fault in config.configuration_faults(file)] == [True, False]


def test_each_of_several_names_that_mean_nothing_is_told_with_its_own(config, file):
    write(file, {"rots": {}, "librarys": {}, "xyzzy": {}})
    [fault] = config.configuration_faults(file)
    assert '"rots", "librarys", "xyzzy", which mean nothing there. Did you mean "roots" for "rots", "libraries" for "librarys"?' in fault


def test_a_name_that_means_nothing_is_in_the_log_of_whoever_asks_for_the_roots(config, file, monkeypatch, caplog):
    from diffusion_toolkit.nodes import host

    write(file, {"roots": {"photos": str(file.parent)}, "librarys": {}})
    monkeypatch.setattr(host, "config_file", lambda: file)
    assert host.roots()["photos"] == file.parent.resolve()
    assert 'Did you mean "libraries"?' in caplog.text


@pytest.mark.parametrize("path", [f"{START}photos\0/2025", f"{START}photos/\ud800", f"{START}photos/caf\udce9", *(["~nosuchuser/photos"] if os.name != "nt" else [])])
def test_a_root_that_can_be_no_path_is_told_when_a_node_runs_and_keeps_none_from_loading(config, file, monkeypatch, caplog, path):
    from diffusion_toolkit.nodes import host

    write(file, {"roots": {"photos": path}})
    monkeypatch.setattr(host, "config_file", lambda: file)
    host._warn_once.cache_clear()
    assert host.root_names() == ["output", "input"] and "can't be used" in caplog.text
    with pytest.raises(config.ConfigurationError, match="can't be used.*Write its whole path"):
        host.roots()


@pytest.mark.parametrize("written", [r"C:\photos", r"C:\users", r"C:\new", r"C:\photos\2025"])
def test_a_path_with_single_backslashes_is_told_with_how_json_has_them(config, file, monkeypatch, caplog, written):
    from diffusion_toolkit.nodes import host

    write(file, '{"roots": {"mine": "%s"}}' % written)
    monkeypatch.setattr(host, "config_file", lambda: file)
    host._warn_once.cache_clear()
    host.root_names()
    assert "In JSON each backslash of a Windows path is written twice" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="who may make links there is a setting")
def test_a_root_that_is_a_loop_of_links_is_one_that_is_not_there(config, file, monkeypatch):
    from diffusion_toolkit.nodes import host

    loop = file.parent / "loop"
    loop.symlink_to(loop)
    write(file, {"roots": {"loop": str(loop), "photos": str(file.parent)}})
    monkeypatch.setattr(host, "config_file", lambda: file)
    assert host.root_names() == ["output", "input", "loop", "photos"]
    assert f"loop ({loop}, which is not there)" in host.told_roots(host.roots())


@pytest.mark.skipif(os.name == "nt", reason="there a name too long is one that is not there")
def test_a_file_that_cannot_be_looked_at_is_told(config, file):
    with pytest.raises(config.ConfigurationError, match="can't be read.*It should hold"):
        config.configured_roots(file.with_name("n" * 300))


def test_the_combo_has_the_names_that_a_library_can_be_opened_by(config, file, monkeypatch):
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes import host

    named = {"work": "host=a", "default": "host=b", "private": "host=c"}
    write(file, {"libraries": named})
    monkeypatch.setattr(host, "config_file", lambda: file)
    assert host.library_names() == db.library_names(named) == ["default", "private", "work"]
