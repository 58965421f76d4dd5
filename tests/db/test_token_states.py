"""Token states come back bit by bit, in fewer bytes, and what is damaged is never given."""

from __future__ import annotations

import shutil

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import _packing, encoders
from diffusion_toolkit.db import migrate as migrate_module
from diffusion_toolkit.db.migrate import MIGRATIONS, migrate
from host.refusing_server import let_the_server_refuse

EVERY_FLOAT16 = np.arange(2**16, dtype=np.uint16).view(np.float16)


def like_an_encoders(tokens: int, seed: int = 0, width: int = 2048) -> np.ndarray:
    """[tokens, width] float16 whose neighbouring rows are as alike as those of an SDXL CLIP of random weights."""
    rng = np.random.default_rng(seed)
    rows = 4 * rng.normal(size=width) + np.cumsum(rng.normal(size=(tokens, width)), axis=0)
    return rows.astype(np.float16)


@pytest.fixture
def stored(conn, encoder) -> tuple[int, int, db.TokenStates]:
    """A text with token states by an encoder."""
    text_id, encoder_id = db.ensure_text(conn, db.TextPair("a fox", "a fox")), encoder(conn, "token_states", dims=2048)
    state = db.TokenStates(like_an_encoders(154), like_an_encoders(1, width=1280)[0])
    db.write_token_states(conn, encoder_id, {text_id: state})
    return text_id, encoder_id, state


def assert_same_bits(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got.view(np.uint16), expected.view(np.uint16))


def test_they_come_back_bit_by_bit(conn, stored):
    text_id, encoder_id, state = stored
    found = db.token_states(conn, text_id, encoder_id)
    assert_same_bits(found.states, state.states)
    assert_same_bits(found.pooled, state.pooled)


@pytest.mark.parametrize("seed", range(5))
def test_every_float16_is_packed_without_loss(seed):
    values = np.random.default_rng(seed).permutation(EVERY_FLOAT16).reshape(64, 1024)
    states, pooled = _packing.unpacked(_packing.packed(values, values[0]))
    assert_same_bits(states, values)
    assert_same_bits(pooled, values[0])


@pytest.mark.parametrize(("tokens", "width", "pooled"), [(1, 1, 0), (1, 2048, 1280), (77, 3, 1), (231, 2048, 1280)])
def test_every_size_is_packed(tokens, width, pooled):
    values, other = like_an_encoders(tokens, width=width), np.zeros(pooled, np.float16)
    states, got = _packing.unpacked(_packing.packed(values, other))
    assert_same_bits(states, values)
    assert_same_bits(got, other)


def test_unpacked_parts_do_not_keep_what_they_were_packed_in():
    states, pooled = _packing.unpacked(_packing.packed(like_an_encoders(2), np.ones(1280, np.float16)))
    assert pooled.base is None and pooled.flags.writeable and pooled.flags.aligned


def test_states_like_an_encoders_take_less_than_float16_does():
    states = like_an_encoders(77)
    assert len(_packing.packed(states, states[0])) < 0.8 * states.nbytes


def test_states_unlike_one_another_take_hardly_more_than_float16_does():
    noise = EVERY_FLOAT16.reshape(32, 2048)
    assert len(_packing.packed(noise, noise[0])) < 1.01 * (noise.nbytes + noise[0].nbytes)


def test_many_are_read_at_once_and_those_without_any_are_left_out(conn, encoder):
    ids = [db.ensure_text(conn, db.TextPair(str(n), str(n))) for n in range(4)]
    encoder_id = encoder(conn, "token_states", dims=4)
    db.write_token_states(conn, encoder_id, {id_: db.TokenStates(np.full((2, 4), n), np.ones(3)) for n, id_ in enumerate(ids[:3])})
    found = db.many_token_states(conn, [ids[2], ids[3], ids[0]], encoder_id)
    assert {id_: state.states[0, 0] for id_, state in found.items()} == {ids[0]: 0, ids[2]: 2}


def test_those_of_another_encoder_are_never_given(conn, encoder):
    text_id = db.ensure_text(conn, db.TextPair("a fox", "a fox"))
    first, second = (encoder(conn, "token_states", fingerprint, dims=4) for fingerprint in ("aa", "bb"))
    db.write_token_states(conn, first, {text_id: db.TokenStates(np.ones((2, 4)), np.ones(3))})
    assert db.token_states(conn, text_id, second) is None


def test_a_text_keeps_what_it_has(conn, stored):
    text_id, encoder_id, state = stored
    db.write_token_states(conn, encoder_id, {text_id: db.TokenStates(state.states + 1, state.pooled)})
    assert_same_bits(db.token_states(conn, text_id, encoder_id).states, state.states)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (np.ones((2, 7)), r"expected \[tokens, 8\]"),
        (np.ones(8), r"expected \[tokens, 8\]"),
        (np.full((2, 8), np.nan), "not finite"),
        (np.full((2, 8), 1e6), "beyond float16's 65504"),
    ],
)
def test_what_is_no_token_states_is_refused(conn, encoder, states, message):
    text_id, encoder_id = db.ensure_text(conn, db.TextPair("x", "x")), encoder(conn, "token_states", dims=8)
    with pytest.raises(ValueError, match=message):
        db.write_token_states(conn, encoder_id, {text_id: db.TokenStates(states, np.ones(3))})


@pytest.mark.parametrize(
    "damage",
    [
        "states = set_byte(states, 200, get_byte(states, 200) # 4)",
        "states = set_byte(states, 0, 1 - get_byte(states, 0))",
        "states = substr(states, 1, length(states) - 1)",
        "states = ''",
        "checksum = sha256('')",
        "tokens = 77",
    ],
)
def test_damage_names_the_text_and_what_to_do(conn, stored, damage):
    text_id, encoder_id, _ = stored
    conn.execute(f"UPDATE token_states SET {damage}")
    with pytest.raises(db.DamagedStates, match=rf"of the text 'a fox' \(text {text_id}\) are damaged: .*Connect the CLIP .*token_states aa \[aa\]"):
        db.token_states(conn, text_id, encoder_id)


@pytest.mark.parametrize("at", [0, 1, 5, 9, 13])
def test_a_header_that_nobody_wrote_is_told_even_where_the_checksum_is_right(conn, stored, at):
    text_id, encoder_id, _ = stored
    data = bytearray(conn.execute("SELECT states FROM token_states", binary=True).fetchone()[0])
    data[at] ^= 0xFF
    conn.execute("UPDATE token_states SET states = %s, checksum = sha256(%s)", [bytes(data), bytes(data)])
    with pytest.raises(db.DamagedStates):
        db.token_states(conn, text_id, encoder_id)


def test_a_server_can_verify_them_itself(conn, stored):
    assert conn.execute("SELECT count(*) FROM token_states WHERE sha256(states) = checksum").fetchone() == (1,)


def test_damaged_ones_can_be_written_anew(conn, stored):
    text_id, encoder_id, state = stored
    conn.execute("UPDATE token_states SET states = ''")
    db.write_token_states(conn, encoder_id, {text_id: state}, anew=True)
    assert_same_bits(db.token_states(conn, text_id, encoder_id).states, state.states)


def test_what_the_server_cant_read_is_named_alone_and_the_advice_spares_the_rest(conn, encoder):
    ids = [db.ensure_text(conn, db.TextPair(str(n), str(n))) for n in range(30)]
    first, second = (encoder(conn, "token_states", fingerprint, dims=4) for fingerprint in ("aa", "bb"))
    for encoder_id in (first, second):
        db.write_token_states(conn, encoder_id, {id_: db.TokenStates(np.ones((2, 4)), np.ones(3)) for id_ in ids})
    let_the_server_refuse(conn, ids[21], ids[25])
    with pytest.raises(db.DamagedStates) as caught:
        db.many_token_states(conn, ids, first)
    assert f"of text {ids[21]}, {ids[25]}: missing chunk" in str(caught.value)
    advice = str(caught.value)[str(caught.value).index("DELETE") :].replace("token_states", "kept")
    conn.execute(advice)  # the transaction goes on
    left = conn.execute("SELECT text_id, encoder_id FROM kept").fetchall()
    assert set(left) == {(id_, encoder_id) for id_ in ids for encoder_id in (first, second)} - {(ids[21], first), (ids[25], first)}


def test_what_the_server_cant_read_ends_neither_its_transaction_nor_a_statement_alone(library, stored, conn):
    text_id, encoder_id, _ = stored
    let_the_server_refuse(conn, text_id)
    for _ in range(2):
        with pytest.raises(db.DamagedStates, match="missing chunk"):
            db.token_states(conn, text_id, encoder_id)
    assert db.get_text(conn, text_id).text_g == "a fox"
    conn.commit()
    with library.reading() as alone, pytest.raises(db.DamagedStates, match="missing chunk"):
        db.token_states(alone, text_id, encoder_id)


def plain(conn, text_id: int, encoder_id: int, states: np.ndarray, pooled: np.ndarray) -> None:
    """As the first schema's writer stored them."""
    conn.execute(
        "INSERT INTO token_states (text_id, encoder_id, tokens, states, pooled) VALUES (%s, %s, %s, %s, %s)",
        [text_id, encoder_id, len(states), states.tobytes(), pooled.tobytes()],
    )


def test_those_of_an_older_version_are_read(new_database, tmp_path, encoder):
    before = tmp_path / "before"
    shutil.copytree(MIGRATIONS, before, ignore=lambda _, names: [name for name in names if name > "0005"])
    with psycopg.connect(new_database(), autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
        with conn.transaction(), pytest.MonkeyPatch.context() as patch:
            for module in (migrate_module, encoders):
                patch.setattr(module, "create_view", lambda *of: None)  # today's is of columns that came later
            migrate(conn, before)
            text_id, encoder_id = db.ensure_text(conn, db.TextPair("old", "old")), encoder(conn, "token_states", dims=2048)
            state = db.TokenStates(like_an_encoders(77), like_an_encoders(1, width=1280)[0])
            plain(conn, text_id, encoder_id, state.states, state.pooled)
        with conn.transaction():
            migrate(conn)
        found = db.token_states(conn, text_id, encoder_id)
        assert_same_bits(found.states, state.states)
        assert_same_bits(found.pooled, state.pooled)


@pytest.mark.parametrize("states", [np.zeros((0, 4), np.float16), np.full((2, 4), np.inf, np.float16)])
def test_those_of_an_older_version_are_verified_where_they_can_be(conn, encoder, states):
    text_id, encoder_id = db.ensure_text(conn, db.TextPair("old", "old")), encoder(conn, "token_states", dims=4)
    plain(conn, text_id, encoder_id, states, np.ones(3, np.float16))
    with pytest.raises(db.DamagedStates, match="'old'"):
        db.token_states(conn, text_id, encoder_id)


def test_what_a_section_takes_on_disk_is_known_once_there_are_some(conn, encoder):
    encoder_id = encoder(conn, "token_states", dims=2048)
    assert db.section_bytes(conn) is None
    ids = [db.ensure_text(conn, db.TextPair(str(n), str(n))) for n in range(40)]
    pooled = np.ones(1280, np.float16)
    db.write_token_states(conn, encoder_id, {id_: db.TokenStates(like_an_encoders(154, seed=id_), pooled) for id_ in ids})
    packed = len(_packing.packed(like_an_encoders(154), pooled)) / 2
    assert packed < db.section_bytes(conn) < 1.06 * packed
    assert db.token_states_bytes(conn) > 80 * packed
