"""What Export Embeddings tells of a run, without a ComfyUI."""

from __future__ import annotations

import pytest
from diffusion_toolkit.embedders.exchange import Embeddings
from host.comfy_models import import_comfy
from host.exchange_records import record


@pytest.fixture(scope="module")
def formats():
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import export_formats

    return export_formats


def test_what_was_left_out_is_told_and_not_without_end(formats):
    tally = formats.Tally()
    tally.add(record(1))
    for number in range(30):
        tally.tell(f"text {number} is damaged.")
    told = [line for line in tally.lines(formats.ONE, {}) if line.startswith("Left out: ")]
    assert told[0] == "Left out: text 0 is damaged." and told[-1] == "Left out: 10 texts more." and len(told) == 21


def test_seeds_that_parquet_can_not_hold_are_told_of_it_alone(formats):
    tally = formats.Tally()
    for image_id, seed in ((1, -1), (2, 2**64), (3, 2**64 - 1), (4, None), (5, 0)):
        tally.add(Embeddings(image_id, {}, about={"seed": seed}))
    said = "2 images have a seed that this format can't hold: #1, #2. It is left empty."
    assert said in tally.lines(formats.PARQUET, {}) and said not in tally.lines(formats.ONE, {})


def test_one_image_and_one_text_are_told_as_one(formats):
    tally = formats.Tally()
    tally.add(Embeddings(1, {}, about={"seed": -1, "prompt_texts": ["a", "a"]}))
    for number in range(21):
        tally.tell(f"text {number} is damaged.")
    told = "\n".join(tally.lines(formats.PARQUET, {}) + tally.lines(formats.ONE, {}))
    assert "1 image has no vector: #1." in told and "1 image has a seed that" in told and "; 1 image without those" in told
    assert "Left out: 1 text more." in told and not [line for line in told.splitlines() if "1 images" in line or "1 texts" in line]


def test_what_chooses_no_images_is_named(formats):
    from diffusion_toolkit.nodes.conditioning.export_embeddings import ALL, CHOSEN, not_heard

    assert not_heard(CHOSEN, None, "12", " ", None) == not_heard(ALL, None, "", "folder:a", object()) == []
    told = ["NOT HEARD: filter and filter_text, since images is 'the hits and image_ids'"]
    assert not_heard(CHOSEN, None, "12", "folder:a", None) == not_heard(CHOSEN, None, "12", "", object()) == told
    assert not_heard(ALL, object(), "", "", None) == not_heard(ALL, None, 12, "", None) == ["NOT HEARD: hits and image_ids, since images is 'all that pass the filter'"]


def test_token_states_that_were_switched_off_are_no_fault(formats):
    tally = formats.Tally()
    tally.add(Embeddings(1, {}, about={"prompt_texts": ["a", "a"]}))
    tally.add(Embeddings(2, {}, about={"prompt_texts": None}))
    told = "\n".join(tally.lines(formats.ONE, {}, False))
    assert "Token states: none, since token_states is off" in told and "without those" not in told
    assert "2 images without those of their prompt, 1 of which have no known prompt." in "\n".join(tally.lines(formats.ONE, {}))
