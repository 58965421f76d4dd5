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
    from diffusion_toolkit.nodes import condition_other_models, stored_image_vector

    return SimpleNamespace(condition=condition_other_models, vector=stored_image_vector)


class Opened:
    @contextmanager
    def connection(self):
        yield None


def test_cancel_is_heard_between_images_that_no_clip_encodes(nodes, monkeypatch):
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes import other_recall

    texts, heard = [], []

    def progress(stage: str, done: int, total: int) -> None:
        heard.append((done, total))
        if done == 2:
            raise InterruptedError

    images = [SimpleNamespace(id=n, prompt_id=n, negative_id=None) for n in (1, 2, 3, 4)]
    monkeypatch.setattr(nodes.condition, "open_chosen", lambda *given: Opened())
    monkeypatch.setattr(nodes.condition, "progress_on", lambda node: progress)
    monkeypatch.setattr(db, "get_images", lambda connection, ids: images)
    recall = SimpleNamespace(encodes=False, text=lambda text_id, missing=None: texts.append(text_id) or SimpleNamespace(piece=None))
    monkeypatch.setattr(other_recall, "OtherRecall", lambda *given: recall)
    with pytest.raises(InterruptedError):
        nodes.condition.ConditionOtherModels.execute(nodes.condition.REFINER, nodes.condition.EACH, "", "default", image_ids="1 2 3 4")
    assert heard == [(0, 4), (1, 4), (2, 4)] and texts == [1, None, 2, None]


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
