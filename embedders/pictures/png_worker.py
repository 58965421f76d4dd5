"""A process of its own that decodes plain PNGs with kornia-rs: thrice as fast as Pillow, but it holds Python's lock meanwhile.

Run by its path in an isolated Python, so that neither ComfyUI nor this package is imported:

    python -I png_worker.py MEMORY BYTES [PATH ...]

PATHs are further places of modules, such as our user's own, which -I leaves out. MEMORY is the descriptor, on Windows the name, of
memory shared with the one who asks. A question on standard input is REQUEST: a PNG lies at the beginning of the memory. The answer
is one byte, GIVEN once its pixels lie from `pixels_at` on, GIVEN_WITH_SMALL when behind them lies what their perceptual hash is
made of (by `phash.py` beside this file: here they are at hand), or REFUSED. What it says first is READY (or READY_BUT_FOR_HALVING),
or in words why it can't begin. It ends with its input. `png_workers` is who asks.
"""

from __future__ import annotations

import mmap
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

REQUEST = struct.Struct("<QIIBB")  # bytes of the PNG, width, height, channels, how often its sides, which are even then, are halved
READY, READY_BUT_FOR_HALVING, GIVEN, GIVEN_WITH_SMALL, REFUSED = b"R", b"r", b"G", b"S", b"-"
SMALL_SHAPE = (32, 32)
_PAGE = 4096
_KNOWN = {  # PNGs of 2 x 1 pixels, by channels
    3: "89504e470d0a1a0a0000000d49484452000000020000000108020000007b40e8dd0000000f49444154789c63606462fed5c00000041101815b8da953000000"
    "0049454e44ae426082",
    4: "89504e470d0a1a0a0000000d4948445200000002000000010806000000f4227f8a0000001149444154789c6360646266f9d5c0f01f0006ac0284f04f51ed00"
    "00000049454e44ae426082",
}
_KNOWN_PIXELS = {3: [1, 2, 3, 250, 128, 0], 4: [1, 2, 3, 4, 250, 128, 0, 255]}

Decoder = Callable[[bytes, int, int, int], Any]
"""(PNG, width, height, channels) -> uint8 array [height, width, channels]; it raises where the PNG is another one, or damaged."""


def pixels_at(size: int) -> int:
    """Where the pixels of a PNG of `size` bytes are put."""
    return -(-size // _PAGE) * _PAGE


def decoder() -> Decoder:
    """Tried on pictures that are known: other versions of kornia-rs had other functions, and one gave a palette's numbers."""
    import kornia_rs

    given = getattr(getattr(kornia_rs, "io", kornia_rs), "decode_image_png_u8")

    def decode(png: bytes, width: int, height: int, channels: int) -> Any:
        pixels = given(png, (height, width), "rgb" if channels == 3 else "rgba")
        if pixels.shape != (height, width, channels) or pixels.dtype.name != "uint8":
            raise ValueError(f"pixels of {pixels.shape} {pixels.dtype.name}")
        return pixels

    for channels, png in _KNOWN.items():
        if decode(bytes.fromhex(png), 2, 1, channels).reshape(-1).tolist() != _KNOWN_PIXELS[channels]:
            raise ValueError("its pixels are wrong")
    return decode


def half(pixels: Any) -> Any:
    """The rounded means of 2 x 2 pixels, of even sides: uint8 [height, width, 3] -> [height / 2, width / 2, 3]."""
    from kornia_rs.imgproc import resize

    return resize(pixels, (pixels.shape[0] // 2, pixels.shape[1] // 2), "bilinear")


def halves_rightly() -> bool:
    """To the last bit as whoever asks does it without a worker: a vector may not depend on who read the file."""
    import numpy as np

    pixels = (np.arange(42 * 70 * 3, dtype=np.uint32) ** 2 % 251).astype(np.uint8).reshape(42, 70, 3)
    means = (pixels.reshape(21, 2, 35, 2, 3).sum((1, 3), dtype=np.uint16) + 2) // 4
    try:
        return np.array_equal(half(pixels), means)
    except BaseException:  # another version
        return False


def loaded(name: str) -> Any:
    """A file beside this one that needs numpy alone; None when it needs more by now."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError):
        return None
    return module


def answer(memory: mmap.mmap, decode: Decoder, hashing: Any, question: bytes) -> bytes:
    import numpy as np

    size, width, height, channels, halvings = REQUEST.unpack(question)
    try:
        pixels = decode(memory[:size], width, height, channels)
        if channels == 4:
            pixels = np.ascontiguousarray(pixels[:, :, :3]) if halvings else pixels[:, :, :3]
        for _ in range(halvings):
            pixels = half(pixels)
    except BaseException:  # a panic in Rust is no Exception; whatever it is, the one who asks has another decoder
        return REFUSED
    place = pixels_at(size)
    np.frombuffer(memory, np.uint8, pixels.size, place).reshape(pixels.shape)[:] = pixels
    if hashing is None or pixels.shape[0] * pixels.shape[1] <= hashing.SMALL:
        return GIVEN
    place += pixels.size
    memory[place : place + SMALL_SHAPE[0] * SMALL_SHAPE[1]] = hashing.made_small(pixels).tobytes()
    return GIVEN_WITH_SMALL


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    place, size = sys.argv[1], int(sys.argv[2])
    sys.path += [path for path in sys.argv[3:] if path not in sys.path]
    memory = mmap.mmap(-1, size, tagname=place) if sys.platform == "win32" else mmap.mmap(int(place), size)
    told = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
    try:
        decode = decoder()
    except Exception as error:
        told.write(f"{type(error).__name__}: {error}".encode(errors="replace"))
        return
    hashing = loaded("phash")
    told.write(READY if halves_rightly() else READY_BUT_FOR_HALVING)
    while len(question := sys.stdin.buffer.read(REQUEST.size)) == REQUEST.size:
        told.write(answer(memory, decode, hashing, question))


if __name__ == "__main__":
    main()
