"""Files that are traps: cut, empty, bombs, loops, garbage. None may raise what was not promised, hang, or eat memory."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from host.hostile_files import hostile_files
from host.hostile_run import Cost, read_all
from host.sound_files import GRAPH, PARAMETERS, png, sound_files

SPARE = 160 * 2**20  # bytes: what unpacking up to the limit of one text may take, with room for the interpreter
needs_links = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")


@pytest.fixture(scope="module")
def costs() -> list[Cost]:
    """Every hostile file and graph, read in a process of its own."""
    return read_all()


def told(costs: list[Cost]) -> str:
    return "\n".join(f"{cost.name} ({cost.size} bytes, {cost.seconds:.1f} s, {cost.memory >> 20} MB): {cost.error or cost.answer}" for cost in costs)


def test_nothing_but_what_is_promised_is_raised_and_nothing_hangs(costs):
    assert len(costs) > 1500
    assert not (wrong := [cost for cost in costs if cost.error]), told(wrong)


def test_memory_stays_within_a_few_times_the_files_size(costs):
    assert not (greedy := [cost for cost in costs if cost.memory > SPARE + 12 * cost.size]), told(greedy)


def test_the_sound_files_that_the_cut_ones_come_from_are_read(tmp_path):
    """Else the tests above would say nothing of the readers."""
    from diffusion_toolkit.embedders.metadata import read_metadata

    for name, content in sound_files().items():
        (tmp_path / name).write_bytes(content)
        assert read_metadata(tmp_path / name).prompt == ("a cat", "a cat"), name
        assert read_metadata(content, path=tmp_path / name).prompt == ("a cat", "a cat"), name


def test_the_same_hostile_files_are_made_each_time():
    first, again = (dict(itertools.islice(hostile_files(), 250)) for _ in range(2))
    assert first == again and len(first) == 250


READ = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from host.package import load_package
load_package()
from diffusion_toolkit.embedders.metadata import read_metadata
try:
    print(repr(read_metadata(Path(sys.argv[2])).prompt))
except OSError as error:
    print("OSError", type(error).__name__)
"""


def read_apart(path: Path) -> str:
    """What `read_metadata` says, in a process that is ended when it hangs."""
    command = [sys.executable, "-c", READ, str(Path(__file__).parent.parent), str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@needs_links
def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "image.png")
    assert read_apart(tmp_path / "image.png").startswith("OSError")


@needs_links
def test_a_fifo_beside_an_image_is_not_waited_for(tmp_path):
    (tmp_path / "image.png").write_bytes(png())
    for suffix in (".txt", ".caption", ".json"):
        os.mkfifo(tmp_path / f"image{suffix}")
    assert read_apart(tmp_path / "image.png") == "None"


def test_a_huge_text_beside_an_image_is_left_unread(tmp_path):
    (tmp_path / "image.png").write_bytes(png())
    with (tmp_path / "image.txt").open("wb") as file:
        file.truncate(20 * 2**30 if os.name != "nt" else 2**28)  # a sparse file: it takes no room, but on Windows
    assert read_apart(tmp_path / "image.png") == "None"


def test_a_folder_beside_an_image_under_the_name_of_a_text_is_no_text(tmp_path):
    (tmp_path / "image.png").write_bytes(png({"parameters": PARAMETERS}))
    (tmp_path / "image.txt").mkdir()
    assert read_apart(tmp_path / "image.png") == "('a cat', 'a cat')"


@needs_links
def test_links_in_a_circle_are_an_oserror_and_beside_an_image_nothing(tmp_path):
    (tmp_path / "circle.png").symlink_to("circle.png")
    assert read_apart(tmp_path / "circle.png") == "OSError OSError"
    (tmp_path / "image.png").write_bytes(png({"prompt": GRAPH}))
    (tmp_path / "image.txt").symlink_to("image.txt")
    assert read_apart(tmp_path / "image.png") == "('a cat', 'a cat')"


def test_a_folder_is_an_oserror(tmp_path):
    assert read_apart(tmp_path).startswith("OSError")


@needs_links
def test_a_scan_passes_fifos_devices_and_circles(tmp_path):
    from diffusion_toolkit.embedders.folders.scan import Scan

    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "up").symlink_to(tmp_path)
    (tmp_path / "below" / "round").symlink_to("round")
    (tmp_path / "below" / "image.png").write_bytes(png())
    skipped: dict[str, str] = {}
    found = [entry.path for entry in Scan(tmp_path, "", True, "").files(lambda path, why: skipped.__setitem__(path, why))]
    assert found == ["below/image.png"]
    assert {"fifo.png", "device.png", "self.png"} <= set(skipped)


def test_a_name_that_is_not_utf_8_is_skipped_and_told(tmp_path):
    from diffusion_toolkit.embedders.folders.scan import Scan

    name = "\ud800.png" if os.name == "nt" else os.fsdecode(b"\xff\xfe.png")  # Windows takes half a letter
    try:
        (tmp_path / name).write_bytes(png())
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    skipped: list[str] = []
    assert list(Scan(tmp_path, "", True, "").files(lambda path, why: skipped.append(path))) == []
    assert len(skipped) == 1
