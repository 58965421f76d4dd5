"""How a hit is told: its line, its share of the library, and what helps where files are gone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def hit_records():
    import_comfy()
    from diffusion_toolkit.nodes.search import hit_records

    return hit_records


def test_a_line_shows_what_its_list_is_ordered_by_before_the_prompt(hit_records):
    hit = SimpleNamespace(rank=3, score=0.5, percentile=98.0, image_id=7, cosines=(), gave=(), recency=0.0)
    image = SimpleNamespace(id=7, prompt="a fox")
    assert hit_records.hit_line(hit, image, "", (), "seed 5") == "3. 0.500 \u00b7 98 %  #7  seed 5  a fox"
    assert hit_records.hit_line(hit, image, "", ()) == "3. 0.500 \u00b7 98 %  #7  a fox"


def test_a_line_shows_the_text_that_its_search_compared(hit_records):
    from diffusion_toolkit.nodes.links import AskedPart

    image = SimpleNamespace(id=7, prompt="a fox", negative="blurry")

    def line(*kinds: str) -> str:
        share = 1 / len(kinds)
        hit = SimpleNamespace(rank=1, score=0.5, percentile=None, image_id=7, cosines=(0.5,) * len(kinds), gave=(0.5 * share,) * len(kinds), recency=0.0)
        return hit_records.hit_line(hit, image, "", [AskedPart(kind, "'x'", share) for kind in kinds]).splitlines()[0]

    assert line("negative") == "1. 0.500  #7  negative: blurry"
    assert line("image", "negative") == line("prompt", "negative") == "1. 0.500  #7  a fox  negative: blurry"
    assert line("prompt") == "1. 0.500  #7  a fox"


def test_a_share_is_never_rounded_up(hit_records):
    shown = {94.6: "94", 95.0: "95", 99.0: "99.0", 98.99: "98", 100 * 0.57: "57", 99.69: "99.6", 99.9: "99.9", 99.95: "> 99.9"}
    assert {percentile: hit_records.share(percentile) for percentile in shown} == shown


def test_what_helps_is_told_once_for_all_files_that_are_gone(hit_records):
    gone = "the file is gone; the prompt is inferred"
    assert hit_records.what_helps(["", "the file was changed since it was indexed", "the prompt is inferred"]) == []
    [line] = hit_records.what_helps([gone, "", "the file is gone"])
    assert line.startswith("2 files are gone. Index Folder finds again what was moved or renamed; Library Upkeep removes the rest")
    assert hit_records.what_helps([gone])[0].startswith("1 file is gone.")
