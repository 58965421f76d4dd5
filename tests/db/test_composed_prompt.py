"""What Prompt from Vectors says of its score, and of images and texts that it can't make a prompt of."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def nodes():
    import_comfy()
    from diffusion_toolkit.nodes import links
    from diffusion_toolkit.nodes.conditioning import composed_prompt
    from diffusion_toolkit.nodes.search import asking

    return asking, composed_prompt, links


class Embedder:
    """Says of each text whether it is about foxes."""

    fingerprint, name = "", "stand-in"

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.stack([vector("fox" in text, "snow" in text) for text in texts])


def vector(*values: float) -> np.ndarray:
    return np.array([*values, 0.5, *[0] * (7 - len(values))], np.float32)


@pytest.fixture
def ids(library, image, encoder) -> list[int]:
    """Images of a prompt each, the last of none."""
    texts = [db.TextPair(text, text) for text in ("a fox, snow", "a ship", "a fox", "snow", "a ship, fog")]
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        ids = db.write_images(conn, root, [image(n, prompt=text) for n, text in enumerate([*texts, None])])
        vectors = Embedder().encode_texts([text.joined for text in texts])
        db.write_text_vectors(conn, encoder(conn, "text"), [db.find_text(conn, text) for text in texts], vectors)
        db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack([*vectors, vector(0, 0, 0, 1)]))
    return ids


def found(library, nodes, most: int, encoded: bool):
    asking, composed_prompt, links = nodes
    embedder = Embedder()
    with library.connection() as conn:
        embedder.fingerprint = db.active_encoder(conn, "text").fingerprint
        parts = [links.QueryPart("prompt", vector(1, 1), label="a fox")]
        made = composed_prompt.find_prompt(
            conn, parts, asking.Wanted(k=5, percentiles=False), most_phrases=most, text_embedder=embedder if encoded else None,
            progress=lambda *_: None,
        )  # fmt: skip
    return composed_prompt.report_text(made, parts, "", most)


def test_an_estimated_score_says_how_good_it_is_and_is_not_set_beside_a_true_one(library, nodes, ids):
    shown = found(library, nodes, 5, encoded=False)
    assert "by estimate, and there are too few texts to tell how good that is: rough" in shown.splitlines()[0]
    assert "nearest stored text" not in shown.splitlines()[0]
    assert "true ones, not to be compared with the estimates above (the nearest stored text has 1.000" in shown


@pytest.mark.parametrize(
    ("held_out", "said"), [([0.6, 0.95], "a cosine of 0.60 with the true vectors: rough"), ([0.95], "0.95 with the true vectors")]
)
def test_the_doubt_is_that_of_the_worst_kind(nodes, held_out, said):
    from types import SimpleNamespace

    from diffusion_toolkit.nodes.conditioning.phrase_scoring import Scoring

    words = {f"kind{n}": SimpleNamespace(held_out=one) for n, one in enumerate(held_out)}
    assert Scoring([SimpleNamespace(kind=kind) for kind in words], words, {}).doubt.endswith(said)


@pytest.mark.parametrize("encoded", [True, False])
def test_it_says_that_the_nearest_text_is_better(library, nodes, ids, encoded):
    shown = found(library, nodes, 1, encoded)
    assert "he nearest stored text itself is better, with " in shown and ": raise `phrases` (1 now), or take that text" in shown
    assert "is better" not in found(library, nodes, 5, encoded)
    assert ("by estimate" in shown) != encoded


def test_an_image_without_a_prompt_is_not_sent_to_index_folder(library, nodes, ids):
    composed_prompt = nodes[1]
    with library.connection() as conn:
        with pytest.raises(db.LibraryError, match="has a known prompt, so .* has:prompt") as raised:
            composed_prompt.parts_of_images(conn, ids[-1:], ["prompt"])
        assert "Index Folder" not in str(raised.value)
        with pytest.raises(db.LibraryError, match="has a known negative prompt, .* has:negative"):
            composed_prompt.parts_of_images(conn, ids, ["negative"])
        with pytest.raises(db.LibraryError, match="Run Index Folder"):
            composed_prompt.parts_of_images(conn, ids, ["clip_g"])


def test_where_no_text_is_near_only_what_is_true_is_said(library, nodes, ids):
    asking, composed_prompt, links = nodes
    parts = [links.QueryPart("image", vector(1), label="a picture")]
    shown = composed_prompt.why_no_texts(library, parts, asking.Wanted(filter=db.parse_filter("width:999")))
    assert "No image has width:999" in shown and "known prompt" not in shown
    shown = composed_prompt.why_no_texts(library, parts, asking.Wanted(filter=db.parse_filter("-has:prompt")))
    assert shown.startswith("No texts for") and "no image that is near has a known prompt" in shown and "offset" not in shown


def test_how_many_images_do_not_count_is_told_of_one_and_of_several(library, nodes, ids):
    _, composed_prompt, _ = nodes
    with library.connection() as conn:
        assert composed_prompt.parts_of_images(conn, ids[-2:], ["prompt"])[1] == "1 of the 2 images has no prompt vector and does not count"
        conn.execute("DELETE FROM text_vectors WHERE text_id = (SELECT prompt_id FROM images WHERE id = %s)", [ids[0]])
        told = composed_prompt.parts_of_images(conn, [ids[0], *ids[-2:]], ["prompt"])[1]
    assert told == "2 of the 3 images have no prompt vector and do not count"
