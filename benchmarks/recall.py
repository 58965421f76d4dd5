"""Token states of full-size SDXL text encoders (random weights): bytes a text, error against CLIPTextEncode, time to read.

    .venv/bin/python benchmarks/recall.py [--texts 24] [--states FILE]

Several ways of packing over the same states, then what the library takes on disk and how long it takes to give one text's back.
`--states` keeps what was encoded for the next run: 3 s a text on two cores.
"""

from __future__ import annotations

import argparse
import pickle
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, prepare
from prompts import template_prompts

ROUNDS = 15


@dataclass(frozen=True)
class Way:
    """One way to pack states [T, 2048] float32 and to have them again; sizes are of the states alone."""

    name: str
    pack: Callable[[np.ndarray], Any]
    unpack: Callable[[Any], np.ndarray]
    size: Callable[[Any], int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=24)
    parser.add_argument("--states", type=Path, help="a file that keeps the encoded texts")
    options = parser.parse_args()
    prepare()
    texts = encoded(options.texts, options.states)
    sections = sum(len(states) for _, states, _ in texts) // 77
    print(f"{machine()}\n{len(texts)} texts, {sections} sections of 77 tokens; CLIP of 12 and 32 layers, seeded random weights\n")
    print(packing_table([states for _, states, _ in texts]))
    print(f"\n{constant_rows([states for _, states, _ in texts])}\n")
    print(library_table(texts))


def encoded(number: int, file: Path | None) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(text, states [T, 2048], pooled [1280]) float32, as CLIPTextEncode gives them."""
    if file is not None and file.is_file():
        return pickle.loads(file.read_bytes())[:number]
    from diffusion_toolkit.embedders.models.clip_text import SDXLTextEncoder
    from full_size import full_size_clip

    encoder, texts = SDXLTextEncoder(full_size_clip()), ["", *template_prompts()][:number]
    found = []
    for text in texts:
        made = encoder.encode([(text, text)])
        found.append((text, made.states[0], made.clip_g[0]))
    if file is not None:
        file.write_bytes(pickle.dumps(found))
    return found


def ways() -> list[Way]:
    from diffusion_toolkit.db._packing import packed, unpacked

    def plain(dtype: str) -> Way:
        return Way(dtype, lambda x: x.astype(dtype).tobytes(), lambda b: np.frombuffer(b, dtype).reshape(-1, 2048), len)

    def halves(name: str, code: Callable[[bytes], bytes], decode: Callable[[bytes], bytes], in_planes: bool) -> Way:
        """float16 through a general packer, whole or by high and low bytes."""

        def pack(x: np.ndarray) -> list[bytes]:
            raw = x.astype("<f2").view(np.uint8).reshape(-1, 2)
            return [code(raw[:, place].tobytes()) for place in (0, 1)] if in_planes else [code(raw.tobytes())]

        def unpack(parts: list[bytes]) -> np.ndarray:
            planes = [np.frombuffer(decode(part), np.uint8) for part in parts]
            raw = np.stack(planes, 1) if in_planes else planes[0]
            return np.ascontiguousarray(raw).reshape(-1).view("<f2").reshape(-1, 2048)

        return Way(name, pack, unpack, lambda parts: sum(map(len, parts)))

    nothing = np.zeros(0, np.float16)
    found = [plain("<f2"), bfloat16(), *(fixed_point(bits) for bits in (8, 12))]
    found.append(halves("float16, zlib 6", lambda b: zlib.compress(b, 6), zlib.decompress, False))
    found.append(halves("float16 by bytes, zlib 6", lambda b: zlib.compress(b, 6), zlib.decompress, True))
    found += [halves(f"float16 by bytes, {name}", code, decode, True) for name, code, decode in others()]
    found += differences_by_zstd()
    found.append(Way("**differences of rows, by bytes, Huffman (zlib)**", lambda x: packed(x.astype(np.float16), nothing), lambda b: unpacked(b)[0], len))
    return found


def others() -> list[tuple[str, Callable[[bytes], bytes], Callable[[bytes], bytes]]]:
    """Packers that are no part of Python, where they are installed."""
    found = []
    try:
        import zstandard

        found.append(("zstd 3", zstandard.ZstdCompressor(3).compress, zstandard.ZstdDecompressor().decompress))
    except ImportError:
        pass
    try:
        import lz4.frame

        found.append(("lz4", lz4.frame.compress, lz4.frame.decompress))
    except ImportError:
        pass
    return found


def differences_by_zstd() -> list[Way]:
    """The package's own way but for the code, in zstd's literals: repetitions shorter than seven bytes are no repetitions here."""
    try:
        import zstandard
    except ImportError:
        return []
    from diffusion_toolkit.db import _packing

    settings = zstandard.ZstdCompressionParameters(window_log=17, hash_log=6, min_match=7, strategy=zstandard.STRATEGY_FAST)
    code, decode = zstandard.ZstdCompressor(compression_params=settings), zstandard.ZstdDecompressor()

    def pack(x: np.ndarray) -> list[bytes]:
        values = _packing._differences(x.astype("<f2").view("<u2"))
        return [_packing._plane(values, 0), code.compress(_packing._plane(values, 1))]

    def unpack(planes: list[bytes]) -> np.ndarray:
        values = np.empty((len(planes[0]), 2), np.uint8)
        values[:, 0], values[:, 1] = np.frombuffer(planes[0], np.uint8), np.frombuffer(decode.decompress(planes[1]), np.uint8)
        rows = values.view("<u2").reshape(-1, 2048)
        _packing._undo_differences(rows)
        return rows.view("<f2")

    return [Way("differences of rows, by bytes, zstd", pack, unpack, lambda planes: sum(map(len, planes)))]


def bfloat16() -> Way:
    def pack(x: np.ndarray) -> bytes:
        bits = x.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()

    return Way("bfloat16", pack, lambda b: (np.frombuffer(b, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(-1, 2048), len)


def fixed_point(bits: int) -> Way:
    """Signed whole numbers of so many bits with a float16 scale for each channel."""
    most = 2 ** (bits - 1) - 1

    def pack(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale = np.maximum(np.abs(x).max(0) / most, 1e-7).astype(np.float16)
        return np.rint(x / scale.astype(np.float32)).clip(-most, most).astype(np.int16), scale

    return Way(
        f"int{bits}, a scale for each channel", pack, lambda p: p[0] * p[1].astype(np.float32),
        lambda p: struct.calcsize("e") * len(p[1]) + p[0].size * bits // 8,
    )  # fmt: skip


def packing_table(states: list[np.ndarray]) -> str:
    lines = [
        "| way | bytes a section | of float16 | largest error, in float16 steps of the largest value | values within float16's rounding | us to unpack a section |",
        "|---" * 6 + "|",
    ]
    sections = sum(map(len, states)) / 77
    for way in ways():
        sizes = errors = within = 0.0
        for x in states:
            kept = way.pack(x)
            got = np.asarray(way.unpack(kept), np.float32)
            off = np.abs(got - x)
            sizes += way.size(kept)
            errors = max(errors, float(off.max() / np.abs(x).max() * 2**11))
            within += float((off <= np.spacing(np.abs(x).astype(np.float16)).astype(np.float32) / 2).mean()) / len(states)
        kept = way.pack(states[0][:77])
        lines.append(f"| {way.name.replace('<f2', 'float16')} | {sizes / sections:,.0f} | {sizes / sections / (77 * 4096):.3f} | {errors:.2f} | {within:.1%} | {best_us(lambda: way.unpack(kept)):.0f} |")
    return "\n".join(lines)


def constant_rows(states: list[np.ndarray]) -> str:
    """What could be left out since it is the same for every text."""
    first = np.stack([x[::77].astype(np.float16)[0] for x in states])
    same = (first == first[0]).all()
    return (
        f"The first row (BOS) is {'the same' if same else 'not the same'} in all texts: leaving it out would spare 1/77 (1.3 %) and make each text "
        "depend on another row, so it is kept."
    )


def library_table(texts: list[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """On disk and back, in the embedded PostgreSQL: as the first version stored them, and as they are now."""
    from diffusion_toolkit import db
    from synthetic import open_filled, stop

    lines = ["| in the library | bytes a section on disk | us to read a text of one section: least | p50 | p95 |", "|---" * 5 + "|"]
    with tempfile.TemporaryDirectory() as folder:
        library = open_filled(Path(folder))
        with library.connection() as conn:
            encoder = db.ensure_encoder(conn, db.Encoder("token_states", "bench", "bench", 2048))
        for name, write in (("float16, no checksum (before)", write_plain), ("packed, verified by sha256", write_packed)):
            with library.connection() as conn:
                conn.execute("TRUNCATE token_states")
                ids = [db.ensure_text(conn, db.TextPair(text, text)) for text, _, _ in texts]
                copies = [db.ensure_text(conn, db.TextPair(f"{text} {n}", text)) for n in range(8) for text, _, _ in texts]  # enough to measure by
                write(conn, encoder, dict(zip(ids + copies, texts * 9)))
            with library.connection() as conn:
                sections = conn.execute("SELECT sum(tokens) / 77.0 FROM token_states").fetchone()[0]
                size = db.token_states_bytes(conn) / float(sections)
                short = [id_ for id_, (_, states, _) in zip(ids, texts) if len(states) == 77]
                taken = np.array([once_us(lambda id_=id_: db.token_states(conn, id_, encoder)) for _ in range(20) for id_ in short])
            p50, p95 = np.percentile(taken, [50, 95])
            lines.append(f"| {name} | {size:,.0f} | {taken.min():,.0f} | {p50:,.0f} | {p95:,.0f} |")
        library.close()
        stop(Path(folder))
    return "\n".join(lines)


def write_packed(conn: Any, encoder: int, texts: dict[int, tuple[str, np.ndarray, np.ndarray]]) -> None:
    from diffusion_toolkit import db

    db.write_token_states(conn, encoder, {id_: db.TokenStates(states, pooled) for id_, (_, states, pooled) in texts.items()})


def write_plain(conn: Any, encoder: int, texts: dict[int, tuple[str, np.ndarray, np.ndarray]]) -> None:
    for id_, (_, states, pooled) in texts.items():
        row = [id_, encoder, len(states), states.astype("<f2").tobytes(), pooled.astype("<f2").tobytes()]
        conn.execute("INSERT INTO token_states (text_id, encoder_id, tokens, states, pooled) VALUES (%s, %s, %s, %s, %s)", row)


def once_us(job: Callable[[], Any]) -> float:
    started = time.perf_counter()
    job()
    return (time.perf_counter() - started) * 1e6


def best_us(job: Callable[[], Any]) -> float:
    return min(once_us(job) for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
