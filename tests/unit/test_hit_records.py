"""How a hit is told: what it was put in order by."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def hit_records():
    import_comfy()
    from diffusion_toolkit.nodes.search import hit_records

    return hit_records


@pytest.mark.parametrize(
    ("order", "fields", "told"),
    [
        ("newest", {"created": datetime(2025, 3, 1, 14, 5), "created_own": True}, "2025-03-01 14:05"),
        ("oldest", {"created": datetime(2025, 3, 1, 14, 5), "created_own": False}, "2025-03-01 14:05 (its file's)"),
        ("newest", {"created": None, "created_own": False}, "no date"),
        ("last indexed", {"indexed": datetime(2025, 3, 1, 14, 5)}, "indexed 2025-03-01 14:05"),
        ("rating", {"rating": 1}, "1 star"),
        ("rating", {"rating": 0}, "0 stars"),
        ("rating", {"rating": -1}, "rejected"),
        ("rating", {"rating": None}, "not rated"),
        ("seed", {"seed": 2**64 - 1}, f"seed {2**64 - 1}"),
        ("seed", {"seed": None}, "no seed"),
        ("score", {}, ""),
    ],
)
def test_the_value_that_a_list_is_ordered_by_is_told(hit_records, order, fields, told):
    assert hit_records.ordered_by(SimpleNamespace(**fields), order) == told


def test_a_line_shows_what_its_list_is_ordered_by_before_the_prompt(hit_records):
    hit = SimpleNamespace(rank=3, score=0.5, percentile=98.0, image_id=7, cosines=(), gave=(), recency=0.0)
    image = SimpleNamespace(prompt="a fox")
    assert hit_records.hit_line(hit, image, "", (), "seed 5") == "3. 0.500 \u00b7 98 %  #7  seed 5  a fox"
    assert hit_records.hit_line(hit, image, "", ()) == "3. 0.500 \u00b7 98 %  #7  a fox"


def test_a_share_is_never_rounded_up(hit_records):
    shown = {94.6: "94", 95.0: "95", 99.0: "99.0", 98.99: "98", 100 * 0.57: "57", 99.69: "99.6", 99.9: "99.9", 99.95: "> 99.9"}
    assert {percentile: hit_records.share(percentile) for percentile in shown} == shown


def test_what_helps_is_told_once_for_all_files_that_are_gone(hit_records):
    gone = "the file is gone; the prompt is inferred"
    assert hit_records.what_helps(["", "the file was changed since it was indexed", "the prompt is inferred"]) == []
    [line] = hit_records.what_helps([gone, "", "the file is gone"])
    assert line.startswith("2 files are gone. Index Folder finds again what was moved or renamed; Library Upkeep removes the rest")
    assert hit_records.what_helps([gone])[0].startswith("1 file is gone.")
