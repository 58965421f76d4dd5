"""Near-duplicates: every pair that is near enough and no other, groups of them, and the one to keep."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._index_sql import create_statement, index_name
from diffusion_toolkit.db.survey import pairs as pairs_module
from psycopg import sql

DIMS = 32


@pytest.fixture
def vectors() -> np.ndarray:
    """60 images: 40 apart from each other, then 20 that are nearly one of these, at other lengths. [60, 32]"""
    random = np.random.default_rng(3)
    apart = random.normal(size=(40, DIMS))
    near = apart[:20] + 0.03 * random.normal(size=(20, DIMS))
    return np.concatenate([apart, near]) * random.uniform(1, 9, size=(60, 1))


@pytest.fixture
def ids(conn, root, image, encoder, vectors) -> list[int]:
    ids = db.write_images(conn, root, [image(n) for n in range(len(vectors))])
    db.write_image_vectors(conn, encoder(conn, "image", dims=DIMS), ids, vectors)
    return ids


def as_set(pairs: db.Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.first.tolist(), pairs.second.tolist()))


def in_numpy(ids: list[int], vectors: np.ndarray, lowest: float) -> dict[tuple[int, int], float]:
    unit = vectors.astype(np.float16).astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    return {(ids[a], ids[b]): cosines[a, b] for a in range(len(ids)) for b in range(a + 1, len(ids)) if cosines[a, b] >= lowest}


@pytest.mark.parametrize("exact_below", [1000, 0])
def test_pairs_are_those_whose_cosine_is_high_enough(conn, ids, vectors, monkeypatch, exact_below):
    monkeypatch.setattr(pairs_module, "EXACT_BELOW", exact_below)
    monkeypatch.setattr(pairs_module, "_BLOCK", 16)
    monkeypatch.setattr(pairs_module, "_ASKED", 7)
    found = db.look_alikes(conn, 0.95)
    wanted = in_numpy(ids, vectors, 0.95)
    assert len(wanted) == 20 and as_set(found) == wanted.keys()
    assert found.method.startswith("exact" if exact_below else "index")
    np.testing.assert_allclose(found.closeness, sorted(wanted.values(), reverse=True), atol=1e-4)


@pytest.mark.parametrize("exact_below", [1000, 0])
def test_only_images_that_pass_the_filter_are_paired(conn, ids, vectors, monkeypatch, exact_below):
    monkeypatch.setattr(pairs_module, "EXACT_BELOW", exact_below)
    chosen = [*ids[:10], *ids[40:45]]
    found = db.look_alikes(conn, 0.95, db.Filter(sql.SQL("i.id = ANY(%(chosen)s)"), {"chosen": chosen}))
    assert as_set(found) == {(ids[n], ids[n + 40]) for n in range(5)}


def test_the_index_is_used_for_neighbours(conn, ids, monkeypatch):
    monkeypatch.setattr(pairs_module, "EXACT_BELOW", 0)
    before = scans(conn)
    db.look_alikes(conn, 0.95)
    assert scans(conn) - before >= len(ids)


def test_lists_are_not_asked_for_neighbours_since_comparing_all_is_sooner_done(conn, ids, vectors, monkeypatch):
    monkeypatch.setattr(pairs_module, "EXACT_BELOW", 0)
    known = db.active_encoder(conn, "image")
    conn.execute(f"DROP INDEX image_vectors_hnsw_{known.id}")
    conn.execute(create_statement(known, "ivfflat", index_name(known, "ivfflat"), rows=400))
    found = db.look_alikes(conn, 0.95)
    assert found.method.startswith("exact") and as_set(found) == in_numpy(ids, vectors, 0.95).keys()
    monkeypatch.setattr(pairs_module, "EXACT_AT_MOST", 10)
    with pytest.raises(db.LibraryError, match="no index by hnsw. Make one with Build Index"):
        db.look_alikes(conn, 0.95)


def circled(conn, root, image, encoder, degrees: list[float]) -> list[int]:
    """Images whose pictures lie so on a circle, in a library that is large enough for its index."""
    ids = db.write_images(conn, root, [image(n) for n in range(len(degrees))])
    angles = np.radians(degrees)[:, None]
    db.write_image_vectors(conn, encoder(conn, "image"), ids, np.hstack([np.cos(angles), np.sin(angles), np.zeros((len(ids), 6))]))
    return ids


def test_crowds_that_are_near_to_each_other_hang_together_though_each_crowds_the_other_out(conn, root, image, encoder, monkeypatch):
    monkeypatch.setattr(pairs_module, "EXACT_BELOW", 0)
    ids = circled(conn, root, image, encoder, [0] * 20 + [10] * 20 + [90] * 20 + [10.01, 50])
    found = db.look_alikes(conn, np.cos(np.radians(12)))
    assert [group.tolist() for group in db.groups_of(found)] == [[*ids[:40], ids[60]], ids[40:60]]
    assert found.method == "index, the 16 nearest of each of 62 images, and 61 images in crowds compared with each other"
    monkeypatch.setattr(pairs_module, "EXACT_AT_MOST", 60)
    found = db.look_alikes(conn, np.cos(np.radians(12)))
    assert [len(group) for group in db.groups_of(found)] == [21, 20, 20] and found.method.endswith("; groups of more than 16 may come in parts")


@pytest.fixture
def crowded_out(conn, root, image, encoder, monkeypatch) -> list[int]:
    """Two images that are near to each other, and 300 that are nearer to the first."""
    monkeypatch.setattr(pairs_module, "EXACT_BELOW", 0)
    random = np.random.default_rng(1)
    first = random.normal(size=DIMS)
    vectors = first + np.array([0, 0.4, *[0.05] * 300])[:, None] * random.normal(size=(302, DIMS))
    ids = db.write_images(conn, root, [image(n) for n in range(len(vectors))])
    db.write_image_vectors(conn, encoder(conn, "image", dims=DIMS), ids, vectors)
    return ids


def test_what_was_removed_crowds_nobody_out(conn, crowded_out):
    conn.execute("DELETE FROM images WHERE id = ANY(%s)", [crowded_out[2:]])
    assert as_set(db.look_alikes(conn, 0.8)) == {tuple(crowded_out[:2])}


def test_what_does_not_pass_the_filter_crowds_nobody_out(conn, crowded_out):
    assert as_set(db.look_alikes(conn, 0.8, db.Filter.of_ids(crowded_out[:2]))) == {tuple(crowded_out[:2])}


def scans(conn) -> int:
    return conn.execute(
        "SELECT pg_stat_get_numscans(oid) + pg_stat_get_xact_numscans(oid) FROM pg_class WHERE relname LIKE 'image_vectors_hnsw%'"
    ).fetchone()[0]


def test_a_cancelled_comparison_leaves_the_connection_usable(conn, ids):
    def cancel(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.look_alikes(conn, 0.95, progress=cancel)
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_library_without_image_vectors_says_what_to_do(conn):
    with pytest.raises(db.LibraryError, match="no image vectors yet.*CLIP_VISION"):
        db.look_alikes(conn, 0.95)


def test_more_pairs_than_are_duplicates_are_refused(conn, ids, monkeypatch):
    monkeypatch.setattr(pairs_module, "MOST_PAIRS", 100)
    with pytest.raises(db.LibraryError, match="More than 100 pairs.*Raise lowest_similarity, or choose fewer images with a filter"):
        db.look_alikes(conn, -1.0)


@pytest.mark.parametrize("most_bits", [0, 1, 4, 7])
def test_hashes_are_paired_when_few_enough_bits_differ(conn, root, image, most_bits):
    random = np.random.default_rng(5)
    hashes = random.integers(0, 2**63, 80, np.uint64)
    for n in range(40, 80):  # differ from an earlier one in 0 to 9 bits
        flipped = random.choice(64, n % 10, replace=False)
        hashes[n] = hashes[n - 40] ^ np.bitwise_or.reduce(np.left_shift(np.uint64(1), flipped.astype(np.uint64)), initial=np.uint64(0))
    ids = db.write_images(conn, root, [image(n) for n in range(80)])
    db.write_phashes(conn, dict(zip(ids, hashes.view(np.int64).tolist())))
    wanted = {
        (ids[a], ids[b])
        for a in range(80) for b in range(a + 1, 80)
        if bin(int(hashes[a] ^ hashes[b])).count("1") <= most_bits
    }  # fmt: skip
    assert len(wanted) >= 4 * (most_bits + 1)
    assert as_set(db.same_hashes(conn, most_bits)) == wanted


def test_a_cancel_is_heard_within_a_part_that_many_hashes_share(conn, root, image):
    ids = db.write_images(conn, root, [image(n) for n in range(40)])
    db.write_phashes(conn, {id_: 0x0F0F0F0F0F0F0000 + n for n, id_ in enumerate(ids)})  # one in the upper 48 bits
    told = []
    db.same_hashes(conn, 3, progress=lambda stage, done, total: told.append(done))
    assert told.count(3) >= 39 and max(told) == 3


def test_images_of_one_hash_hang_together(conn, root, image):
    ids = db.write_images(conn, root, [image(n) for n in range(50)])
    db.write_phashes(conn, dict.fromkeys(ids, 0x0F0F0F0F0F0F0F0F))
    found = db.same_hashes(conn, 4)
    assert len(found) == 49 and [group.tolist() for group in db.groups_of(found)] == [ids]


@pytest.mark.parametrize("phash", [0, -(2**63), -1])
def test_pictures_of_one_colour_are_not_duplicates(conn, root, image, phash):
    ids = db.write_images(conn, root, [image(n) for n in range(3)])
    db.write_phashes(conn, dict.fromkeys(ids, phash))
    assert len(db.same_hashes(conn, 4)) == 0


def test_images_wait_for_their_hash_until_it_is_written(conn, root, image):
    ids = db.write_images(conn, root, [image(n) for n in range(3)])
    db.write_phashes(conn, {ids[1]: -5})
    assert db.images_without_phash(conn) == [ids[0], ids[2]]
    assert [column.tolist() for column in db.read_phashes(conn)] == [[ids[1]], [-5]]


def test_writing_the_same_hash_again_keeps_the_librarys_generation(conn, root, image):
    [id_] = db.write_images(conn, root, [image(1)])
    db.write_phashes(conn, {id_: 7})
    before = db.generation(conn)
    db.write_phashes(conn, {id_: 7})
    assert db.generation(conn) == before


def pairs(*edges: tuple[int, int]) -> db.Pairs:
    first, second = np.array(edges, np.int64).reshape(-1, 2).T
    return db.Pairs(first, second, np.ones(len(edges), np.float32))


def test_groups_hang_together_by_any_of_the_pairs():
    found = db.groups_of(pairs((1, 2), (8, 9)), pairs((2, 30), (30, 40)))
    assert [group.tolist() for group in found] == [[1, 2, 30, 40], [8, 9]]


def test_no_pairs_make_no_groups():
    assert db.groups_of(pairs()) == []


def member(id: int, **known) -> db.Member:
    values = {"width": 64, "height": 64, "rating": None, "labels": [], "prompt_confidence": "exact", "phash": None}
    return db.Member(id=id, **{**values, "path": f"/a/{id}.png", "bytes": 1000, **known})


@pytest.mark.parametrize(
    "better, worse, reason",
    [
        ({"rating": 4}, {"rating": None, "width": 512}, "rated 4"),
        ({}, {"rating": -1, "width": 512}, "not rejected"),
        ({"labels": ["x"]}, {"height": 512}, "it has labels"),
        ({"height": 128}, {"bytes": 9000}, "larger picture (64 x 128)"),
        ({}, {"prompt_confidence": None, "bytes": 9000}, "its prompt is exact"),
        ({}, {"path": "/a/b.jpg", "bytes": 9000}, "lossless file"),
        ({"bytes": 2_000_000}, {}, "larger file (2 MB)"),
    ],
)
def test_the_one_to_keep_is_told_with_the_reason(better, worse, reason):
    ranked, why = db.best_first([member(1, **worse), member(2, **better)])
    assert ([one.id for one in ranked], why) == ([2, 1], reason)


def test_the_first_indexed_is_kept_when_nothing_else_tells():
    ranked, why = db.best_first([member(5), member(3)])
    assert (ranked[0].id, why) == (3, "indexed first; nothing else tells them apart")


def test_a_group_tells_how_near_each_member_is_to_the_kept_one(conn, ids, vectors):
    db.write_phashes(conn, {ids[0]: 0b1111, ids[40]: 0b0011})
    conn.execute("UPDATE images SET width = 999 WHERE id = %s", [ids[40]])
    [group] = db.duplicate_groups(conn, [np.array([ids[0], ids[40]])])
    assert [one.id for one in group.members] == [ids[40], ids[0]]
    assert group.reason == "larger picture (999 x 32); larger file (50 bytes)"
    assert group.bits == (0, 2)
    assert group.cosines == pytest.approx((1.0, in_numpy(ids, vectors, 0.9)[ids[0], ids[40]]), abs=1e-4)
    assert group.members[0].path == "/pictures/folder/40.png"


def test_many_groups_come_in_their_order(conn, ids, monkeypatch):
    monkeypatch.setattr("diffusion_toolkit.db.survey.duplicates.BATCH", 5)
    groups = [np.array([ids[n], ids[n + 40]]) for n in range(20)]
    found = list(db.duplicate_groups(conn, groups))
    assert [{one.id for one in group.members} for group in found] == [set(group.tolist()) for group in groups]


def chained(conn, root, image, encoder, degrees: list[float]) -> list[int]:
    """Images whose pictures lie so on a circle, the first the largest, and so on."""
    ids = db.write_images(conn, root, [image(n, width=999 - n) for n in range(len(degrees))])
    vectors = [[np.cos(np.radians(one)), np.sin(np.radians(one)), *[0] * 6] for one in degrees]
    db.write_image_vectors(conn, encoder(conn, "image"), ids, np.array(vectors))
    return ids


def parts(conn, ids: list[int], alike: db.Alike | None) -> list[list[int]]:
    found = db.duplicate_groups(conn, [np.array(ids)], alike=alike)
    return [[ids.index(one.id) for one in group.members] for group in found]


@pytest.mark.parametrize("at_once", [256, 2, 1])
def test_a_chain_comes_in_parts_that_are_near_to_the_one_to_keep(conn, root, image, encoder, monkeypatch, at_once):
    monkeypatch.setattr("diffusion_toolkit.db.survey.duplicates._COMPARED", at_once)
    ids = chained(conn, root, image, encoder, [0, 8, 16, 24, 32, 48, 40])
    assert parts(conn, ids, db.Alike(lowest=np.cos(np.radians(9)))) == [[0, 1], [2, 3], [4, 6]]
    assert parts(conn, ids, None) == [[0, 1, 2, 3, 4, 5, 6]]
    [group, *_] = db.duplicate_groups(conn, [np.array(ids)], alike=db.Alike(lowest=0.98))
    assert group.reason.startswith("larger picture (999 x 32)")


@pytest.mark.parametrize(
    "alike, expected",
    [
        (db.Alike(most_bits=2), [[0, 2]]),
        (db.Alike(lowest=0.98), [[0, 1, 2]]),
        (db.Alike(lowest=0.98, most_bits=2), [[0, 1, 2]]),
        (db.Alike(lowest=0.98, most_bits=2, both=True), [[0, 2]]),
        (db.Alike(lowest=0.998, most_bits=2, both=True), []),
    ],
)
def test_parts_are_near_in_what_was_asked_for(conn, root, image, encoder, alike, expected):
    ids = chained(conn, root, image, encoder, [0, 1, 8, 90])
    db.write_phashes(conn, {ids[0]: 0xFFFFFF, ids[1]: 0xFFFFFF << 20, ids[2]: 0x3FFFFFF, ids[3]: -1})
    assert parts(conn, ids, alike) == expected


def test_a_picture_of_one_colour_is_near_to_none_by_its_hash(conn, root, image, encoder):
    ids = chained(conn, root, image, encoder, [0, 90])
    db.write_phashes(conn, dict.fromkeys(ids, 0b11))
    assert parts(conn, ids, db.Alike(most_bits=2)) == []


def test_images_without_a_vector_are_parted_by_their_hashes(conn, root, image):
    ids = db.write_images(conn, root, [image(n) for n in range(3)])
    db.write_phashes(conn, dict.fromkeys(ids[:2], 0xFFFFFF))
    assert parts(conn, ids, db.Alike(lowest=0.9, most_bits=0)) == [[1, 0]]  # the larger file first


def test_where_a_cosine_meets_the_lowest_it_counts(conn, root, image, encoder):
    ids = chained(conn, root, image, encoder, [33, 33])
    assert parts(conn, ids, db.Alike(lowest=1.0)) == [[0, 1]]


def there(*paths: str):
    """As a look at the disk would tell when these files are there, and no others."""

    def places_of(files: list) -> list[db.Place]:
        return [db.Place(file.path, file.size, "" if file.path in paths else "the file is gone") for file in files]

    return places_of


def test_an_image_none_of_whose_files_is_there_is_in_no_group(conn, ids):
    conn.execute("UPDATE images SET rating = 5 WHERE id = %s", [ids[0]])
    three, two = np.array([ids[0], ids[40], ids[41]]), np.array([ids[0], ids[42]])
    found = db.duplicate_groups(conn, [three, two], there("folder/40.png", "folder/41.png", "folder/42.png"))
    assert [[one.id for one in group.members] for group in found] == [[ids[41], ids[40]]]


def test_a_file_of_an_image_that_is_there_is_told_for_one_that_is_gone(conn, root, ids):
    db.link_paths(conn, root, [("copy.png", db.KnownFile(ids[0], 10, 99))])
    [group] = db.duplicate_groups(conn, [np.array(ids[:2])], there("copy.png", "folder/1.png"))
    [one] = [one for one in group.members if one.id == ids[0]]
    assert (one.path, one.elsewhere, one.copies) == ("copy.png", (db.Place("folder/0.png", 10, "the file is gone"),), ())


def copied(conn, root: int, image_id: int, *files: tuple[str, int]) -> None:
    db.link_paths(conn, root, [(path, db.KnownFile(image_id, 10, mtime_ns)) for path, mtime_ns in files])


def test_of_an_images_files_the_oldest_is_kept_and_of_equally_old_ones_the_shortest_path(conn, root, image):
    [image_id] = db.write_images(conn, root, [image(5, path="a/5.png")])
    copied(conn, root, image_id, ("newer.png", 6), ("a/12345.png", 5), ("c.png", 5), ("older but gone.png", 1))
    db.mark_missing(conn, root, ["older but gone.png"])
    [one] = db.copied_images(conn, [image_id])
    names = [place.rpartition("/")[2] for place in (one.path, *(place.path for place in one.elsewhere))]
    assert names == ["c.png", "5.png", "12345.png", "newer.png", "older but gone.png"]


def test_images_in_more_than_one_file_are_those_of_which_two_are_there(conn, root, image, monkeypatch):
    monkeypatch.setattr("diffusion_toolkit.db.survey.duplicates.BATCH", 1)
    ids = db.write_images(conn, root, [image(n) for n in range(4)])
    for image_id in ids[:3]:
        copied(conn, root, image_id, (f"copy of {image_id}.png", 7))
    db.mark_missing(conn, root, [f"copy of {ids[1]}.png"])
    assert db.ids_with_copies(conn) == [ids[0], ids[2]]
    assert [one.id for one in db.copied_images(conn, ids[::-1], there("folder/0.png", f"copy of {ids[0]}.png", "folder/2.png"))] == [ids[0]]
    assert [one.id for one in db.copied_images(conn, [ids[2], ids[0], 999])] == [ids[2], ids[0]]


def test_copies_are_those_of_images_that_pass_the_filter_wherever_they_lie(conn, root, image):
    ids = db.write_images(conn, root, [image(n, path=f"{'cats' if n else 'dogs'}/{n}.png") for n in range(3)])
    copied(conn, root, ids[0], ("dogs/again.png", 7))
    copied(conn, root, ids[1], ("elsewhere/1.png", 7))
    assert db.ids_with_copies(conn, db.parse_filter("folder:cats")) == [ids[1]]
