"""Small real files of the kinds that Pillow does not write, made by FFmpeg, and pieces of files by hand."""

from __future__ import annotations

import io
import struct
import zlib

import av
import numpy as np

FORMATS = {"mp4": "libx264", "mov": "libx264", "matroska": "libx264", "webm": "libvpx-vp9"}


def video(container: str = "mp4", frames: int = 10, sound: bool = False, **tags: str) -> bytes:
    """32 x 16 pixels, ten frames a second; each is black on the right, left of one grey: 20 times its number."""
    file = io.BytesIO()
    options = {"movflags": "use_metadata_tags"} if container in ("mp4", "mov") else {}
    with av.open(file, "w", format=container, options=options) as output:
        output.metadata.update(tags)
        if frames:
            stream = output.add_stream(FORMATS[container], rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
            for number in range(frames):
                grey = np.full((16, 32, 3), 20 * number, np.uint8)
                grey[:, 16:] = 0
                output.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            output.mux(stream.encode())
        if sound:
            voice = output.add_stream("aac", rate=8000)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.rate = 8000
            output.mux(voice.encode(silence))
            output.mux(voice.encode())
    return file.getvalue()


def turned(mp4: bytes) -> bytes:
    """The video with the mark of a phone held upright: to be shown a quarter turn clockwise."""
    at = mp4.index(b"tkhd") + 4 + 40
    one = 1 << 16
    return mp4[:at] + struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30) + mp4[at + 36 :]


def exr(linear: np.ndarray, **texts: str) -> bytes:
    """OpenEXR of float32 [height, width, 3], with `texts` as string attributes at the head of its header."""
    from fractions import Fraction

    codec = av.CodecContext.create("exr", "w")
    codec.height, codec.width, _ = linear.shape
    codec.pix_fmt, codec.time_base = "gbrpf32le", Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(linear.astype(np.float32), format="gbrpf32le")
    frame.pts = 0
    data = b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
    added = b"".join(
        key.encode() + b"\0string\0" + struct.pack("<i", len(text.encode())) + text.encode() for key, text in texts.items()
    )
    return _moved(data, added, linear.shape[0])


def _moved(data: bytes, added: bytes, height: int) -> bytes:
    """Behind the header stand the places of the lines, counted from the file's begin."""
    at = 8
    while data[at]:
        kind_at = data.index(b"\0", at) + 1
        size_at = data.index(b"\0", kind_at) + 1
        if data[at:kind_at] == b"compression\0":
            lines = {0: 1, 1: 1, 2: 1, 3: 16}[data[size_at + 4]]
        at = size_at + 4 + int.from_bytes(data[size_at : size_at + 4], "little")
    table = at + 1
    count = -(-height // lines)
    places = [place + len(added) for place in struct.unpack_from(f"<{count}Q", data, table)]
    return data[:8] + added + data[8:table] + struct.pack(f"<{count}Q", *places) + data[table + 8 * count :]


def chunk(kind: bytes, body: bytes) -> bytes:
    """One of PNG's."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """Behind the signature and IHDR."""
    return png[:33] + b"".join(chunks) + png[33:]


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """JPEG segments (marker, content) behind the file's begin."""
    made = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return jpeg[:2] + made + jpeg[2:]


def riff(png_or_webp: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP with RIFF chunks added at its end."""
    added = b"".join(kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in chunks)
    size = struct.unpack_from("<I", png_or_webp, 4)[0] + len(added)
    return png_or_webp[:4] + struct.pack("<I", size) + png_or_webp[8:] + added


def exif(order: str, *tags: tuple[int, int, bytes], details: tuple[tuple[int, int, bytes], ...] = ()) -> bytes:
    """EXIF data in byte order `<` or `>`: (number, type, value) of the first directory, and of EXIF's own."""
    start = 8
    first = list(tags)
    main_size = 2 + 12 * (len(first) + bool(details)) + 4
    values_at = start + main_size
    values = b"".join(value for _, _, value in first if len(value) > 4)
    if details:
        first.append((0x8769, 4, struct.pack(order + "I", values_at + len(values))))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    data = head + _directory(order, first, values_at) + values
    if details:
        at = len(data) + 2 + 12 * len(details) + 4
        data += _directory(order, list(details), at) + b"".join(value for _, _, value in details if len(value) > 4)
    return data


def _directory(order: str, tags: list[tuple[int, int, bytes]], values_at: int) -> bytes:
    made = struct.pack(order + "H", len(tags))
    for number, kind, value in tags:
        count = len(value) // {4: 4}.get(kind, 1)
        made += struct.pack(order + "HHI", number, kind, count)
        if len(value) > 4:
            made += struct.pack(order + "I", values_at)
            values_at += len(value)
        else:
            made += value.ljust(4, b"\0")
    return made + bytes(4)
