"""Clusters of a library: what lies together comes together, with one image that stands for it and words that name it."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.survey import clusters as clusters_module
from psycopg import sql

DIMS = 32
ABOUT = ["a red fox in deep snow, masterpiece", "a sailing ship at sea, masterpiece", "portrait of an old man, masterpiece"]


@pytest.fixture
def ids(conn, root, image, encoder) -> list[int]:
    """30, 20 and 10 images around three directions, in mixed order, each prompted by what its direction is about."""
    random = np.random.default_rng(4)
    about = random.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    centres = np.eye(3, DIMS)
    vectors = (centres[about] + 0.1 * random.normal(size=(60, DIMS))) * random.uniform(1, 9, size=(60, 1))
    records = []
    for n, topic in enumerate(about):
        text = db.TextPair(*[f"{ABOUT[topic]}, number {chr(97 + n % 26) * 3}"] * 2)
        records.append(image(n, prompt=text))
    ids = db.write_images(conn, root, records)
    db.write_image_vectors(conn, encoder(conn, "image", dims=DIMS), ids, vectors)
    return [int(id_) for id_ in np.array(ids)[np.argsort(about, kind="stable")]]


def test_what_lies_together_is_one_cluster_the_largest_first(conn, ids):
    found = db.cluster_images(conn, "image", 3)
    assert [set(one.members.tolist()) for one in found] == [set(ids[:30]), set(ids[30:50]), set(ids[50:])]


def test_a_sample_finds_the_same_clusters_as_all_images(conn, ids, monkeypatch):
    monkeypatch.setattr(clusters_module, "SAMPLE", 30)
    monkeypatch.setattr(clusters_module, "BATCH", 7)
    found = db.cluster_images(conn, "image", 3)
    assert [set(one.members.tolist()) for one in found] == [set(ids[:30]), set(ids[30:50]), set(ids[50:])]


def test_the_representative_is_the_image_nearest_to_the_centre(conn, ids):
    encoder = db.active_encoder(conn, "image")
    for one in db.cluster_images(conn, "image", 3):
        vectors = np.stack([db.image_vector(conn, int(id_), encoder.id) for id_ in one.members])
        cosines = vectors @ one.centre / np.linalg.norm(vectors, axis=1)
        assert one.representative == one.members[cosines.argmax()]
        np.testing.assert_allclose(one.cosines, cosines, atol=1e-5)
        assert one.cosine == pytest.approx(cosines.mean(), abs=1e-5)
        assert np.linalg.norm(one.centre) == pytest.approx(1, abs=1e-5)


def test_words_name_what_is_special_to_a_cluster(conn, ids):
    fox, ship, man = (set(one.words) for one in db.cluster_images(conn, "image", 3))
    assert {"fox", "snow"} < fox and {"ship", "sailing"} < ship and {"portrait", "old"} < man
    assert "masterpiece" not in fox | ship | man


def test_the_only_cluster_is_named_by_the_words_that_most_of_it_has(conn, ids):
    [one] = db.cluster_images(conn, "image", 1)
    assert one.words[:4] == ("masterpiece", "number", "deep", "fox")


def test_function_words_name_no_cluster(conn, root, image, encoder, unit):
    texts = ["with the fire from above", "with the thin fire", "and over the ship", "and their ship"]
    ids = db.write_images(conn, root, [image(n, prompt=db.TextPair(text, text)) for n, text in enumerate(texts)])
    db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack([unit(1)] * 2 + [unit(0, 1)] * 2))
    assert {one.words for one in db.cluster_images(conn, "image", 2)} == {("fire", "thin"), ("ship",)}


def test_the_same_library_gives_the_same_clusters(conn, ids):
    one, other = (db.cluster_images(conn, "image", 5) for _ in range(2))
    assert [a.members.tolist() for a in one] == [b.members.tolist() for b in other]


def test_a_filter_chooses_what_is_clustered(conn, ids):
    chosen = db.Filter(sql.SQL("i.id = ANY({})").format(sql.Placeholder("some")), {"some": ids[:40]})
    found = db.cluster_images(conn, "image", 2, chosen)
    assert [set(one.members.tolist()) for one in found] == [set(ids[:30]), set(ids[30:40])]


def test_prompts_can_be_clustered_too(conn, ids, encoder):
    rows = conn.execute("SELECT id, joined FROM texts ORDER BY id").fetchall()
    vectors = np.stack([np.eye(3, 8)[next(n for n, text in enumerate(ABOUT) if joined.startswith(text))] for _, joined in rows])
    db.write_text_vectors(conn, encoder(conn, "text"), [id_ for id_, _ in rows], vectors)
    found = db.cluster_images(conn, "prompt", 3)
    assert [set(one.members.tolist()) for one in found] == [set(ids[:30]), set(ids[30:50]), set(ids[50:])]


def test_no_more_clusters_than_different_images(conn, root, image, encoder, unit):
    ids = db.write_images(conn, root, [image(n) for n in range(5)])
    db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack([unit(1)] * 3 + [unit(0, 1)] * 2))
    found = db.cluster_images(conn, "image", 20)
    assert [(sorted(one.members.tolist()), one.words) for one in found] == [(ids[:3], ()), (ids[3:], ())]


@pytest.mark.parametrize(("kind", "said"), [("image", "no image vectors to put in clusters.*CLIP_VISION"), ("clip_g", "no CLIP-G vectors to put.*a CLIP")])
def test_without_vectors_it_says_what_to_do(conn, kind, said):
    with pytest.raises(db.LibraryError, match=said):
        db.cluster_images(conn, kind, 3)
