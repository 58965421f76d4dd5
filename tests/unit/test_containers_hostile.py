"""Files made to crash, hang or swell their reader: it says what is wrong, or nothing, and goes on."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from diffusion_toolkit.embedders.metadata import read_metadata
from diffusion_toolkit.embedders.metadata.containers import Source, open_source, read_pieces
from diffusion_toolkit.embedders.metadata.containers import png as png_module
from diffusion_toolkit.embedders.metadata.containers.source import MAX_PIECES
from diffusion_toolkit.embedders.metadata.containers.xmp import xmp_texts
from diffusion_toolkit.embedders.metadata.records import Pieces
from diffusion_toolkit.embedders.pictures.decode import ImageError, decode, read_image
from host.sampled_graphs import png
from host.small_files import chunk, exif, exr, riff, video, with_chunks, with_segments
from PIL import Image, features

HUGE = 100 * 2**20


def pieces(data: bytes | Path) -> Pieces:
    with open_source(data) as source:
        return read_pieces(source)


def peak(data: bytes | Path) -> tuple[Pieces, int]:
    """What was found, and the most memory that finding it took."""
    tracemalloc.start()
    try:
        return pieces(data), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def encoded(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)).save(file, format, **options)
    return file.getvalue()


def samples() -> dict[str, bytes]:
    """A file of every kind, with texts in it."""
    tags = Image.Exif()
    tags[0x0110], tags[0x010E] = 'prompt:{"a": 1}', "a red fox"
    tags.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a red fox".encode("utf-16-be")
    xmp = b"<x:xmpmeta>" + b" " * 50 + b"</x:xmpmeta>"
    profile = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  30\n" + b"00" * 30))
    found = {format: encoded(format, exif=tags) for format in ("PNG", "JPEG", "WEBP", "TIFF")}
    found["WEBP"] = riff(found["WEBP"], (b"XMP ", xmp))
    found["PNG"] = with_chunks(found["PNG"], profile, chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"told")))
    found["JPEG"] = with_segments(
        found["JPEG"], (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp), (0xFE, b"told"),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x09\x1c\x02\x78\0\4told"),
    )  # fmt: skip
    found["GIF"] = encoded("GIF", comment=b"told")
    if features.check("avif"):
        found["AVIF"] = encoded("AVIF", exif=tags, xmp=xmp)
    found |= {"mp4": video(prompt="{}"), "webm": video("webm", prompt="{}"), "exr": exr(np.zeros((4, 4, 3)), prompt="{}")}
    return found


SAMPLES = samples()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the damage
@pytest.mark.parametrize("kind", SAMPLES)
def test_damaged_files_raise_nothing(kind: str) -> None:
    chance = random.Random(kind)
    for _ in range(300):
        data = bytearray(SAMPLES[kind])
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.choice((1, 2, 4))] = chance.choice((b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"I"))
        cut = bytes(data[: chance.choice((len(data), chance.randint(1, len(data))))])
        read_metadata(cut)
        try:
            decode(cut)
        except ImageError:
            pass


@pytest.mark.parametrize("kind", SAMPLES)
def test_truncated_files_raise_nothing(kind: str) -> None:
    for kept in range(0, len(SAMPLES[kind]), 1 + len(SAMPLES[kind]) // 400):
        pieces(SAMPLES[kind][:kept])


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf"])
def test_a_text_chunk_of_100_mb_is_sought_over_and_said(kind: bytes, tmp_path: Path) -> None:
    plain = png({})
    with (tmp_path / "a.png").open("wb") as file:
        file.write(plain[:33] + struct.pack(">I", HUGE) + kind + b"prompt\0")
        file.seek(HUGE - 7 + 4, os.SEEK_CUR)
        file.write(chunk(b"tEXt", b"a\0told") + plain[33:])
    found, most = peak(tmp_path / "a.png")
    assert found.raw == {"a": b"told"} and f"{HUGE} bytes was left unread" in found.problems[0]
    assert most < 2**20


def test_a_tag_of_100_mb_is_left_unread_and_said(tmp_path: Path) -> None:
    tags = bytearray(exif("<", (0x010E, 2, b"a red fox\0"), (0x0131, 2, b"a tool\0")))
    struct.pack_into("<I", tags, 10 + 4, HUGE)
    with (tmp_path / "a.tif").open("wb") as file:
        file.write(tags)
        file.truncate(HUGE + 1000)
    found, most = peak(tmp_path / "a.tif")
    assert found.raw == {"Software": b"a tool"} and "left unread" in found.problems[0]
    assert most < 2**20


@pytest.mark.parametrize("head", [b"zTXt", b"iTXt"])
def test_a_text_that_unpacks_to_a_thousand_times_its_size_is_left_unread(head: bytes) -> None:
    before = b"\0\0" if head == b"zTXt" else b"\0\1\0\0\0"
    bomb = chunk(head, b"prompt" + before + zlib.compress(b" " * HUGE, 9))
    found, most = peak(with_chunks(png({}), bomb))
    assert found.raw == {} and "unpacked" in found.problems[0]
    assert most < 16 * 2**20


def test_many_texts_that_unpack_far_do_not_add_up() -> None:
    packed = zlib.compress(b" " * 3_900_000, 9)
    found, most = peak(with_chunks(png({}), *(chunk(b"zTXt", b"key%d\0\0" % at + packed) for at in range(200))))
    assert most < 100 * 2**20 and found.problems


def test_of_too_many_texts_the_first_are_kept() -> None:
    found = pieces(with_chunks(png({}), *(chunk(b"tEXt", b"key%d\0a" % at) for at in range(MAX_PIECES * 2))))
    assert len(found.raw) == MAX_PIECES and "left unread" in found.problems[0]


def test_a_file_of_nothing_but_empty_chunks_ends() -> None:
    data = png({})[:33] + chunk(b"aBCD", b"") * 500_000
    assert "too many" in pieces(data).problems[0]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_texts_without_end_are_not_all_read(kind: str) -> None:
    if kind == "PNG":
        data = with_chunks(png({}), chunk(b"tEXt", b"a\0told") * 20_000)
    else:
        data = riff(encoded("WEBP"), *[(b"EXIF", exif("<", (0x0131, 2, b"a tool\0")))] * 20_000)
    found = pieces(data)
    assert len(found.raw) == 1 and "too many" in found.problems[0]


def test_exif_whose_directories_point_at_themselves_ends() -> None:
    data = exif("<", (0x8769, 4, struct.pack("<I", 8)), (0x0131, 2, b"a tool\0"))
    assert pieces(with_chunks(png({}), chunk(b"eXIf", data))).raw == {"Software": b"a tool"}


@pytest.mark.parametrize("order", "<>")
def test_exif_whose_numbers_lie_says_nothing(order: str) -> None:
    whole = exif(order, (0x0131, 2, b"a tool\0"), (0x010E, 2, b"a red fox\0"))
    for at in range(4, len(whole) - 4):
        for lie in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
            pieces(whole[:at] + struct.pack(order + "I", lie) + whole[at + 4 :])


def test_exif_with_65535_tags_that_share_their_value_stays_small() -> None:
    text = b'k:{"a": "' + b"x" * 100_000 + b'"}\0'
    count = 65535
    at = 10 + 12 * count + 4
    tags = b"".join(struct.pack("<HHII", number, 2, len(text), at) for number in range(count))
    found, most = peak(b"II*\0\x08\0\0\0" + struct.pack("<H", count) + tags + bytes(4) + text)
    assert found.raw.keys() == {"k"} and most < 16 * 2**20


def test_exif_whose_values_overlap_does_not_add_up() -> None:
    count, size = 200, 2**20
    at = 10 + 12 * count + 4
    values = b"".join(b"k%04d:{  " % number for number in range(count)) + b" " * size
    tags = b"".join(struct.pack("<HHII", number, 2, size, at + 9 * number) for number in range(count))
    found, most = peak(b"II*\0\x08\0\0\0" + struct.pack("<H", count) + tags + bytes(4) + values)
    assert "left unread" in found.problems[0] and most < 60 * 2**20


@pytest.mark.parametrize("size", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_chunks_whose_sizes_lie_end(size: int) -> None:
    webp, little, big = encoded("WEBP"), struct.pack("<I", size), struct.pack(">I", size)
    pieces(webp[:4] + little + webp[8:])
    pieces(webp[:16] + little + webp[20:])
    pieces(riff(webp)[:12] + b"EXIF" + little + b"told")
    pieces(png({})[:33] + big + b"tEXta\0told")
    attribute = pieces(b"\x76\x2f\x31\x01\2\0\0\0prompt\0string\0" + little + b"told")
    assert size < 2 or attribute.problems == ["the file ends inside its metadata"]
    for kind in (b"meta", b"moov", b"free", b"mdat"):
        for wide in (0, 2**63, 2**64 - 1):
            for brand in (b"avif", b"isom"):
                start = b"\0\0\0\x10ftyp" + brand + bytes(4)
                data = start + big + kind + struct.pack(">Q", wide) + b"told" * 10
                pieces(data)
                with pytest.raises(ImageError):
                    decode(data)


def test_an_avif_that_lists_its_items_wrong_says_so_or_nothing() -> None:
    whole = SAMPLES.get("AVIF", b"")
    at = whole.find(b"meta")
    for place in range(at, at + 400) if at > 0 else ():
        pieces(whole[:place] + b"\xff\xff" + whole[place + 2 :])
        pieces(whole[:place] + b"\0\0" + whole[place + 2 :])


class Counted(Source):
    """How much of the content was asked for, all reads together."""

    asked = 0

    def read(self, at: int, size: int) -> bytes:
        found = super().read(at, size)
        self.asked += len(found)
        return found


def test_bombs_one_behind_the_other_are_not_all_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zlib.compress(b" " * 8 * 2**20, 9)
    data = with_chunks(png({}), *(chunk(b"zTXt", b"key%d\0\0" % at + packed) for at in range(60)))
    unpacked = []
    monkeypatch.setattr(png_module._Texts, "_inflate", counted(png_module._Texts._inflate, unpacked))
    pieces(data)
    assert sum(unpacked) == 64 * 2**20


def counted(inflate: Callable, unpacked: list[int]) -> Callable:
    def wrapper(texts: object, packed: bytes) -> bytes:
        before = texts._left
        try:
            return inflate(texts, packed)
        finally:
            unpacked.append(before - texts._left)

    return wrapper


@pytest.mark.parametrize("number", [0x927C, 0x9286, 33723])
def test_a_tag_that_is_there_a_thousand_times_is_read_once(number: int) -> None:
    count, value = 1000, bytes(range(256)) * 400
    at = 10 + 12 * count + 4
    tags = struct.pack("<HHII", number, 7, len(value), at) * count
    source = Counted(b"II*\0\x08\0\0\0" + struct.pack("<H", count) + tags + bytes(4) + value)
    read_pieces(source)
    assert source.asked < 2 * source.size


def test_problems_do_not_fill_the_memory() -> None:
    assert len(pieces(with_chunks(png({}), chunk(b"tEXt", b"") * 1000)).problems) <= 20


def test_an_avif_of_items_with_countless_places_ends() -> None:
    item = struct.pack(">HHH", 1, 0, 65535)
    iloc = struct.pack(">I4s", 8 + 8 + len(item) * 20000, b"iloc") + bytes(4) + b"\0\0" + struct.pack(">H", 20000) + item * 20000
    meta = struct.pack(">I4s", 12 + len(iloc), b"meta") + bytes(4) + iloc
    assert pieces(struct.pack(">I4s4sI", 16, b"ftyp", b"avif", 0) + meta).raw == {}


def test_a_gif_of_countless_blocks_ends() -> None:
    frame = b"\x2c" + bytes(9) + b"\2" + b"\1\0" * 300_000 + b"\0"
    source = Counted(encoded("GIF")[:-1] + frame * 20 + b"\x21\xfe\3end\0;")
    assert read_pieces(source).raw == {}


@pytest.mark.parametrize("rows", [1, 15_000])
def test_an_xmp_packet_of_nested_captions_is_read_in_one_pass(rows: int) -> None:
    nested = b"<rdf:Description><dc:title>" * rows + b"x" + b"</dc:title></rdf:Description>" * rows
    names = b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    found = xmp_texts(b"<rdf:RDF " + names + b">" + nested + b"</rdf:RDF>")
    assert found == {"dc:title": "x"}


def test_dimensions_of_a_bomb_are_no_trouble() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(5_000_000))) + chunk(b"IEND", b"")
    assert read_metadata(bomb).raw == {}


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF89a", b"II*\0", b"\x1aE\xdf\xa3"])
def test_a_file_of_nothing_or_hardly_anything(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    assert read_metadata(data).raw == {} == read_metadata(tmp_path / "a.png").raw
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.png")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_metadata(tmp_path)
    with pytest.raises(OSError):
        read_image(tmp_path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "a.png")


if sys.platform != "win32":

    @pytest.mark.parametrize("reader", [read_metadata, read_image, decode])
    def test_a_fifo_socket_device_or_loop_is_refused_without_waiting(reader: object, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo.png")
        (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(tmp_path / "s.png"))
            for path in (tmp_path / "fifo.png", tmp_path / "loop.png", tmp_path / "s.png", Path("/dev/zero")):
                with pytest.raises(OSError):
                    reader(path)  # type: ignore[operator]

    def test_no_file_stays_open(tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png({"prompt": "{"}))
        (tmp_path / "b.png").write_bytes(b"")
        os.mkfifo(tmp_path / "c.png")
        before = sorted(os.listdir("/dev/fd"))
        for name in ("a.png", "b.png", "c.png"):
            for reader in (read_metadata, read_image):
                try:
                    reader(tmp_path / name)
                except (OSError, ImageError):
                    pass
        assert sorted(os.listdir("/dev/fd")) == before


def test_a_key_of_endless_length_is_left_out() -> None:
    found = Pieces()
    found.add("k" * 501, b"value", "anywhere")
    assert found == Pieces()
