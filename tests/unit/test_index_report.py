"""The report of Index Folder: what a person reads of its numbers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.pipeline import Encoders, IndexReport
from diffusion_toolkit.embedders.pipeline.records import Named
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def index_report():
    import_comfy()
    from diffusion_toolkit.nodes.indexing import index_report

    return index_report


def test_vectors_that_images_share_are_told_beside_the_images_that_have_one(index_report):
    vectors = {"prompt": 29, "negative": 1, "clip_l": 0, "image": 43}
    counts = db.Counts(43, 43, 30, vectors, 0, images_with={"prompt": 43, "negative": 43, "clip_l": 0, "image": 43})
    report = IndexReport(vectors={"image": 43, "prompt and negative": 30})
    text = index_report.report_text(report, counts, Encoders(), [], db.Words())
    assert "images with a vector: prompt 43 (29 texts), negative 43 (1 text), clip_l 0, image 43." in text
    assert "Vectors made now: image 43, prompt and negative 30 texts." in text
    assert "Token states: 0 texts kept." in text
    assert index_report.summary(report, counts)["images_with_vectors"]["prompt"] == 43


def test_what_token_states_take_is_told_for_all_and_for_those_of_this_run(index_report):
    none = dict.fromkeys(("prompt", "negative", "clip_l", "clip_g", "image"), 0)
    counts = db.Counts(1, 1, 4, none, 4, none, token_states_bytes=1_000_000)
    text = index_report.report_text(IndexReport(states_kept=2, states_bytes=480_000, states_left_out=1), counts, Encoders(), [], db.Words())
    assert "Token states: 4 texts kept; their table takes 1.0 MB; 2 kept now (0.5 MB); 1 not kept" in text


def test_what_a_run_left_out_and_what_it_waited_for_is_told(index_report):
    none = dict.fromkeys(("prompt", "negative", "clip_l", "clip_g", "image"), 0)
    counts = db.Counts(1, 1, 1, none, 0, none)
    skipped = Named((f"{n}.png", "damaged") for n in range(60))
    others = {"computer 7, process 12"}
    waited = {"files": 9.0, "the library": 0.5}
    report = IndexReport(skipped=skipped, elsewhere=7, others=others, missing=3, moved=2, all_gone=2, waited=waited, unfinished=True, seconds=10.0)
    text = index_report.report_text(report, counts, Encoders(text=SimpleNamespace(name="MiniLM")), [], db.Words())
    assert "The models waited" not in text  # for they had nothing to do
    report.vectors = {"prompt and negative": 1}
    text = index_report.report_text(report, counts, Encoders(text=SimpleNamespace(name="MiniLM")), [], db.Words())
    assert text.startswith("This run stood back before its end")
    assert "60 skipped." in text and "Skipped 10 more." in text
    assert "Being indexed by another run (computer 7, process 12), and left to it: 7." in text
    assert "Known files that are gone: 3, 2 of them to another place." in text and "none of their known files left: 2 known files" in text
    assert "if a folder was renamed here, index the one above;" in text
    assert "The models waited 9 s for files." in text
    assert index_report.summary(report, counts)["skipped_total"] == 60


def test_what_there_is_to_do_comes_before_what_was_done(index_report):
    skipped = Named((f"{n}.png", "damaged") for n in range(5))
    report = IndexReport(found=7, added=2, skipped=skipped, all_gone=2, labels={"a"}, labelled={1}, prompts={"exact": 2}, vectors={"image": 2}, seconds=2.0)
    lines = told(index_report, report)[0].splitlines()
    assert lines[0].startswith("Found 7 images: 2 added") and lines[0].endswith("5 skipped. Indexing took 2.0 s, for 1.0 images read a second.")
    assert lines[1:4] == [f"Skipped {n}.png: damaged" for n in range(3)] and lines[4] == "Skipped 2 more; they stand below."
    assert lines[5].startswith("Not made in this run: image vectors (connect clip_vision); prompt") and lines[6].startswith("Not there, in folders")
    assert lines[7].startswith("Given to 1 image") and lines[-2:] == ["Skipped 3.png: damaged", "Skipped 4.png: damaged"]
    report.skipped = Named(skipped[:3])
    assert "below" not in told(index_report, report)[0]


def test_what_the_time_of_a_run_leaves_out_is_told(index_report):
    none = dict.fromkeys(("prompt", "negative", "clip_l", "clip_g", "image"), 0)
    text = index_report.report_text(IndexReport(), db.Counts(1, 1, 1, none, 0, none), Encoders(text=SimpleNamespace(name="MiniLM")), [], db.Words())
    assert "\nModels: MiniLM. What they took to load before this run is not counted." in text
    text, record = told(index_report, IndexReport(seconds=2.0, seconds_after=61.54))
    assert "Indexing took 2.0 s; then 61.5 s went into what searches use." in text and record["seconds_after"] == 61.54
    assert "Models:" not in text and "went into" not in told(index_report, IndexReport(seconds_after=0.9))[0]


def test_a_model_in_whose_place_this_runs_has_come_is_told_with_the_way_back(index_report):
    text, numbers = told(index_report, IndexReport(replaced={("image", "CLIP-ViT-H/14 [0123abcd]")}))
    assert "Searches by image go by this run's model from now on, and find no image without its vector." in text
    assert "The former one, CLIP-ViT-H/14 [0123abcd], is taken again by a run with it." in text
    assert numbers["replaced"] == [["image", "CLIP-ViT-H/14 [0123abcd]"]]
    assert "Searches by" not in told(index_report, IndexReport())[0]


def told(index_report, report: IndexReport) -> tuple[str, dict]:
    none = dict.fromkeys(("prompt", "negative", "clip_l", "clip_g", "image"), 0)
    counts = db.Counts(1, 1, 1, none, 0, none)
    return index_report.report_text(report, counts, Encoders(), [], db.Words()), index_report.summary(report, counts)


def test_labels_and_how_many_images_got_them_are_told(index_report):
    text, record = told(index_report, IndexReport(labels={"sea side", "holiday"}, namespaces={"client a"}, labelled=set(range(12))))
    assert "Given to 12 images: labels holiday, sea side; namespace client a." in text
    assert (record["labels"], record["namespace"], record["labelled"]) == (["holiday", "sea side"], "client a", 12)
    assert "All images of this run had label holiday before." in told(index_report, IndexReport(labels={"holiday"}, found=3))[0]
    for report in (IndexReport(labels={"holiday"}), IndexReport(labels={"holiday"}, found=3, unfinished=True)):
        assert "holiday" not in told(index_report, report)[0]
    listed = {"favourite", "tabby"}
    text, record = told(index_report, IndexReport(labels={"listed"}, labels_of_lines=listed, labelled={7, 8}))
    assert "Given to 2 images: label listed; labels of single lines: favourite, tabby." in text and record["labels_of_lines"] == ["favourite", "tabby"]
    many = IndexReport(labels_of_lines={f"label {n:02}" for n in range(12)}, labelled={7})
    assert "Given to 1 image: labels of single lines: label 00, label 01," in told(index_report, many)[0]
    assert "label 09 and 2 more." in told(index_report, many)[0]
    text, record = told(index_report, IndexReport())
    assert "Given" not in text and "without" not in text and record["namespace"] == ""


def test_one_image_is_not_told_as_several(index_report):
    text, _ = told(index_report, IndexReport(found=1, added=1, seconds=0.5))
    assert text.startswith("Found 1 image: 1 added, 0 unchanged") and "Indexing took 0.5 s, for 2.0 images read a second." in text
    assert "The library holds 1 image, 1 text;" in text


@pytest.mark.parametrize(
    "counts, skipped, line",
    [
        (dict(found=54, unchanged=38, known_elsewhere=12, reread=2), 2, "38 unchanged, 12 whose {}, 2 known and read again, 2 skipped. I"),
        (dict(found=9, added=3, elsewhere=6), 0, "Found 9 images: 3 added, 0 unchanged, 0 whose {}, 6 left to another run, 0 skipped. I"),
        (dict(found=9, added=3, unfinished=True), 1, "Found 9 images: 3 added, 0 unchanged, 0 whose {}, 5 not read yet, 1 skipped. I"),
    ],
)
def test_the_numbers_of_the_first_line_add_up_to_what_was_found(index_report, counts, skipped, line):
    text, _ = told(index_report, IndexReport(**counts, skipped=Named((f"{n}.png", "damaged") for n in range(skipped))))
    assert line.format("content was known (copied, moved, renamed or only touched)") in text and "not among these" not in text


def test_what_was_skipped_and_not_found_as_an_image_is_told_apart(index_report):
    skipped = Named([("1.png", "damaged"), ("linked", "leads out of the root"), ("line 2", "there is no such file")])
    text, _ = told(index_report, IndexReport(found=2, added=1, skipped=skipped))
    assert "Found 2 images: 1 added," in text and "3 skipped." in text and "Of what was skipped, 2 are not among these: not found as an image," in text


def test_labels_that_read_as_a_filter_are_told_as_one_writes_them_there(index_report):
    from diffusion_toolkit.db.labels import normal_labels

    labels = set(normal_labels(['a,, B ,"x y", -neg']))
    for report in (IndexReport(labels=labels, labelled={1}), IndexReport(labels=labels, found=1)):
        text, _ = told(index_report, report)
        assert 'In a filter text write label:"""x y""" label:"-neg". A minus is a part of a label here; Label Images takes labels away.' in text
    asked = db.parse_filter('label:"""x y""" label:"-neg"').parameters
    assert {'"x y"', "-neg"} <= {text for value in asked.values() for text in (value if isinstance(value, list) else [value])}
    assert "minus" not in told(index_report, IndexReport(labels={'"b"'}, labelled={1}))[0]
    assert "filter text" not in told(index_report, IndexReport(labels={"a-b"}, labelled={1}))[0]
