"""How texts are recalled from a real library: whose states they are, mending, progress; and how they are exported."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._lock_numbers import WRITER_LOCK
from host.comfy_models import import_comfy
from psycopg.conninfo import make_conninfo

WIDTH = 8


@pytest.fixture(scope="module")
def nodes() -> ModuleType:
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import exported_images, recall, recalled_images

    return SimpleNamespace(Recall=recall.Recall, recall_images=recalled_images.recall_images, exported=exported_images.exported, told=recall)


@pytest.fixture
def clip(nodes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Makes a CLIP of this fingerprint that encodes any text as ones; `before` runs before each."""
    from diffusion_toolkit.embedders.models import clip_text

    def make(fingerprint: str, before: Callable[[], None] = lambda: None) -> object:
        def encode(pairs: list) -> SimpleNamespace:
            before()
            return SimpleNamespace(states=[np.ones((77, WIDTH), np.float16)] * len(pairs), clip_g=np.ones((len(pairs), 4), np.float16))

        return SimpleNamespace(fingerprint=fingerprint, name=f"token_states {fingerprint}", encode=encode)

    monkeypatch.setattr(clip_text, "SDXLTextEncoder", lambda clip: clip)
    return make


def state(value: float) -> db.TokenStates:
    return db.TokenStates(np.full((77, WIDTH), value, np.float16), np.full(4, value, np.float16))


def test_states_are_said_with_their_encoder_and_that_it_is_not_the_one_last_indexed_with(library, conn, encoder, nodes, clip):
    text_id = db.ensure_text(conn, db.TextPair("a fox", "a fox"))
    for fingerprint, value in (("aaaaaaaaaa", 2), ("bbbbbbbbbb", 3)):
        db.write_token_states(conn, encoder(conn, "token_states", fingerprint), {text_id: state(value)})
    former, active = (nodes.Recall(library, conn, one).text(text_id) for one in (clip("aaaaaaaaaa"), None))
    assert (former.states[0, 0], active.states[0, 0]) == (2, 3)
    assert former.source == "exact, from stored token states of token_states aaaaaaaaaa [aaaaaaaa], not the one last indexed with"
    assert active.source == "exact, from stored token states of token_states bbbbbbbbbb [bbbbbbbb]"
    assert nodes.Recall(library, conn, clip("bbbbbbbbbb")).text(text_id).source == active.source


def test_mending_holds_up_no_writer_and_outlives_the_error_of_a_later_text(library, encoder, nodes, clip):
    with library.connection() as conn:
        ids = [db.ensure_text(conn, db.TextPair(text, text)) for text in "abc"]
        encoder_id = encoder(conn, "token_states")
        db.write_token_states(conn, encoder_id, {id_: state(2) for id_ in ids[:2]})
        conn.execute("UPDATE token_states SET checksum = sha256('')")

    def others_can_write() -> None:
        with library.connection() as other:
            assert other.execute("SELECT pg_try_advisory_xact_lock(%s)", [WRITER_LOCK]).fetchone() == (True,)

    with pytest.raises(nodes.told.NothingStored), library.connection() as conn:
        recall = nodes.Recall(library, conn, clip("aa", before=others_can_write))
        for text_id in ids:
            recall.text(text_id)
        recall.text(None, "no prompt")
    with library.connection() as conn:
        assert [db.token_states(conn, id_, encoder_id).states[0, 0] for id_ in ids[:2]] == [1, 1]


def test_mending_leaves_the_callers_transaction_as_it_is(library, encoder, nodes, clip):
    with library.connection() as conn:
        ids = [db.ensure_text(conn, db.TextPair(text, text)) for text in "ab"]
        db.write_token_states(conn, encoder(conn, "token_states"), {id_: state(2) for id_ in ids})
        conn.execute("UPDATE token_states SET checksum = sha256('') WHERE text_id = %s", ids[:1])
    with library.connection() as conn:
        conn.execute("SELECT set_config('my.own', 'kept', true)")  # till the transaction ends, by a commit or a rollback
        assert nodes.Recall(library, conn, clip("aa")).text(ids[0]).source.endswith("are stored anew")
        assert conn.execute("SELECT current_setting('my.own')").fetchone() == ("kept",)


def test_damaged_states_that_may_not_be_stored_anew_are_given_all_the_same(library, as_user, encoder, nodes, clip):
    with library.connection() as conn:
        ids = [db.ensure_text(conn, db.TextPair(text, text)) for text in "ab"]
        db.write_token_states(conn, encoder(conn, "token_states"), {id_: state(2) for id_ in ids})
        conn.execute("UPDATE token_states SET checksum = sha256('') WHERE text_id = %s", ids[:1])
    guests = as_user()
    with guests.connection() as conn:
        recall = nodes.Recall(guests, conn, clip("aa"))
        damaged, sound = map(recall.text, ids)
    assert (damaged.states[0, 0], sound.states[0, 0]) == (1, 2)
    assert "can't be stored anew: The PostgreSQL user may not do this" in damaged.source


def test_why_states_can_not_be_stored_anew_names_the_place_where_this_library_is_set(library, dsn, encoder, tmp_path):
    with library.connection() as conn:
        text_id = db.ensure_text(conn, db.TextPair("a", "a"))
        encoder_id = encoder(conn, "token_states")
    standby = make_conninfo(dsn, options="-c default_transaction_read_only=on")
    refused = db.mend_token_states(db.open_library("standby", tmp_path, {"standby": standby}), encoder_id, text_id, state(1))
    assert "takes writes in the library 'standby' of config.json." in refused


@pytest.mark.parametrize(("text", "named"), [("a fox\n in the snow", "the text 'a fox in the snow'"), ("fox " * 40, "the text 'fox .{56}\\.\\.\\.'"), ("", "the empty text")])
def test_a_text_of_which_nothing_is_stored_is_named(library, conn, nodes, text, named):
    from diffusion_toolkit.embedders.conditioning.other_models import FLUX, SD3
    from diffusion_toolkit.nodes.conditioning.other_recall import OtherRecall

    text_id = db.ensure_text(conn, db.TextPair(text, text))
    for recall, connect in (
        (nodes.Recall(library, conn, None), "the SDXL CLIP to this node"), (OtherRecall(library, conn, SD3, None), f"the CLIP of {SD3}"), (OtherRecall(library, conn, FLUX, None), f"the CLIP of {FLUX}"),
    ):  # fmt: skip
        with pytest.raises(nodes.told.NothingStored, match=f"The library has .+ of {named}\\. Connect {connect}"):
            recall.text(text_id)


def test_an_estimate_names_the_former_clip_whose_states_are_stored(library, conn, encoder, nodes, monkeypatch):
    from diffusion_toolkit.nodes.conditioning import approximate

    monkeypatch.setattr(approximate, "approximate", lambda *given: SimpleNamespace(states=np.zeros((77, WIDTH)), said="APPROXIMATION", exact=False))
    kept, lacking = (db.ensure_text(conn, db.TextPair(text, text)) for text in "ab")
    db.write_token_states(conn, encoder(conn, "token_states", "former"), {kept: state(2)})
    encoder(conn, "token_states", "now")
    for family in ("clip_l", "clip_g"):
        db.write_text_vectors(conn, encoder(conn, family), [kept, lacking], np.ones((2, WIDTH)))
    recall = nodes.Recall(library, conn, None)
    assert "Exact ones are stored of token_states former [former], not the one last indexed with" in recall.text(kept).source
    assert "No token states are stored for this text" in recall.text(lacking).source


def images(conn, encoder, image, n: int) -> list[int]:
    """Images of one text each, which has states, as the empty text has."""
    pairs = [db.TextPair(f"text {number}", f"text {number}") for number in range(n)]
    found = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(number, prompt=pair) for number, pair in enumerate(pairs)])
    texts = [db.ensure_text(conn, pair) for pair in (*pairs, db.TextPair("", ""))]
    db.write_token_states(conn, encoder(conn, "token_states"), {id_: state(place) for place, id_ in enumerate(texts)})
    return found


def test_progress_and_a_cancel_are_heard_at_every_image_without_a_clip_too(library, conn, encoder, image, nodes):
    ids, told = images(conn, encoder, image, 4), []

    def progress(stage: str, done: int, total: int) -> None:
        told.append(done)
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nodes.recall_images(nodes.Recall(library, conn, None), ids, progress)
    assert told == [1, 2, 3]


def test_a_text_with_damaged_states_is_told_and_the_other_images_are_exported_whole(conn, encoder, image, nodes):
    ids, told = images(conn, encoder, image, 3), []
    damaged = db.find_text(conn, db.TextPair("text 1", "text 1"))
    conn.execute("UPDATE token_states SET checksum = sha256('') WHERE text_id = %s", [damaged])
    found = list(nodes.exported(conn, ids, db.active_encoders(conn), True, told.append))
    assert [sorted(record.states) for _, record in found] == [["negative", "positive"], ["negative"], ["negative", "positive"]]
    assert len(told) == 1 and f"(text {damaged}) are damaged" in told[0]
