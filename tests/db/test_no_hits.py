"""What a search says that found nothing, or less than was asked for: what is known of it, and only the step that helps."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def nodes():
    import_comfy()
    from diffusion_toolkit.nodes import links
    from diffusion_toolkit.nodes.search import asking, no_hits

    return asking, links, no_hits


@pytest.fixture
def why(library, nodes):
    """What is said of a search by image vector, or by the `parts` [(kind, vector)]."""
    asking, links, no_hits = nodes

    def ask(vector: np.ndarray | None = None, parts=(), options=None, **wanted) -> str:
        parts = [links.QueryPart(kind, vector, label=f"a {kind}") for kind, vector in parts or [("image", vector)]]
        wanted = asking.Wanted(options=links.SearchOptions(**(options or {})), **wanted)
        assert not asking.find(library, parts, wanted).hits.hits
        return no_hits.why_no_hits(library, parts, wanted)

    return ask


@pytest.fixture
def ids(library, image, encoder, unit) -> list[int]:
    """Four images, of cosines 1, 0.6, 0 and 0 with (1, 0, ...)."""
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        ids = db.write_images(conn, root, [image(n, labels=("fox",) if n else ()) for n in range(4)])
        db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack([unit(1), unit(3, 4), unit(0, 1), unit(0, 0, 1)]))
    return ids


def test_a_filter_that_passes_none_is_quoted_and_no_model_is_blamed(why, ids, unit):
    told = why(unit(1), filter=db.parse_filter("label:wolf"))
    assert told == "No hits for a image in the library 'default': 0 of 4 images pass the filter (label:wolf). No image has the label 'wolf'. There is: fox."
    told = why(unit(1), filter=db.parse_filter("label:fox id:1"))
    assert told.endswith("0 of 4 images pass the filter (label:fox id:1). Loosen the filter.")
    told = why(unit(1), filter=db.parse_filter("label:fox width:1"))
    assert told.endswith("pass the filter (label:fox width:1). No image has width:1; the only value is 64.")


def test_a_word_that_only_begins_others_is_told_where_none_pass(why, ids, unit, library, image):
    with library.connection() as conn:
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(9, prompt=db.TextPair("red flowers", ""))])
    told = why(unit(1), filter=db.all_of([db.parse_filter("label:fox"), db.parse_filter('prompt:"flower"')]))
    assert told.endswith("label:fox) (prompt:\"flower\")). No prompt has 'flower' as whole words; flower* is in those of 1 image.")


def test_a_page_beyond_the_end_tells_how_many_hits_there_are(why, ids, unit):
    assert why(unit(1), offset=100).endswith("there are only 4 hits, and offset passes over 100. Lower offset.")
    assert "there are only 2 hits" in why(unit(1), offset=10, lowest_score=0.5)
    assert "there is only 1 hit, and" in why(unit(1), offset=1, lowest_score=0.9)
    assert "there are only 3 hits" in why(unit(1), offset=3, filter=db.parse_filter("label:fox"))
    assert "there are only 3 hits" in why(unit(1), offset=3, leave_out=(ids[0],))


def test_no_more_hits_are_counted_than_a_message_is_worth(why, ids, unit, monkeypatch):
    monkeypatch.setattr("diffusion_toolkit.nodes.search.no_hits.COUNTED", 2)
    assert why(unit(1), offset=100).endswith("offset passes over 100, and there are no more hits than that. Lower offset.")


def test_a_lowest_score_that_none_reaches_is_told_with_the_best_score(why, ids, unit):
    told = why(unit(1), lowest_score=0.7, filter=db.parse_filter("label:fox"))
    assert told.endswith("the best of 3 images scores 0.600, below lowest_score 0.7. Lower lowest_score.")


def test_a_lowest_score_of_one_keeps_the_very_same_picture(library, nodes, image, encoder):
    asking, links, _ = nodes
    vectors = np.random.default_rng(3).normal(size=(20, 1024)).astype(np.float32)
    with library.connection() as conn:
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(n) for n in range(20)])
        db.write_image_vectors(conn, encoder(conn, "image", dims=1024), ids, vectors)
    for image_id, vector in zip(ids, vectors):
        found = asking.find(library, [links.QueryPart("image", vector, label="it")], asking.Wanted(lowest_score=1.0)).hits.hits
        assert [hit.image_id for hit in found] == [image_id]


def test_a_lowest_percentile_that_none_reaches_is_told_with_the_best(why, ids, unit):
    told = why(unit(1), options={"lowest_percentile": 60}, filter=db.parse_filter("label:fox"))
    assert "the best of 3 images is nearer than 50 % of the library, and Search Options' lowest_percentile asks for 60." in told
    assert "model" not in told


def test_where_nothing_reaches_the_lowest_percentile_the_nearest_stay_and_it_is_told(library, nodes, ids, unit):
    asking, links, _ = nodes

    def found(percentile: float):
        options = links.SearchOptions(lowest_percentile=percentile)
        return asking.find(library, [links.QueryPart("image", unit(1), label="a fox")], asking.Wanted(options=options)).hits

    assert found(80).ids == (ids[0],)
    assert found(80).note == "No image of the library is nearer than 75 % of it, so lowest_percentile 80 keeps only the nearest."
    assert found(75).ids == (ids[0],) and not found(75).note and not found(0).note


def test_a_model_is_named_where_its_vectors_are_missing(why, ids, library, image, encoder, unit):
    with library.connection() as conn:
        encoder(conn, "text")
        text = db.TextPair("a fox", "a fox")
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(7, prompt=text), image(8, prompt=text)])
    told = why(parts=[("prompt", unit(1))])
    assert "none of the 6 images can be compared. 2 of 6 images lack the prompt vector of the model that is asked: run Index" in told
    assert "with a text embedder connected. 4 of 6 images have no known prompt." in told
    told = why(unit(1), lowest_score=1.5)
    assert "the best of 4 images scores 1.000" in told and "2 of 6 images lack the image vector" in told


def test_the_image_that_was_asked_with_is_not_counted(why, ids, unit):
    told = why(unit(1), filter=db.parse_filter(f"id:{ids[0]}"), leave_out=(ids[0],))
    assert "0 of 3 other images pass" in told


def test_one_image_that_cannot_be_compared_is_told_as_one(why, ids, unit, library, image):
    with library.connection() as conn:
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(9, labels=("wolf",))])
    assert "'default': the one image that passes the filter can't be compared. 1 of 1 image lacks the" in why(unit(1), filter=db.parse_filter("label:wolf"))


def test_a_library_without_images_says_so(why, library, encoder, unit):
    with library.connection() as conn:
        encoder(conn, "image")
    assert why(unit(1)).endswith("it has no images. Run Index Folder.")


def test_an_image_of_an_empty_library_is_refused_with_the_next_step(library):
    with library.connection() as conn, pytest.raises(db.NoSuchImage, match="no image 4. It is empty: queue Index Folder"):
        db.get_images(conn, [4])


def test_of_many_images_that_are_not_there_the_first_are_named(library, ids):
    named = ", ".join(map(str, range(1001, 1021)))
    with library.connection() as conn, pytest.raises(db.NoSuchImage, match=f"no image {named} and 5 more. Take an id from a search"):
        db.get_images(conn, [ids[0], *range(1001, 1026)])


def test_a_hit_that_is_removed_before_its_image_is_read_is_left_out(library, nodes, ids, unit, monkeypatch):
    asking, links, _ = nodes
    search = db.search

    def beside_a_prune(conn, question):
        found = search(conn, question)
        conn.execute("DELETE FROM images WHERE id = %s", [ids[0]])
        return found

    monkeypatch.setattr(db, "search", beside_a_prune)
    found = asking.find(library, [links.QueryPart("image", unit(1), label="a fox")], asking.Wanted())
    assert [hit.image_id for hit in found.hits.hits] == [image.id for image in found.images] == ids[1:]


def test_hits_that_lack_what_is_asked_for_beside_a_negative_weight_are_told_once(library, nodes, ids, image, encoder, unit):
    asking, links, _ = nodes
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        with_text = db.write_images(conn, root, [image(9, prompt=(fox := db.TextPair("a fox", "a fox")))])
        db.write_text_vectors(conn, encoder(conn, "text"), [db.find_text(conn, fox)], unit(1)[None])
        db.write_image_vectors(conn, encoder(conn, "image"), with_text, unit(1)[None])

    def note(words: float, picture: float, filter: str = "", kind: str = "prompt") -> str:
        parts = [links.QueryPart(kind, unit(1), label="'a fox'", weight=words), links.QueryPart("image", unit(1), label="image 1", weight=picture)]
        return asking.find(library, parts, asking.Wanted(filter=db.parse_filter(filter))).hits.note

    assert note(1, -1.5) == (
        "4 of the 5 hits have no prompt vector to compare with 'a fox'; the negative weight of another query may alone have brought them here. "
        "To leave out images without a prompt, filter by has:prompt."
    )
    assert "1 of the 2 hits has no prompt" in note(1, -1.5, "has:prompt or id:1")
    assert "5 of the 5 hits have no negative prompt vector" in (told := note(1, -1, kind="negative"))
    assert told.endswith("To leave out images without a negative prompt, filter by has:negative.")
    both = [links.QueryPart("prompt", unit(1), label="a", weight=1), links.QueryPart("prompt", unit(0, 1), label="b", weight=-1)]
    found = asking.find(library, [*both, links.QueryPart("image", unit(1), label="c")], asking.Wanted()).hits
    assert len(found.hits) == 5 and found.note == ""  # what has no prompt is not unlike b either
    assert note(1, 1.5) == note(-1, 1.5) == note(1, -1.5, "has:prompt") == ""
    assert note(-1, -1.5) == note(0, -1.5) == ""  # nobody is here for being near to the words
