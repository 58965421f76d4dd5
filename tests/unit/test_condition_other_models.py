"""Condition Other Models of many images, and Stored Image Vector of many: cancel is heard, and the library is asked once."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def nodes():
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import condition_other_models, stored_image_vector

    return SimpleNamespace(condition=condition_other_models, vector=stored_image_vector)


def test_what_is_chosen_is_worded_as_where_it_is_read(nodes):
    from diffusion_toolkit.embedders.conditioning import image_vectors, other_models

    for node, reads, names in (
        (nodes.condition, other_models, ("REFINER", "FLUX", "SD3")),
        (nodes.vector, image_vectors, ("AVERAGE", "AVERAGE_KEPT", "EACH")),
    ):
        assert [getattr(node, name) for name in names] == [getattr(reads, name) for name in names]
    assert (nodes.condition.AVERAGE, nodes.condition.EACH) == (nodes.vector.AVERAGE, nodes.vector.EACH)


class Opened:
    @contextmanager
    def connection(self):
        yield None


def test_cancel_is_heard_between_images_that_no_clip_encodes(nodes, monkeypatch):
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.conditioning import other_recall

    texts, heard = [], []

    def progress(stage: str, done: int, total: int) -> None:
        heard.append((done, total))
        if done == 2:
            raise InterruptedError

    images = [SimpleNamespace(id=n, prompt_id=n, negative_id=None) for n in (1, 2, 3, 4)]
    monkeypatch.setattr(nodes.condition, "open_chosen", lambda *given: Opened())
    monkeypatch.setattr(nodes.condition, "progress_on", lambda node: progress)
    monkeypatch.setattr(db, "get_images", lambda connection, ids: images)
    recall = SimpleNamespace(connection=None, text=lambda text_id, missing=None: texts.append(text_id) or SimpleNamespace(piece=None))
    monkeypatch.setattr(other_recall, "OtherRecall", lambda *given: recall)
    with pytest.raises(InterruptedError):
        nodes.condition.ConditionOtherModels.execute(nodes.condition.REFINER, nodes.condition.EACH, "", "default", image_ids="1 2 3 4")
    assert heard == [(1, 4), (2, 4)] and texts == [1, None, 2, None]


@pytest.mark.parametrize(("target", "states"), [("SDXL refiner", 3), ("Stable Diffusion 3", 3), ("Flux", 1)])
def test_what_images_share_is_in_memory_once(nodes, monkeypatch, target, states):
    """Of three images with prompts of their own and one negative; without T5 all have Flux's zeros."""
    from diffusion_toolkit import db
    from diffusion_toolkit.embedders.conditioning.other_models import Piece
    from diffusion_toolkit.nodes.conditioning import other_recall

    monkeypatch.setattr(db, "active_encoder", lambda connection, family: None)
    monkeypatch.setattr(nodes.condition, "open_chosen", lambda *given: Opened())
    monkeypatch.setattr(nodes.condition, "progress_on", lambda node: lambda *told: None)
    images = [SimpleNamespace(id=n, prompt_id=n % 2, negative_id=9, prompt=f"{n % 2}", negative="", prompt_joined=False, negative_joined=False, width=8 * n, height=8, asked_width=None, asked_height=None) for n in (1, 2, 3)]
    monkeypatch.setattr(db, "get_images", lambda connection, ids: images)
    pieces = {text_id: other_recall.RecalledPiece(Piece(np.full((77, 2048), text_id, np.float16), np.zeros(768), np.zeros(1280)), "") for text_id in (0, 1, 9)}
    monkeypatch.setattr(other_recall.OtherRecall, "text", lambda self, text_id, missing=None: pieces[text_id])
    made = nodes.condition.ConditionOtherModels.execute(target, nodes.condition.EACH, "", "default", image_ids="1 2 3", sizes=nodes.condition.OWN_SIZES)
    rows = [row for side in made.result[:2] for [row] in side]
    assert len(rows) == 6 and len({given.data_ptr() for given, _ in rows}) == states
    told = [given.get("width") for _, given in rows]
    assert told == ([8, 16, 24] * 2 if target == "SDXL refiner" else [None] * 6)


def test_vectors_of_many_images_are_read_at_once(nodes, monkeypatch):
    from diffusion_toolkit import db

    asked = []

    def stored_vectors(connection, ids, encoders):
        asked.append((list(ids), encoders))
        return [SimpleNamespace(vectors={"image": np.full(4, id_, np.float32)} if id_ != 7 else {}) for id_ in ids]

    monkeypatch.setattr(db, "stored_vectors", stored_vectors)
    encoder = SimpleNamespace(id=3, name="vision")
    found = nodes.vector.image_vectors(None, [SimpleNamespace(id=n) for n in (5, 9)], encoder)
    assert found[:, 0].tolist() == [5, 9] and asked == [([5, 9], {"image": encoder})]
    with pytest.raises(db.LibraryError, match="Image #7: no image vector by vision"):
        nodes.vector.image_vectors(None, [SimpleNamespace(id=n) for n in (5, 7)], encoder)


def test_what_several_images_give_is_said_in_one_vocabulary(nodes):
    """Stored Image Vector and Condition Other Models ask the same, so their choices are the same words."""

    def choices(node) -> set[str]:
        return set(next(one for one in node.define_schema().inputs if one.id == "several").options)

    assert choices(nodes.condition.ConditionOtherModels) < choices(nodes.vector.StoredImageVector)
