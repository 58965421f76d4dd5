"""Query arithmetic, vectors as a person writes them, and a question and its hits in words."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from host.comfy_models import comfyui, host_inference, import_comfy  # noqa: F401  (fixtures)
from host.stand_in_models import small_clip_vision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import_comfy()  # our nodes' package asks for comfy_api
from diffusion_toolkit import db  # noqa: E402
from diffusion_toolkit.embedders.models.clip_vision import ImageEncoder  # noqa: E402
from diffusion_toolkit.nodes.links import AskedPart, Query, QueryPart, SearchOptions  # noqa: E402
from diffusion_toolkit.nodes.search.asking import as_part, in_words  # noqa: E402
from diffusion_toolkit.nodes.search.hit_records import hit_line, hit_record, share  # noqa: E402
from diffusion_toolkit.nodes.search.query_by_description import description_query  # noqa: E402
from diffusion_toolkit.nodes.search.query_by_image import image_query  # noqa: E402
from diffusion_toolkit.nodes.search.vectors import combine, direction, mean_direction, read_vector  # noqa: E402


def one(*numbers: float, kind: str = "image", fingerprint: str | None = "f", label: str = "a", **more) -> Query:
    return Query((QueryPart(kind, np.array(numbers, np.float32), fingerprint, "model", label=label, **more),))


def image(prompt: str | None = "a shark", confidence: str | None = "exact") -> db.StoredImage:
    blank = {field.name: None for field in dataclasses.fields(db.StoredImage) if field.default is dataclasses.MISSING}
    return db.StoredImage(**{**blank, "id": 7, "prompt": prompt, "files": (), "prompt_confidence": confidence})


def test_arithmetic_adds_directions_not_lengths():
    [part] = combine([(1, one(100, 0)), (1, one(0, 0.1)), (-1, one(0, 5))]).parts
    assert part.vector == pytest.approx([1, 0])


def test_arithmetic_tells_what_a_sum_was_made_of():
    inner = combine([(1, one(4, 0)), (1, one(0, 3))])
    [part] = combine([(0.5, inner), (-1, one(0, 7))]).parts
    assert [weight for weight, _ in part.terms] == pytest.approx([0.5 / 2**0.5, 0.5 / 2**0.5, -1])
    assert np.stack([vector for _, vector in part.terms]).tolist() == [[1, 0], [0, 1], [0, 1]]
    assert as_part(part).terms == part.terms


def test_a_batch_of_pictures_tells_what_it_is_the_mean_of(host_inference):  # noqa: F811
    encoder = ImageEncoder(small_clip_vision(3))
    pictures = list(np.random.default_rng(1).integers(0, 255, (2, 64, 64, 3), np.uint8))
    [part] = image_query(encoder, pictures, "these 2 images").parts
    assert part.vector == pytest.approx(direction(sum(weight * direction(vector) for weight, vector in part.terms)), abs=1e-6)
    assert len(part.terms) == 2 and image_query(encoder, pictures[:1], "this image").parts[0].terms == ()


def test_a_description_that_ends_with_half_an_emoji_is_asked_with_a_question_mark():
    asked = []
    encoder = SimpleNamespace(name="n", picture_tower="p", encode_query=lambda text: asked.append(text) or np.ones(2, np.float32))
    assert description_query(encoder, "a fox \ud83d").parts[0].label == "shows 'a fox ?'"
    assert asked == ["a fox ?"]


def test_what_was_asked_is_told_on_one_line_and_cut_as_prompts_of_hits_are():
    from diffusion_toolkit.nodes.search.query_by_prompt import prompt_query
    from diffusion_toolkit.nodes.search.query_by_style import style_query

    asked = []
    words = SimpleNamespace(name="n", fingerprint="f", encode_query=lambda text: asked.append(text) or np.ones(2, np.float32))
    shows = SimpleNamespace(name="n", picture_tower="p", encode_query=words.encode_query)
    vectors = SimpleNamespace(clip_l=np.ones((1, 2), np.float32), clip_g=np.ones((1, 2), np.float32))
    style = SimpleNamespace(
        name="n", clip_l_fingerprint="l", clip_g_fingerprint="g", encode=lambda pairs: asked.append(pairs[0][0]) or vectors
    )
    text = "a red\ncar " * 500
    short = ("a red car " * 12)[:119] + "\u2026"
    labels = [prompt_query(words, text, kind).parts[0].label for kind in ("prompt", "negative")]
    labels += [description_query(shows, text).parts[0].label, style_query(style, text, ("clip_g",)).parts[0].label]
    assert labels == [f"'{short}'", f"negative '{short}'", f"shows '{short}'", f"style of '{short}' (CLIP-G)"]
    assert asked == [text] * 4  # whole


def test_arithmetic_says_its_formula():
    made = combine([(1, one(1, 0, label="image 3")), (0.5, one(0, 1, label="'snow'")), (-1, one(1, 1, label="'sea'"))])
    assert made.label == "(image 3 + 0.5 x 'snow' - 'sea')"


def test_arithmetic_of_prompt_and_negative_is_of_the_first_ones_kind():
    of_ones_own = one(1, 0, kind="negative", fingerprint=None)
    [part] = combine([(1, of_ones_own), (-1, one(0, 1, kind="prompt"))]).parts
    assert (part.kind, part.fingerprint) == ("negative", "f")


def test_arithmetic_of_different_kinds_is_refused_and_says_where_mixes_go():
    with pytest.raises(ValueError, match="image.*prompt.*connect each to Search"):
        combine([(1, one(1, 0)), (1, one(1, 0, kind="prompt"))])


def test_arithmetic_of_two_models_is_refused():
    with pytest.raises(ValueError, match="another model"):
        combine([(1, one(1, 0)), (1, one(1, 0, fingerprint="g"))])


def test_arithmetic_of_a_picture_and_a_description_keeps_what_tells_both_models():
    described = one(0, 1, fingerprint=None, details={"picture_tower": "t"})
    [part] = combine([(1, described), (1, one(1, 0))]).parts
    assert (part.fingerprint, dict(part.details)) == ("f", {"picture_tower": "t"})


def test_queries_that_cancel_out_are_refused():
    with pytest.raises(ValueError, match="leaves nothing"):
        combine([(1, one(1, 2)), (-1, one(2, 4))])


def test_all_weights_zero_are_refused_with_the_next_step():
    from diffusion_toolkit.nodes.search.query_arithmetic import QueryArithmetic

    with pytest.raises(ValueError, match="weight 0, so nothing is asked. Set a weight above 0"):
        QueryArithmetic.execute(one(1, 2), 0.0, 1.0, 1.0)


def test_arithmetic_leaves_out_what_its_queries_leave_out():
    first = dataclasses.replace(one(1, 0), leave_out=frozenset({("default", 3)}))
    second = dataclasses.replace(one(0, 1), leave_out=frozenset({("default", 4)}))
    assert combine([(1, first), (1, second)]).leave_out == {("default", 3), ("default", 4)}


def test_both_halves_of_a_style_are_added_each_to_its_own():
    def style(l_vector, g_vector):
        return Query((*one(*l_vector, kind="clip_l").parts, *one(*g_vector, kind="clip_g").parts))

    first, second = combine([(1, style((1, 0), (0, 1, 0))), (1, style((0, 1), (0, 1, 0)))]).parts
    assert first.vector == pytest.approx(np.sqrt([0.5, 0.5]))
    assert second.vector == pytest.approx([0, 1, 0])


def test_the_mean_of_pictures_counts_each_alike():
    assert mean_direction(np.array([[10.0, 0], [0, 0.1]])) == pytest.approx(np.sqrt([0.5, 0.5]))


@pytest.mark.parametrize("text", ["[3, 4]", "3, 4", "3 4", "3;4", ".3 +.4", " [[3.0, 4e0]] ", "3,4,\n"])
def test_a_vector_is_read_as_people_write_it(text):
    assert read_vector(text) == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    "text", ["", "[]", "[1, 2", "hello", "{}", '{"a": 1}', "[1, null]", "[true]", '["1"]', "[[1], [2]]", "[0, 0]", "[NaN]", "[1e999]"]
)
def test_what_is_no_vector_is_refused_with_a_reason(text):
    with pytest.raises(ValueError, match="[Vv]ector"):
        read_vector(text)


def test_a_word_among_numbers_without_brackets_is_named():
    with pytest.raises(ValueError, match="'abc' is no number.*JSON list"):
        read_vector("0.1 .2 abc")


def test_an_integer_beyond_floats_is_refused():
    with pytest.raises(ValueError, match="beyond"):
        read_vector(f"[{10**400}]")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.text(max_size=60))
def test_no_text_gives_anything_but_a_direction_or_a_reason(text):
    try:
        vector = read_vector(text)
    except ValueError:
        return
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.lists(st.floats(-1e18, 1e18), min_size=1, max_size=20).filter(lambda values: any(abs(v) > 1e-12 for v in values)))
def test_a_direction_has_length_one(values):
    assert np.linalg.norm(direction(np.array(values))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "weights, words",
    [((1,), "a"), ((0.5,), "0.5 x a"), ((-1, 1), "-a + b"), ((1, -0.3), "a - 0.3 x b"), ((1, 2, -1), "a + 2 x b - c")],
)
def test_a_question_in_words(weights, words):
    assert in_words([AskedPart("image", label, weight) for label, weight in zip("abc", weights)]) == words


def test_a_plain_search_shows_rank_score_and_prompt():
    assert hit_line(db.Hit(7, 0.5, 1, (0.5,), gave=(0.5,)), image(), "", [AskedPart("prompt", "'x'", 1)]) == "1. 0.500  #7  a shark"


def test_a_mix_shows_what_each_query_gave():
    parts = [AskedPart("prompt", "'x'", 1), AskedPart("image", "image 3", -0.5), AskedPart("clip_l", "style", 1)]
    line = hit_line(db.Hit(7, 0.3, 2, (0.5, 0.4, None), 99.2, gave=(0.5, -0.2, 0.0)), image(), "the file is gone", parts)
    assert line.splitlines() == [
        "2. 0.300 \u00b7 99.2 %  #7  a shark  [the file is gone]",
        "    'x': 0.500 x 1 = +0.500; image 3: 0.400 x -0.5 = -0.200; style: no CLIP-L vector",
    ]


def test_standard_scores_show_the_cosine_and_what_it_gave():
    parts = [AskedPart("prompt", "'x'", 0.5), AskedPart("image", "image 3", -2)]
    line = hit_line(db.Hit(7, -3.4, 1, (0.5, 0.4), gave=(0.6, -4.0)), image(), "", parts)
    assert line.splitlines()[1] == (
        "    'x': cosine 0.500, standard score +1.20 x 0.5 = +0.600; image 3: cosine 0.400, standard score +2.00 x -2 = -4.000"
    )
    alone = hit_line(db.Hit(7, 1.2, 1, (0.5,), gave=(1.2,)), image(), "", [AskedPart("prompt", "'x'", 1)])
    assert alone.splitlines()[1] == "    'x': cosine 0.500, standard score +1.20 x 1 = +1.200"


def test_the_openapi_document_has_every_field_of_a_hit():
    from diffusion_toolkit.nodes.routes.images import SETTINGS
    from diffusion_toolkit.nodes.routes.openapi import document

    hit = document()["components"]["schemas"]["Answer"]["properties"]["hits"]["items"]["properties"]
    record = hit_record(db.Hit(7, 0.5, 1, (0.5,), 80.0, gave=(0.5,)), image(), "/p.png", "", [AskedPart("prompt", "'x'", 1)])
    assert set(hit) == {*record, "prompt_confidence", *SETTINGS} - {"confidence"}  # which the route renames, and adds to
    assert set(hit["parts"]["items"]["properties"]) == set(record["parts"][0])


def test_pick_hit_reaches_the_last_hit_of_the_deepest_page():
    from diffusion_toolkit.nodes.search.hits import hit_inputs
    from diffusion_toolkit.nodes.search.pick_hit import PickHit

    most = {entry.id: entry.max for entry in (*hit_inputs(), *PickHit.define_schema().inputs) if hasattr(entry, "max")}
    assert most["pick"] == most["offset"] + most["top_k"]


def test_what_being_new_gave_is_told_apart_from_the_score():
    line = hit_line(db.Hit(7, 0.5, 1, (0.5,), recency=0.1, gave=(0.5,)), image(), "", [AskedPart("prompt", "'x'", 1)])
    assert line.splitlines()[1] == "    being new: +0.100 for its place, beside the score"


def test_a_record_has_the_same_as_json():
    record = hit_record(db.Hit(7, 0.5, 1, (0.5,), 80.0, gave=(0.5,)), image(), "/p.png", "", [AskedPart("prompt", "'x'", 1)])
    assert record["parts"] == [{"label": "'x'", "kind": "prompt", "weight": 1, "cosine": 0.5, "gave": 0.5}]
    assert (record["rank"], record["percentile"], record["path"]) == (1, 80.0, "/p.png")


@pytest.mark.parametrize("percentile, text", [(0, "0"), (73.4, "73"), (99.126, "99.1"), (99.9, "99.9"), (100, "> 99.9")])
def test_a_share_is_never_rounded_up_to_all(percentile, text):
    assert share(percentile) == text


def test_options_are_the_questions_own():
    asked = {field.name: field.default for field in dataclasses.fields(db.Question)}
    assert dataclasses.asdict(SearchOptions()) == {name: asked[name] for name in dataclasses.asdict(SearchOptions())}
