"""Searches rank by cosine, return as many images as there are, and never compare two encoders' vectors."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.search import kinds
from diffusion_toolkit.db.search.kinds import state_of
from host.asking import ask, ids_of


@pytest.fixture
def add(conn, root, image):
    """Adds one image per prompt, numbered on from those there are; returns the ids."""

    def add_images(*prompts: str, negative: str | None = None) -> list[int]:
        first = db.counts(conn).images
        return db.write_images(
            conn,
            root,
            [
                image(
                    first + n,
                    prompt=db.TextPair(prompt, prompt),
                    negative=db.TextPair(negative, negative) if negative else None,
                )
                for n, prompt in enumerate(prompts)
            ],
        )

    return add_images


@pytest.fixture
def embed(conn):
    """Gives a text its vector."""

    def embed_text(encoder_id: int, text: str, vector: np.ndarray) -> None:
        db.write_text_vectors(conn, encoder_id, [db.find_text(conn, db.TextPair(text, text))], vector[None])

    return embed_text


def test_images_are_ranked_by_the_cosine_of_their_prompts(conn, add, embed, encoder, unit):
    ids, by_text = add("near", "far", "nearer"), encoder(conn, "text")
    for text, vector in [("near", unit(1, 1)), ("far", unit(-1)), ("nearer", unit(3))]:
        embed(by_text, text, vector)
    found = ask(conn, "prompt", unit(2), 3)
    assert ids_of(found) == [ids[2], ids[0], ids[1]]
    assert [hit.rank for hit in found.hits] == [1, 2, 3]
    assert [hit.score for hit in found.hits] == pytest.approx([1, 0.5**0.5, -1], abs=1e-3)


def test_a_lowest_score_drops_the_rest(conn, add, embed, encoder, unit):
    ids, by_text = add("near", "far"), encoder(conn, "text")
    embed(by_text, "near", unit(1, 1))
    embed(by_text, "far", unit(-1))
    assert ids_of(ask(conn, "prompt", unit(1), 9, lowest_score=0.7)) == ids[:1]
    assert ask(conn, "prompt", unit(1), 9, lowest_score=0.8).hits == []


def test_of_a_lowest_score_and_a_lowest_percentile_the_stricter_counts(conn, add, encoder, unit):
    ids = add("a", "b", "c", "d")
    db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack([unit(c, (1 - c * c) ** 0.5) for c in (0.9, 0.1, 0.5, 0.3)]))
    assert ids_of(ask(conn, "image", unit(1), lowest_percentile=25, lowest_score=0.4)) == [ids[0], ids[2]]
    assert ids_of(ask(conn, "image", unit(1), lowest_percentile=75, lowest_score=0.4)) == ids[:1]


def test_a_text_brings_all_its_images_and_equals_go_by_id(conn, add, embed, encoder, unit):
    ids, by_text = add("a", "b", "a", "b", "a"), encoder(conn, "text")
    embed(by_text, "a", unit(1))
    embed(by_text, "b", unit(1, 1))
    assert ids_of(ask(conn, "prompt", unit(1), 4)) == [ids[0], ids[2], ids[4], ids[1]]


@pytest.mark.parametrize("order", ["abcd", "dcba"])
def test_texts_with_one_vector_are_cut_by_image_id_however_they_lie(conn, add, embed, encoder, unit, order):
    """Of more than the search looks for, 25 at least."""
    texts = [f"{letter}{n}" for letter in order for n in range(15)]
    ids, by_text = add(*sorted(texts)), encoder(conn, "text")
    for text in texts:
        embed(by_text, text, unit(1))
    assert ids_of(ask(conn, "prompt", unit(1), 20)) == ids[:20]


def test_texts_that_no_image_has_take_no_place(conn, add, embed, encoder, unit):
    ids, by_text = add("a", negative="n"), encoder(conn, "text")
    embed(by_text, "n", unit(1))
    embed(by_text, "a", unit(0, 1))
    assert ids_of(ask(conn, "prompt", unit(1), 1)) == ids
    assert ask(conn, "negative", unit(1), 1).hits == [db.Hit(ids[0], 1.0, 1, (1.0,), gave=(1.0,))]


def test_each_clip_kind_searches_its_own_encoder(conn, add, embed, encoder, unit):
    ids = add("a", "b")
    for family, (a, b) in {"clip_l": (unit(1), unit(0, 1)), "clip_g": (unit(0, 1), unit(1))}.items():
        encoder_id = encoder(conn, family)
        embed(encoder_id, "a", a)
        embed(encoder_id, "b", b)
    assert ids_of(ask(conn, "clip_l", unit(1), 1)) == ids[:1]
    assert ids_of(ask(conn, "clip_g", unit(1), 1)) == ids[1:]


def test_an_image_finds_itself_first(conn, add, encoder, unit):
    ids, by_image = add("a", "b"), encoder(conn, "image")
    db.write_image_vectors(conn, by_image, ids, np.stack([unit(1, 1), unit(2)]))
    assert [(hit.image_id, hit.score) for hit in ask(conn, "image", unit(5), 1).hits] == [(ids[1], 1.0)]


def test_images_that_are_left_out_take_no_place(conn, add, encoder, unit):
    """Of just as many as a search looks for."""
    ids = add(*["a"] * 30)
    db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack([unit(1)] * 30))
    assert ids_of(ask(conn, "image", unit(1), 25, leave_out=tuple(ids[:3]))) == ids[3:28]


@pytest.mark.parametrize("step", [1, -1])
def test_images_with_one_vector_are_cut_by_id_however_they_lie(conn, add, encoder, unit, step):
    ids, by_image = add(*["a"] * 60), encoder(conn, "image")
    db.write_image_vectors(conn, by_image, ids[::step], np.stack([unit(1)] * 60))
    assert ids_of(ask(conn, "image", unit(5), 20)) == ids[:20]


def test_only_the_asked_encoders_vectors_are_compared(conn, add, encoder, unit):
    ids = add("a", "b")
    first, second = encoder(conn, "image", "aa"), encoder(conn, "image", "bb")
    db.write_image_vectors(conn, first, ids[:1], unit(1)[None])
    db.write_image_vectors(conn, second, ids[1:], unit(1)[None])
    assert ids_of(ask(conn, "image", unit(1), 9)) == ids[1:]
    assert ids_of(ask(conn, "image", unit(1), 9, encoder_id=first)) == ids[:1]
    with pytest.raises(db.LibraryError, match="The library has no encoder 99. Index the folder again"):
        ask(conn, "image", unit(1), 9, encoder_id=99)


def test_no_encoder_of_the_kind_says_what_to_do(conn, unit):
    with pytest.raises(db.LibraryError, match="no text vectors yet.*First index a folder with a text embedder connected"):
        ask(conn, "prompt", unit(1), 5)


def test_an_unknown_query_encoder_names_the_one_that_was_used(conn, encoder, unit):
    encoder(conn, "text", "aa")
    with pytest.raises(db.LibraryError, match=r"indexed by another model: text aa \[\w+\]; this one is Mini"):
        db.search(conn, db.Question(parts=(db.Part("prompt", unit(1), fingerprint="bb", model="Mini"),)))
    with pytest.raises(db.LibraryError, match=r"this one is text aa \[bb\], of the same name and with other weights. Connect"):
        db.search(conn, db.Question(parts=(db.Part("prompt", unit(1), fingerprint="bb", model="text aa"),)))


def fingerprint(conn) -> str:
    return db.active_encoder(conn, "text").fingerprint


def test_a_query_of_another_size_says_what_to_do(conn, encoder, unit):
    encoder(conn, "text")
    with pytest.raises(db.LibraryError, match=r"shape \[4\], the library's vectors 8 dimensions"):
        db.search(conn, db.Question(parts=(db.Part("prompt", unit(1, dims=4), fingerprint=fingerprint(conn), model="text"),)))


def test_numbers_of_another_count_say_how_many_are_needed(conn, encoder, unit):
    encoder(conn, "text")
    with pytest.raises(db.LibraryError, match="prompt needs 8 numbers, you gave 4. .*JSON list"):
        ask(conn, "prompt", unit(1, dims=4), 5)


def test_a_zero_query_is_refused(conn, encoder, unit):
    encoder(conn, "image")
    with pytest.raises(ValueError, match="zero"):
        ask(conn, "image", unit(0), 5)


@pytest.mark.parametrize("weights", [(1e300,), (-1e300, 1e300), (5e-324, 1.0), (1e-320, 1e-320), (1.0, -1e101)], ids=str)
@pytest.mark.parametrize("normalise", [False, True])
def test_a_weight_that_cant_be_reckoned_with_is_refused(conn, add, encoder, unit, weights, normalise):
    ids = add("a")
    db.write_image_vectors(conn, encoder(conn, "image"), ids, unit(1)[None])
    parts = tuple(db.Part("image", unit(1 + place), weight) for place, weight in enumerate(weights))
    with pytest.raises(db.LibraryError, match="Only their shares count: give ordinary numbers"):
        db.search(conn, db.Question(parts=parts, normalise=normalise))


@pytest.mark.parametrize("weights", [(1e100, -1e-100), (1e-100, 0.0), (-1e100,)], ids=str)
def test_every_other_weight_is_reckoned_with(conn, add, encoder, unit, weights):
    ids = add("a")
    db.write_image_vectors(conn, encoder(conn, "image"), ids, unit(1)[None])
    parts = tuple(db.Part("image", unit(1 + place), weight) for place, weight in enumerate(weights))
    assert [hit.image_id for hit in db.search(conn, db.Question(parts=parts)).hits] == ids


def test_what_another_connection_made_active_is_searched_at_once(library, image, encoder, unit):
    with library.connection() as conn:
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(1), image(2)])
        db.write_image_vectors(conn, encoder(conn, "image", "aa"), ids[:1], unit(1)[None])
    with library.connection() as mine:
        assert ids_of(ask(mine, "image", unit(1), 9)) == ids[:1]
        mine.commit()
        with library.connection() as other:
            db.write_image_vectors(other, encoder(other, "image", "bb"), ids[1:], unit(1)[None])
        assert ids_of(ask(mine, "image", unit(1), 9)) == ids[1:]


def test_what_changes_without_a_write_is_learnt_within_a_minute(library, image, encoder, monkeypatch):
    """As an index that somebody makes or drops by hand, and PostgreSQL's statistics."""
    with library.connection() as conn, library.connection() as other:
        encoder(conn, "image")
        conn.commit()
        state, now = state_of(conn), time.monotonic
        [index] = other.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'image_vectors' AND indexdef ~ 'hnsw'").fetchone()
        conn.commit()  # no lock of a look at the tables is left
        other.execute(f"DROP INDEX {index}")
        other.commit()
        assert state_of(conn) is state and state.sources[0].index == "hnsw"
        monkeypatch.setattr(kinds, "time", SimpleNamespace(monotonic=lambda: now() + 61))
        assert state_of(conn).sources[0].index is None


def test_of_several_encoders_that_it_may_be_the_active_one_is_asked(conn, encoder, unit):
    """A description knows the other half of its model, which may have made vectors in two ways."""
    encoders = [db.ensure_encoder(conn, db.Encoder("image", name, name, 8, {"picture_tower": "x"})) for name in ("aa", "bb", "cc")]
    part = db.Part("image", unit(1), details={"picture_tower": "x"})
    assert db.encoder_of(conn, part).id == encoders[0]
    db.activate_encoders(conn, encoders[1:2])
    assert db.encoder_of(conn, part).id == encoders[1]


def test_an_encoder_that_was_never_committed_is_forgotten(library, image, encoder, unit):
    with library.connection() as conn:
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(1), image(2)])
        first = encoder(conn, "image", "aa")
        db.write_image_vectors(conn, first, ids[:1], unit(1)[None])
    with library.connection() as conn:
        encoder(conn, "image", "bb")
        assert ask(conn, "image", unit(1), 9).hits == []
        undone = conn.execute("SELECT generation FROM library").fetchone()
        conn.rollback()
        with library.connection() as other:
            for _ in range(2):  # as often as in the transaction that was undone: the number is the same
                db.bump_generation(other)
            assert other.execute("SELECT generation FROM library").fetchone() == undone
        assert ids_of(ask(conn, "image", unit(1), 9)) == ids[:1]


def test_images_without_the_vectors_that_tell_them_apart_are_diverse_by_score(conn, root, image, encoder, unit):
    """The main kind is the prompt, and none of these has one: they are found by their negative prompts."""
    texts = [db.TextPair(f"{n}", "") for n in range(4)]
    ids = db.write_images(conn, root, [image(n, negative=text) for n, text in enumerate(texts)])
    negatives = [unit(1, n) for n in (0.3, 0, 0.2, 0.1)]
    db.write_text_vectors(conn, encoder(conn, "text"), [db.find_text(conn, text) for text in texts], np.stack(negatives))
    parts = (db.Part("prompt", unit(1), 1.0), db.Part("negative", unit(1), 0.5))
    answer = db.search(conn, db.Question(parts=parts, k=4, diversity=0.7))
    assert ids_of(answer) == [ids[n] for n in (1, 3, 2, 0)]


def test_an_image_of_unknown_look_is_like_none_where_diversity_is_by_looks(conn, root, image, encoder, unit):
    texts = [db.TextPair(f"{n}", "") for n in range(4)]
    ids = db.write_images(conn, root, [image(n, prompt=text) for n, text in enumerate(texts)])
    prompts = [unit(1), unit(1, 0.5), unit(1, 0.1), unit(1, 1)]
    db.write_text_vectors(conn, encoder(conn, "text"), [db.find_text(conn, text) for text in texts], np.stack(prompts))
    db.write_image_vectors(conn, encoder(conn, "image"), [ids[0], ids[2], ids[3]], np.stack([unit(1), unit(0, 1), unit(-1)]))
    answer = db.search(conn, db.Question(parts=(db.Part("prompt", unit(1)),), k=4, diversity=0.9))
    assert answer.method == "exact; made diverse by looks"
    assert ids_of(answer)[:3] == [ids[n] for n in (0, 1, 3)]
