"""JSON in and out of the HTTP routes: read by the class that checks it, and written a few entries at a time."""

from __future__ import annotations

import contextlib
import json
import weakref
from datetime import datetime, timezone
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit.db import FilterError, parse_filter
from diffusion_toolkit.nodes.routes.handlers import as_json
from diffusion_toolkit.nodes.routes.images import told
from diffusion_toolkit.nodes.routes.refusals import Refusal
from diffusion_toolkit.nodes.routes.schema import Embed, Labels, Listing, Search, checked
from host.comfy_models import import_comfy
from host.http import png


@pytest.mark.parametrize("hits", [0, 1, 4, 5, 6, 23])
def test_an_answer_is_written_whole_whatever_the_number_of_hits(hits: int) -> None:
    answer = {"library": "naïve \u2028 \"quoted\"", "hits": [{"rank": n, "score": 0.1 * n, "parts": [n, None], "labels": ("a", "b")} for n in range(hits)]}
    assert json.loads(as_json(answer)) == json.loads(json.dumps(answer))


def test_a_path_that_is_no_utf_8_is_written_by_numbers() -> None:
    answer = {"hits": [{"path": "/pictures/\udce9t\udce9/a.png"}, {"path": "/pictures/été/a.png"}]}
    assert json.loads(as_json(answer)) == answer


def test_what_json_has_no_word_for_is_told_as_text() -> None:
    image = SimpleNamespace(id=7, negative=None, hash=b"\x01\xff", seed=2**64 - 1, created=datetime(2024, 5, 1, tzinfo=timezone.utc), indexed=None)
    assert told(image, ("id", "negative", "hash", "seed", "created", "indexed")) == {
        "image_id": 7, "negative_prompt": None, "hash": "01ff", "seed": "18446744073709551615",
        "created": "2024-05-01T00:00:00+00:00", "indexed": None,
    }  # fmt: skip


def test_a_byte_order_mark_before_the_json_is_passed_over() -> None:
    assert checked(Labels, b'\xef\xbb\xbf{"rating": 5}').rating == 5


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"namespace": "\\ud800"}'])
def test_what_is_no_json_is_refused_as_that(body: bytes) -> None:
    with pytest.raises(Refusal, match="The body is no JSON: .+ line 1") as refused:
        checked(Labels, body)
    assert (refused.value.status, refused.value.kind) == (400, "json")


@pytest.mark.parametrize("rating", ['"rejected"', '"4"', "6", "-2", "1.5"])
def test_what_is_no_rating_is_told_which_there_are(rating: str) -> None:
    with pytest.raises(Refusal, match="^rating: It is a whole number: -1 rejected, 0 to 5 stars; null takes it away.$"):
        checked(Labels, f'{{"rating": {rating}}}'.encode())


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ('{"kind": "description", "text": "a"}', 'parts.0.kind: Input should be .*. What a picture shows is asked with {"kind": "image", "description"'),
        ('{"kind": "Style", "text": "a"}', '{"kind": "clip_l", "text": "oil painting"} and the same of "clip_g"'),
        ('{"kind": "images", "id": 1}', "'clip_g'. Did you mean \"image\"?"),
        ('{"kind": "Pictures", "id": 1}', "'clip_g'. Did you mean \"image\"?"),
        ('{"kind": "look", "id": 1}', "'clip_g'. Did you mean \"image\"?"),
        ('{"kind": "caption", "text": "a"}', "'clip_g'. Did you mean \"prompt\"?"),
        ('{"kind": "negative_prompt", "text": "a"}', "'clip_g'. Did you mean \"negative\"?"),
        ('{"kind": "sound", "id": 1}', "or 'clip_g'$"),
        ('{"kind": 5, "id": 1}', "or 'clip_g'$"),
        ('{"kind": "prompt", "text": "  "}', "^parts.0.text: It is empty, or nothing but spaces.$"),
        ('{"kind": "prompt", "text": ""}', "^parts.0.text: It is empty, or nothing but spaces.$"),
        ('{"kind": "prompt", "text": "a", "weight": 0}', "^parts: every part has the weight 0, so nothing is asked"),
    ],
)
def test_a_part_that_is_none_is_refused_with_what_was_meant(part: str, said: str) -> None:
    with pytest.raises(Refusal, match=said.replace("{", "\\{")) as refused:
        checked(Search, f'{{"parts": [{part}]}}'.encode())
    assert (refused.value.status, refused.value.kind) == (400, "invalid_request")


@pytest.mark.parametrize("body", [b'{"filter": "label:x", "k": 2}', b'{"parts": []}', b"{}"])
def test_a_search_without_parts_is_told_what_they_are_and_what_lists_by_a_filter(body: bytes) -> None:
    with pytest.raises(Refusal, match=r'^parts: (Field|List) .+\. It says what is looked for, such as \[{"kind": "prompt", .*GET /diffusion_toolkit/images\?filter=\.\.\. lists all that pass a filter'):
        checked(Search, body)


def test_an_upload_that_is_no_picture_is_named() -> None:
    import_comfy()
    from diffusion_toolkit.nodes.routes.search import _pixels

    with pytest.raises(Refusal, match="^The upload 'second' is no picture that can be used: it is no PNG, .* file.$") as refused:
        _pixels("second", b"<svg>")
    assert (refused.value.status, refused.value.kind) == (400, "image")


def test_a_part_of_weight_zero_beside_another_is_no_fault() -> None:
    parts = '[{"kind": "prompt", "text": "a", "weight": 0}, {"kind": "image", "id": 1}]'
    assert len(checked(Search, f'{{"parts": {parts}}}'.encode()).parts) == 2


def test_a_misspelt_choice_is_told_with_the_one_that_was_meant() -> None:
    for given, said in (('"order": "newst"', 'Did you mean "newest"?'), ('"collapse": "lookalike"', 'Did you mean "lookalikes"?'), ('"order": "look"', "'seed'")):
        with pytest.raises(Refusal) as refused:
            checked(Search, f'{{"parts": [{{"kind": "image", "id": 1}}], {given}}}'.encode())
        assert str(refused.value).endswith(said)


def test_a_filter_may_be_as_long_as_its_parser_takes() -> None:
    longest = "a" + " " * 3998 + "b"
    parse_filter(longest)
    with pytest.raises(FilterError):
        parse_filter(longest + "a")
    for model, rest in ((Listing, ""), (Search, ', "parts": [{"kind": "prompt", "id": 1}]')):
        assert checked(model, f'{{"filter": "{longest}"{rest}}}'.encode()).filter == longest
        with pytest.raises(Refusal, match="^filter: String should have at most 4000 characters"):
            checked(model, f'{{"filter": "{longest}a"{rest}}}'.encode())


def test_pictures_to_embed_are_in_memory_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    import_comfy()
    from diffusion_toolkit.nodes.routes import search as routes_search

    alive: list[weakref.ref] = []
    most: list[int] = []

    def encode(pictures: list[np.ndarray]) -> np.ndarray:
        alive.extend(map(weakref.ref, pictures))
        most.append(sum(picture() is not None for picture in alive))
        return np.stack([np.full(4, picture[0, 0, 0], np.float32) for picture in pictures])

    encoder = SimpleNamespace(fingerprint="f", family="image", dims=4)
    models = SimpleNamespace(lock=contextlib.nullcontext(), get=lambda *wanted: SimpleNamespace(name="stand-in", encode=encode))
    library = SimpleNamespace(name="default", connection=contextlib.nullcontext)
    monkeypatch.setattr(routes_search, "models", lambda: models)
    monkeypatch.setattr(routes_search, "opened", lambda name: library)
    monkeypatch.setattr(routes_search, "_encoder", lambda connection, family: encoder)
    answer = routes_search.embed("image", Embed(), {str(red): png((red, 0, 0)) for red in (10, 20, 30)})
    assert answer["vectors"] == [[10.0] * 4, [20.0] * 4, [30.0] * 4]
    assert most == [1, 1, 1]
