"""What Load Embeddings makes of a record and a library, and what it says, without a ComfyUI."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.exchange import Embeddings
from host.comfy_models import import_comfy
from host.exchange_records import MADE_BY, halves, record

STATES = db.TokenStates(halves(1, 77, 2048), halves(2, 1280))
TEXTS = {"prompt_texts": ["a fox", "a fox"], "negative_texts": None}
FAMILIES = ("clip_l", "clip_g", "token_states")


@pytest.fixture(scope="module")
def imported_images():
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import imported_images

    return imported_images


@pytest.fixture
def library(monkeypatch):
    """A library that has the empty text and nothing else, by the encoders that the records tell."""
    vectors = {number: halves(5, MADE_BY[family].dims) for number, family in enumerate(FAMILIES)}
    encoders = {
        family: db.StoredEncoder(number, family, MADE_BY[family].fingerprint, MADE_BY[family].name, MADE_BY[family].dims, {}, True)
        for number, family in enumerate(FAMILIES)
    }
    found = SimpleNamespace(name="second", encoders=encoders, vectors=vectors)

    @contextmanager
    def connection():
        yield None

    found.connection = connection
    monkeypatch.setattr(db, "active_encoders", lambda connection: found.encoders)
    monkeypatch.setattr(db, "active_encoder", lambda connection, family: found.encoders.get(family))
    monkeypatch.setattr(db, "find_text", lambda connection, text: 7 if found.encoders else None)
    monkeypatch.setattr(db, "text_vector", lambda connection, text_id, encoder_id: found.vectors[encoder_id])
    monkeypatch.setattr(db, "token_states", lambda connection, text_id, encoder_id: STATES)
    monkeypatch.setattr(db, "approximation", lambda *asked: None)
    return found


def without_states(vectors: dict[str, np.ndarray], made_by=MADE_BY, **about) -> Embeddings:
    return Embeddings(3, vectors, {}, about, made_by)


def test_a_negative_of_the_empty_text_is_exact_where_the_library_has_it(imported_images, library):
    loaded = imported_images.Imported(lambda: library, None)
    empty = {"negative_clip_l": library.vectors[0], "negative_clip_g": library.vectors[1]}
    for about in (TEXTS, {}):
        made = loaded.conditioning(without_states(empty, **about), "negative")
        assert np.array_equal(made.states, STATES.states) and np.array_equal(made.pooled, STATES.pooled)
        assert made.source == "the empty text, exact, from stored token states of SDXL CLIP [55555555]"
    other = {name: vector + 0.1 for name, vector in empty.items()}
    assert loaded.conditioning(without_states(other), "negative").source.startswith("APPROXIMATION")


def test_a_file_with_the_text_says_that_a_clip_makes_it_exact(imported_images, library):
    loaded, better = imported_images.Imported(lambda: library, None), "The file has the text: connect an SDXL CLIP, and it is exact"
    vectors = record(3, ("clip_l", "clip_g")).vectors
    library.encoders = {}
    said = loaded.conditioning(without_states(vectors, **TEXTS), "positive").source
    assert better in said and "the library 'second' has no SDXL encoder yet, so nothing of the library is used" in said
    assert better not in loaded.conditioning(without_states(vectors, {}), "positive").source


def test_an_empty_library_sends_nobody_to_the_loader(imported_images, library):
    library.encoders = {}
    with pytest.raises(imported_images.NothingStored) as refused:
        imported_images.Imported(lambda: library, None).conditioning(without_states(record(3, ("clip_l",)).vectors, {}), "negative")
    assert str(refused.value).endswith("The library has nothing to make it from. Connect an SDXL CLIP to Load Embeddings.")


def test_an_image_without_a_prompt_is_not_to_be_indexed_again(imported_images, library):
    with pytest.raises(imported_images.NothingStored, match="knows no prompt of image 3.*Choose another image"):
        imported_images.Imported(lambda: library, None).conditioning(without_states({}, prompt_texts=None), "positive")


def test_what_is_not_run_is_listed_on_the_node_with_what_to_do(imported_images, library):
    from diffusion_toolkit.nodes.conditioning.load_embeddings import _values

    values, told = _values(record(3, ("clip_l", "clip_g")), imported_images.Imported(lambda: library, None), "some.json")
    assert "not in the file, so what needs it is not run: the vectors prompt, negative prompt, image" in told
    assert "has no prompt vector. Use what it has (CLIP-L, CLIP-G), or another image" in values[5].message


@pytest.mark.parametrize(("lengths", "told"), [((1, 1), True), ((1, 5), False), ((5, 1), False), ((5, 5), False)])
def test_only_where_both_vectors_are_of_length_1_they_were_normalised(imported_images, library, monkeypatch, lengths, told):
    """SDXL's own pooled output may be so long by chance, but not of both."""
    monkeypatch.setattr(db, "typical_length", lambda connection, encoder_id: 20.0)
    vectors = record(3, ("clip_l", "clip_g")).vectors
    of_length = {name: length * vector / np.linalg.norm(vector) for (name, vector), length in zip(vectors.items(), lengths)}
    made = imported_images.Imported(lambda: library, None).conditioning(without_states(of_length, {}), "positive")
    assert ("brought to this library's usual lengths, 20.0 and 20.0" in made.source) == ("they were normalised" in made.source) == told
    assert float(np.linalg.norm(made.pooled)) == pytest.approx(20 if told else lengths[1], rel=1e-3)
