"""What is done with the best images: percentiles, standard scores, variants, recency, diversity, and their order."""

from __future__ import annotations

import tracemalloc
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.search import answer, arrange, calibration, kinds
from host.asking import ask, ids_of
from psycopg import sql

NOW = datetime.now(timezone.utc)


@pytest.fixture
def add(conn, root, image, encoder):
    """Adds one image per image vector, with what else is given by keyword lists; returns the ids."""

    def add_images(*vectors: np.ndarray, **columns) -> list[int]:
        first = db.counts(conn).images
        records = [
            image(first + n, **{name: values[n] for name, values in columns.items()}) for n in range(len(vectors))
        ]
        ids = db.write_images(conn, root, records)
        db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack(vectors))
        return ids

    return add_images


def turned(cosine: float) -> np.ndarray:
    """A vector of this cosine with (1, 0, ...)."""
    return np.array([cosine, (1 - cosine**2) ** 0.5, *[0] * 6], np.float32)


def test_a_percentile_is_the_share_of_the_library_that_is_farther(conn, add, unit):
    ids = add(*(turned(c) for c in (0.9, 0.1, 0.5, 0.3)))
    found = {hit.image_id: hit.percentile for hit in ask(conn, "image", unit(1), percentiles=True).hits}
    assert found == {ids[0]: 75, ids[2]: 50, ids[3]: 25, ids[1]: 0}
    assert [hit.percentile for hit in ask(conn, "image", unit(1)).hits] == [None] * 4


def test_a_lowest_percentile_keeps_what_is_nearer_than_that_share(conn, add, unit):
    ids = add(*(turned(c) for c in (0.9, 0.1, 0.5, 0.3)))
    assert ids_of(ask(conn, "image", unit(1), lowest_percentile=50)) == [ids[0], ids[2]]
    assert ids_of(ask(conn, "image", unit(1), lowest_percentile=51)) == [ids[0]]
    assert ids_of(ask(conn, "image", unit(1), lowest_percentile=100)) == ids[:1]


def test_of_equal_images_a_lowest_percentile_keeps_none_that_is_not_nearer_than_that_share(conn, add, unit):
    ids = add(*(turned(c) for c in (0.9, 0.5, 0.5, 0.5, 0.1)))
    assert ids_of(ask(conn, "image", unit(1), lowest_percentile=20)) == ids[:4]
    assert [hit.percentile for hit in ask(conn, "image", unit(1), lowest_percentile=60).hits] == [80]
    best = add(turned(0.9), turned(0.9))
    assert ids_of(ask(conn, "image", unit(1), lowest_percentile=90)) == [ids[0], *best]


def test_a_percentile_knows_the_images_that_came_since(conn, add, unit):
    add(turned(0.5), turned(0.1))
    assert ask(conn, "image", unit(1), percentiles=True).hits[0].percentile == 50
    add(turned(0.2), turned(0.3))
    assert ask(conn, "image", unit(1), percentiles=True).hits[0].percentile == 75


def test_a_percentile_knows_the_vectors_that_came_since(conn, root, image, encoder, unit):
    ids, by_image = db.write_images(conn, root, [image(n) for n in range(4)]), encoder(conn, "image")
    db.write_image_vectors(conn, by_image, ids[:2], np.stack([turned(0.5), turned(0.1)]))
    assert ask(conn, "image", unit(1), percentiles=True).hits[0].percentile == 50
    db.write_image_vectors(conn, by_image, ids[2:], np.stack([turned(0.2), turned(0.3)]))
    assert ask(conn, "image", unit(1), percentiles=True).hits[0].percentile == 75


def test_percentiles_of_a_large_library_come_from_a_sample(conn, add, unit, monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLED", 40)
    monkeypatch.setattr(calibration, "_FEW", 5)
    rng = np.random.default_rng(1)
    cosines = rng.uniform(-1, 1, 400)
    add(*(turned(c) for c in cosines))
    for hit in ask(conn, "image", unit(1), percentiles=True, k=400).hits:
        assert abs(hit.percentile - 100 * np.mean(cosines < hit.score)) < 25
    assert len(calibration._draw(conn, 400)) == 40


def test_a_large_librarys_sample_is_drawn_anew_once_a_minute_and_when_told_so(conn, add, unit, monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLED", 20)
    add(*(turned(0.9 - n / 100) for n in range(40)))

    def best_percentile() -> float:
        return ask(conn, "image", unit(1), percentiles=True).hits[0].percentile

    before = best_percentile()
    conn.execute("UPDATE image_vectors SET embedding = (SELECT embedding FROM image_vectors ORDER BY image_id LIMIT 1)")
    conn.execute("UPDATE library SET generation = generation + 1")
    assert before > 80 and best_percentile() == before
    calibration.forget_samples()
    assert best_percentile() == 0
    conn.execute("UPDATE image_vectors SET embedding = %s WHERE image_id > 1", [str(turned(0.1).tolist())])
    conn.execute("UPDATE library SET generation = generation + 1")
    assert best_percentile() == 0
    monkeypatch.setattr(calibration, "_FRESH_SECONDS", 0.0)
    assert best_percentile() > 80


def test_a_sample_of_millions_is_drawn_without_going_through_them(conn, root, image):
    db.write_images(conn, root, [image(1)])
    tracemalloc.start()
    try:
        calibration._draw(conn, 5_000_000)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000  # bytes
    finally:
        tracemalloc.stop()


def test_a_kind_that_few_images_have_is_sampled_among_those(conn, root, image, encoder, unit, monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLED", 20)
    monkeypatch.setattr(calibration, "_FEW", 8)
    ids = db.write_images(conn, root, [image(n) for n in range(400)])
    db.write_image_vectors(conn, encoder(conn, "image"), ids[5:15], np.stack([turned(n / 10) for n in range(10)]))
    assert ask(conn, "image", unit(1), percentiles=True).hits[0].percentile == 90


def test_standard_scores_weigh_kinds_by_how_they_spread(conn, root, image, encoder, unit):
    texts = [db.TextPair(f"{n}", "") for n in range(4)]
    ids = db.write_images(conn, root, [image(n, prompt=text) for n, text in enumerate(texts)])
    by_text = encoder(conn, "text")
    narrow, wide = [0.80, 0.82, 0.84, 0.86], [0.9, 0.1, -0.1, -0.5]
    db.write_text_vectors(conn, by_text, [db.find_text(conn, text) for text in texts], np.stack([turned(c) for c in narrow]))
    db.write_image_vectors(conn, encoder(conn, "image"), ids[:3], np.stack([turned(c) for c in wide[:3]]))
    parts = (db.Part("prompt", unit(1)), db.Part("image", unit(1)))
    plain = db.search(conn, db.Question(parts=parts))
    assert ids_of(plain)[0] == ids[0]  # the wide kind decides
    standard = {hit.image_id: hit.score for hit in db.search(conn, db.Question(parts=parts, normalise=True)).hits}
    expected = [(c - np.mean(narrow)) / np.std(narrow) for c in narrow]
    for n in range(3):
        expected[n] += (wide[n] - np.mean(wide[:3])) / np.std(wide[:3])
    assert [standard[i] for i in ids] == pytest.approx(expected, abs=0.06)  # of float16; the image it lacks counts as the mean


def test_of_a_kind_that_no_sampled_image_has_a_standard_score_adds_its_cosine_alone():
    sampled = calibration.Calibration(np.array([[0.1, np.nan], [0.3, np.nan]]))
    assert sampled.standard([1.0, 2.0]) == (pytest.approx([10, 2]), pytest.approx([-2, 0]))


@pytest.mark.parametrize("normalise", [True, False])
def test_a_hit_says_how_much_of_its_score_each_part_gave(conn, root, image, encoder, unit, normalise):
    texts = [db.TextPair(f"{n}", "") for n in range(3)]
    ids = db.write_images(conn, root, [image(n, prompt=text) for n, text in enumerate(texts)])
    of_prompts, of_images = [0.8, 0.82, 0.9], [0.9, 0.1]
    db.write_text_vectors(conn, encoder(conn, "text"), [db.find_text(conn, text) for text in texts], np.stack([turned(c) for c in of_prompts]))
    db.write_image_vectors(conn, encoder(conn, "image"), ids[:2], np.stack([turned(c) for c in of_images]))
    parts = (db.Part("prompt", unit(1), 0.5), db.Part("image", unit(1), -2.0))
    by_id = {hit.image_id: hit for hit in db.search(conn, db.Question(parts=parts, normalise=normalise)).hits}
    for hit in by_id.values():
        assert hit.score == pytest.approx(sum(hit.gave), abs=1e-6)
    if normalise:
        of_prompts = (np.array(of_prompts) - np.mean(of_prompts)) / np.std(of_prompts)
        of_images = (np.array(of_images) - np.mean(of_images)) / np.std(of_images)
    assert [by_id[i].gave[0] for i in ids] == pytest.approx([0.5 * c for c in of_prompts], abs=0.02)
    assert [by_id[i].gave[1] for i in ids] == pytest.approx([-2.0 * of_images[0], -2.0 * of_images[1], 0], abs=0.02)


def test_one_part_by_standard_score_keeps_its_cosine(conn, add, unit):
    add(*(turned(c) for c in (0.9, 0.1)))
    [best, other] = ask(conn, "image", unit(1), normalise=True).hits
    assert (best.gave, other.gave) == (pytest.approx((best.score,)), pytest.approx((other.score,)))
    assert (best.score, other.score) == (pytest.approx(1, abs=0.01), pytest.approx(-1, abs=0.01))
    assert best.cosines == (pytest.approx(0.9, abs=1e-3),)


def test_variants_are_one_hit_the_best(conn, add, unit):
    prompt = db.TextPair("a fox", "")
    ids = add(
        *(turned(c) for c in (0.7, 0.8, 0.6, 0.5, 0.4)), seed=[7, 7, 8, None, None], prompt=[prompt, prompt, prompt, prompt, None]
    )
    answer = ask(conn, "image", unit(1), collapse="variants")
    assert ids_of(answer) == [ids[1], ids[2], ids[3], ids[4]]
    assert "1 variant left out" in answer.method
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4]


def test_a_page_is_filled_however_many_variants_there_are(conn, add, unit):
    prompt = db.TextPair("a fox", "")
    count = 300
    ids = add(*(turned(0.9 - n / 1000) for n in range(count)), seed=[min(n // 280, 1) for n in range(count)], prompt=[prompt] * count)
    assert ids_of(ask(conn, "image", unit(1), k=2, collapse="variants")) == [ids[0], ids[280]]


def test_a_page_is_filled_also_where_as_many_are_left_out_as_are_looked_at(conn, add, unit):
    """The best 400 are variants: 200 of them are left out, and the 200 others are the first pool."""
    prompt, count = db.TextPair("a fox", ""), 450
    ids = add(*(turned(0.9 - n / 1000) for n in range(count)), seed=[max(n - 399, 0) for n in range(count)], prompt=[prompt] * count)
    assert ids_of(ask(conn, "image", unit(1), k=2, collapse="variants", leave_out=tuple(ids[:200]))) == [ids[200], ids[400]]


def test_lookalikes_are_one_hit_too(conn, add, unit):
    ids = add(unit(1, 0.1), unit(1, 0.12), unit(1, 0, 1), unit(0, 1))
    assert ids_of(ask(conn, "image", unit(1), collapse="lookalikes")) == [ids[0], ids[2], ids[3]]


def test_equal_perceptual_hashes_are_lookalikes(conn, add, unit):
    ids = add(unit(1), unit(1, 1), unit(1, 2))
    conn.execute("UPDATE images SET phash = id * 0 - 1 - CASE WHEN id = %s THEN 1 ELSE 0 END", [ids[1]])
    assert ids_of(ask(conn, "image", unit(1), collapse="lookalikes")) == ids[:1]
    assert ids_of(ask(conn, "image", unit(1), collapse="variants")) == ids  # of one seed and prompt, which they are not


@pytest.mark.parametrize("least", [0, 2**63 - 2**40])
def test_perceptual_hashes_of_which_up_to_six_bits_differ_are_lookalikes(conn, add, unit, least):
    ids = add(unit(1), unit(1, 1), unit(1, 2))
    for image_id, phash in zip(ids, (least, least ^ 0b111111, least ^ 0b1111111 << 8)):
        conn.execute("UPDATE images SET phash = %s WHERE id = %s", [phash, image_id])
    assert ids_of(ask(conn, "image", unit(1), collapse="lookalikes")) == [ids[0], ids[2]]


def test_of_images_that_are_equally_new_those_indexed_last_are_looked_at(conn, add, unit, monkeypatch):
    monkeypatch.setattr(arrange, "_NEWEST", 2)
    ids = add(*(unit(1, n) for n in range(5)), created=[NOW] * 5)
    conn.execute("UPDATE images SET width = 65 WHERE id = %s", [ids[0]])  # which moves it behind the others
    state = kinds.state_of(conn)
    part = db.Part("image", unit(1))
    directions = kinds.directions_of([part], kinds.sources_of(state, [part]), [1.0], [0.0])
    for index in ("on", "off"):
        conn.execute(f"SET LOCAL enable_indexscan = {index}")
        assert {image_id for image_id, _ in arrange.newest(conn, directions, None)} == set(ids[-2:])


def test_a_new_image_is_lifted_by_recency_and_its_score_stays(conn, add, unit):
    ids = add(turned(0.8), turned(0.7), turned(0.6), created=[NOW - timedelta(days=300), NOW, None])
    answer = ask(conn, "image", unit(1), recency=0.2, recency_days=30)
    assert ids_of(answer) == [ids[1], ids[0], ids[2]]
    assert [hit.score for hit in answer.hits] == pytest.approx([0.7, 0.8, 0.6], abs=1e-3)
    assert [hit.recency for hit in answer.hits] == pytest.approx([0.2, 0.2 / 1024, 0], abs=1e-3)  # the run may be an hour long


def test_an_image_of_the_future_is_no_newer_than_one_of_now(conn, add, unit):
    add(turned(0.8), created=[NOW + timedelta(days=30)])
    assert ask(conn, "image", unit(1), recency=0.2, recency_days=30).hits[0].recency == 0.2


def test_a_new_image_far_behind_the_best_is_lifted_too(conn, add, unit, monkeypatch):
    monkeypatch.setattr(arrange, "_NEWEST", 1)
    count = 300
    ids = add(*(turned(0.9 - n / 1000) for n in range(count)), created=[NOW if n == count - 1 else NOW - timedelta(days=900) for n in range(count)])
    assert ids_of(ask(conn, "image", unit(1), k=1, recency=1.0)) == [ids[-1]]


def test_diversity_takes_what_is_unlike_the_better_hits(conn, add, unit):
    ids = add(unit(1, 0.1), unit(1, 0.11), unit(1, 0, 0.6), unit(0.2, 0, 0, 1))
    assert ids_of(ask(conn, "image", unit(1), k=2)) == ids[:2]
    answer = ask(conn, "image", unit(1), k=2, diversity=0.5)
    assert ids_of(answer) == [ids[0], ids[2]]
    assert answer.method == "exact; made diverse by looks"
    assert ids_of(ask(conn, "image", unit(1), k=2, diversity=1.0)) == [ids[0], ids[3]]


@pytest.mark.parametrize(("seen", "expected", "by"), [(4, [0, 2], "looks"), (2, [0, 1], "looks"), (1, [0, 3], "prompt")])
def test_diversity_of_a_search_by_prompt_is_by_looks_where_half_are_known(conn, root, image, encoder, unit, seen, expected, by):
    texts = [db.TextPair(f"{n}", "") for n in range(4)]
    ids = db.write_images(conn, root, [image(n, prompt=text) for n, text in enumerate(texts)])
    prompts = [unit(1, 0.1), unit(1, 0.11), unit(1, 0.12), unit(1, -0.6)]
    db.write_text_vectors(conn, encoder(conn, "text"), [db.find_text(conn, text) for text in texts], np.stack(prompts))
    looks, whose = [unit(1), unit(1, 0.1), unit(0, 1), unit(1, 0.2)], [0, 2, 1, 3][:seen]
    db.write_image_vectors(conn, encoder(conn, "image"), [ids[n] for n in whose], np.stack([looks[n] for n in whose]))
    answer = db.search(conn, db.Question(parts=(db.Part("negative", unit(1), 0.2), db.Part("prompt", unit(1, 0.1))), k=2, diversity=0.9))
    assert (ids_of(answer), answer.method) == ([ids[n] for n in expected], f"exact; made diverse by {by}")


def test_diversity_pages_are_cut_from_one_list(conn, add, unit):
    rng = np.random.default_rng(0)
    add(*rng.normal(size=(60, 8)).astype(np.float32))
    whole = ids_of(ask(conn, "image", unit(1), k=12, diversity=0.6))
    pages = [ids_of(ask(conn, "image", unit(1), k=4, offset=offset, diversity=0.6)) for offset in (0, 4, 8)]
    assert sum(pages, []) == whole


@pytest.mark.parametrize("more", [{"diversity": 0.4}, {"recency": 0.2}, {"diversity": 0.7, "recency": 1.0, "collapse": "variants"}], ids=str)
@pytest.mark.parametrize("k", [20, 60])
def test_no_page_repeats_a_hit_of_another_however_deep(conn, add, unit, more, k, monkeypatch):
    """By stretches of 200 (400 where k is 60) of 500 images: the last page ends in another one than the first begins."""
    monkeypatch.setattr(arrange, "_NEWEST", 30)
    rng = np.random.default_rng(0)
    ids = add(*rng.normal(size=(500, 8)).astype(np.float32), created=[NOW - timedelta(days=int(d)) for d in rng.integers(0, 200, 500)])
    left_out = tuple(ids[:3])
    pages = [ask(conn, "image", unit(1), k=k, offset=offset, leave_out=left_out, **more).hits for offset in range(0, 500, k)]
    found = [hit.image_id for page in pages for hit in page]
    assert len(found) == len(set(found))
    assert set(found) == set(ids) - set(left_out)
    assert [hit.rank for page in pages for hit in page] == list(range(1, 498))


@pytest.mark.parametrize("more", [{"diversity": 0.3}, {"collapse": "lookalikes"}, {"recency": 0.1}], ids=str)
def test_so_deep_a_page_that_it_would_take_all_memory_is_refused(conn, add, unit, more):
    add(unit(1))
    assert ask(conn, "image", unit(1), offset=20_000).hits == []
    with pytest.raises(db.LibraryError, match="up to number 20,050. With diversity, collapse or recency only the best 3,200"):
        ask(conn, "image", unit(1), offset=20_000, **more)


def test_a_page_that_could_not_be_filled_says_why(conn, add, unit, monkeypatch):
    prompt, count = db.TextPair("a fox", ""), 450
    add(*(turned(0.9 - n / 1000) for n in range(count)), seed=[n // 440 for n in range(count)], prompt=[prompt] * count)
    assert ask(conn, "image", unit(1), k=3, collapse="variants").note == ""
    monkeypatch.setattr(answer, "MOST", 400)
    few = ask(conn, "image", unit(1), k=3, collapse="variants")
    assert len(few.hits) == 1
    assert few.note == "Only the best 400 images were looked at for this order; more may follow."


def test_what_looks_alike_is_compared_with_what_stays_only(conn, add, unit):
    """A chain in which each is like the next sixty or so: the first of them stays, and the first beyond. More than are compared at once."""
    count = 600
    ids = add(*(turned(np.cos(n * 0.004)) for n in range(count)))
    kept = ids_of(ask(conn, "image", unit(1), k=50, collapse="lookalikes"))
    expected, last = [], None
    for n, image_id in enumerate(ids):
        if last is None or np.cos((n - last) * 0.004) < arrange.LOOKALIKE:
            expected.append(image_id)
            last = n
    assert len(kept) == len(expected) and kept[:2] == pytest.approx(expected[:2], abs=1)


@pytest.mark.parametrize(("order", "expected"), [("newest", [1, 0, 2]), ("oldest", [0, 1, 2]), ("seed", [2, 1, 0])])
def test_hits_found_by_score_may_be_listed_otherwise(conn, add, unit, order, expected):
    ids = add(
        *(turned(c) for c in (0.9, 0.8, 0.7, 0.6)),
        created=[NOW - timedelta(days=2), NOW - timedelta(days=1), None, NOW],
        seed=[2**64 - 1, 5, 4, 1],
    )
    answer = ask(conn, "image", unit(1), k=3, order=order)
    assert ids_of(answer) == [ids[n] for n in expected]
    assert [hit.rank for hit in answer.hits] == [n + 1 for n in expected]


def test_parts_of_one_kind_are_one_direction(conn, add, unit):
    ids = add(unit(1), unit(0, 1), unit(1, 1), unit(1, -1))
    answer = db.search(conn, db.Question(parts=(db.Part("image", unit(1)), db.Part("image", unit(0, 3), -1.0)), k=2))
    assert ids_of(answer) == [ids[3], ids[0]]
    assert answer.hits[0].cosines == pytest.approx((0.5**0.5, -(0.5**0.5)), abs=1e-3)
    assert answer.hits[0].score == pytest.approx(2**0.5, abs=1e-3)


def test_parts_that_cancel_each_other_out_are_refused(conn, add, unit):
    add(unit(1))
    with pytest.raises(db.LibraryError, match="cancel each other out"):
        db.search(conn, db.Question(parts=(db.Part("image", unit(1)), db.Part("image", unit(2), -1.0))))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parts": ()}, "nothing to look for"),
        ({"order": "size"}, "no order 'size'. Choose one of: score, newest"),
        ({"collapse": "all"}, "no way to collapse 'all'"),
        ({"recency": float("nan")}, "not a finite number"),
        ({"k": 0}, "asks for 0 hits"),
        ({"offset": -1}, "from -1 on"),
        ({"diversity": 2.0}, "diversity 2"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_in_words(conn, add, unit, wrong, message):
    add(unit(1))
    with pytest.raises(db.LibraryError, match=message):
        db.search(conn, db.Question(**{"parts": (db.Part("image", unit(1)),), **wrong}))


def test_an_unknown_kind_names_the_known_ones(conn, unit):
    with pytest.raises(db.LibraryError, match="no vector kind 'smell'. Choose one of: prompt, negative, image"):
        db.search(conn, db.Question(parts=(db.Part("smell", unit(1)),)))


def test_exact_cosines_are_aligned_with_images_and_parts(conn, add, encoder, unit):
    ids = add(turned(0.9), turned(0.1))
    encoder(conn, "text")
    table = db.exact_cosines(conn, (db.Part("prompt", unit(1)), db.Part("image", unit(4))), [ids[1], 999, ids[0]])
    assert np.isnan(table[:, 0]).all() and np.isnan(table[1, 1])
    assert table[[0, 2], 1] == pytest.approx([0.1, 0.9], abs=1e-3)


def test_recency_lifts_nothing_that_a_filter_leaves_out(conn, add, unit):
    ids = add(turned(0.9), turned(0.8), turned(0.1), created=[None, None, NOW], seed=[1, 2, 3])
    either = db.Filter(sql.SQL("i.seed = 1 OR i.seed = 2"))
    assert ids_of(ask(conn, "image", unit(1), recency=2.0, filter=either)) == ids[:2]


@pytest.mark.parametrize("options", [{"recency": 0.1}, {"collapse": "lookalikes"}, {"diversity": 0.5}])
@pytest.mark.parametrize("gone", [[0], [0, 1]])
def test_an_image_that_is_removed_in_the_middle_of_a_search_is_no_hit(conn, add, unit, monkeypatch, options, gone):
    ids = add(turned(0.9), turned(0.6), created=[NOW, NOW])
    best = answer.best

    def beside_a_prune(*asked):
        found = best(*asked)
        conn.execute("DELETE FROM images WHERE id = ANY(%s)", [[ids[place] for place in gone]])
        return found

    monkeypatch.setattr(answer, "best", beside_a_prune)
    assert ids_of(ask(conn, "image", unit(1), **options)) == [image_id for place, image_id in enumerate(ids) if place not in gone]
