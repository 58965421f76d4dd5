"""Where image files keep texts, by container: real small files by Pillow, with pieces made by hand where it has none."""

from __future__ import annotations

import io
import json
import struct
import zlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from diffusion_toolkit.embedders.metadata import interpret
from diffusion_toolkit.embedders.metadata.containers import open_source, read_pieces
from diffusion_toolkit.embedders.metadata.containers.xmp import xmp_rating, xmp_texts
from diffusion_toolkit.embedders.metadata.records import Pieces
from host.sampled_graphs import basic, png
from host.small_files import chunk, exif, riff, with_chunks, with_segments

GRAPH = json.dumps(basic())
PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/">'
    b'<rdf:Description photoshop:Headline="a headline"><dc:description><rdf:Alt><rdf:li xml:lang="de">ein Fuchs</rdf:li>'
    b'<rdf:li xml:lang="x-default">a red f\xc3\xb6x</rdf:li></rdf:Alt></dc:description><dc:subject><rdf:Bag><rdf:li>fox'
    b"</rdf:li><rdf:li>snow</rdf:li></rdf:Bag></dc:subject><exif:UserComment>told</exif:UserComment></rdf:Description>"
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
IIM = b"".join(
    b"\x1c\x02" + bytes((number,)) + struct.pack(">H", len(text)) + text
    for number, text in ((5, b"title"), (25, b"fox"), (25, b"snow"), (120, "ein Füchslein".encode("latin-1")))
)
IPTC = {"iptc:title": b"title", "iptc:keywords": b"fox, snow", "iptc:caption": "ein Füchslein".encode()}
RESOURCES = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IIM)) + IIM


def encoded(format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, format, **options)
    return file.getvalue()


def pieces(data: bytes) -> Pieces:
    found = read_pieces(open_source(data))
    assert found.problems == []
    assert found.raw.keys() == found.places.keys()
    return found


# -- PNG -------------------------------------------------------------------------------------------------------------


def test_raw_keeps_the_original_bytes() -> None:
    assert pieces(png({"prompt": GRAPH, "workflow": '{"nodes": [NaN]}'})).raw == {
        "prompt": GRAPH.encode(),
        "workflow": b'{"nodes": [NaN]}',
    }


@pytest.mark.parametrize("packed", [False, True])
def test_png_with_international_text(packed: bool) -> None:
    info = PngInfo()
    info.add_itxt("prompt", "ein Fuchs \u96ea", zip=packed)
    found = pieces(encoded(pnginfo=info))
    assert found.raw == {"prompt": "ein Fuchs \u96ea".encode()} and found.places == {"prompt": "PNG iTXt"}


def test_png_with_compressed_text() -> None:
    info = PngInfo()
    info.add_text("prompt", GRAPH, zip=True)
    assert pieces(encoded(pnginfo=info)).raw == {"prompt": GRAPH.encode()}


def test_png_text_behind_the_pixels() -> None:
    data = encoded()
    assert pieces(data[:-12] + chunk(b"tEXt", b"parameters\0told") + data[-12:]).raw == {"parameters": b"told"}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 20, 100])
def test_png_text_behind_many_chunks_of_pixels(count: int) -> None:
    pixels = [chunk(b"IDAT", bytes((number,)) * 50) for number in range(count)]
    texts = chunk(b"tEXt", b"parameters\0told") + chunk(b"IEND", b"")
    assert pieces(png({})[:33] + b"".join(pixels) + chunk(b"IDAT", b"end") + texts).raw == {"parameters": b"told"}


def test_animated_png_with_comfyui_chunks_after_the_pixels() -> None:
    info = PngInfo()
    info.add(b"comf", b"prompt\0" + GRAPH.encode("latin-1"), after_idat=True)
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "PNG", pnginfo=info, save_all=True, append_images=frames[1:])
    assert pieces(file.getvalue()).raw == {"prompt": GRAPH.encode()}


def test_of_one_keyword_the_first_counts_and_a_keyword_comes_before_the_tag_of_its_name() -> None:
    data = with_chunks(
        png({}), chunk(b"eXIf", exif("<", (0x0131, 2, b"tag\0"))), chunk(b"tEXt", b"Software\0one"),
        chunk(b"tEXt", b"Software\0two"),
    )  # fmt: skip
    assert pieces(data).raw == {"Software": b"one"}


def raw_profile(kind: str, data: bytes) -> bytes:
    lines = "".join(data.hex()[at : at + 72] + "\n" for at in range(0, len(data.hex()), 72))
    return chunk(b"zTXt", f"Raw profile type {kind}\0\0".encode() + zlib.compress(f"\n{kind}\n{len(data):8}\n{lines}".encode()))


@pytest.mark.parametrize(
    ("kind", "data", "wanted"),
    [
        ("exif", b"Exif\0\0" + exif("<", (0x0131, 2, b"a tool\0")), {"Software": b"a tool"}),
        ("APP1", b"Exif\0\0" + exif(">", (0x0131, 2, b"a tool\0")), {"Software": b"a tool"}),
        ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + PACKET, {"xmp": PACKET}),
        ("xmp", PACKET, {"xmp": PACKET}),
        ("iptc", RESOURCES, IPTC),
        ("iptc", IIM, IPTC),
    ],
)
def test_png_with_a_profile_as_imagemagick_writes_it(kind: str, data: bytes, wanted: dict[str, bytes]) -> None:
    assert pieces(with_chunks(png({}), raw_profile(kind, data))).raw == wanted


def test_png_with_xmp() -> None:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", PACKET.decode())
    assert pieces(encoded(pnginfo=info)).raw == {"xmp": PACKET}


def test_png_whose_text_has_no_keyword_says_so() -> None:
    found = read_pieces(open_source(with_chunks(png({"prompt": GRAPH}), chunk(b"tEXt", b"x" * 5000))))
    assert found.raw.keys() == {"prompt"}
    assert "keyword" in found.problems[0]


# -- EXIF ------------------------------------------------------------------------------------------------------------

EXIF_FORMATS = ["PNG", "WEBP", "JPEG", "TIFF"] + (["AVIF"] if features.check("avif") else [])


@pytest.mark.parametrize("format", EXIF_FORMATS)
def test_exif_as_comfyui_writes_it(format: str) -> None:
    tags = Image.Exif()
    tags[0x0110] = "prompt:" + GRAPH
    tags[0x010F] = 'workflow:{"nodes": [NaN]}'
    tags[0x010E] = 'extra: {"a": 1}'
    raw = pieces(encoded(format, exif=tags)).raw
    assert raw == {"prompt": GRAPH.encode(), "workflow": b'{"nodes": [NaN]}', "extra": b'{"a": 1}'}


@pytest.mark.parametrize(("number", "name"), [(0x010E, "Workflow"), (0x010F, "Prompt"), (0x9C9C, "Prompt"), (0xC000, "prompt")])
def test_exif_with_a_name_before_json_in_any_tag_and_capitals(number: int, name: str) -> None:
    data = with_chunks(png({}), chunk(b"eXIf", exif("<", (number, 2, f'{name}: {{"nodes": []}}\0'.encode()))))
    assert pieces(data).raw == {name.lower(): b'{"nodes": []}'}


TEXT = "a red fox, \u96ea"


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        (b"UNICODE\0" + TEXT.encode("utf-16-be"), TEXT),
        (b"UNICODE\0" + TEXT.encode("utf-16-le"), TEXT),
        (b"UNICODE\0" + TEXT.encode("utf-16"), TEXT),
        (b"UNICODE\0" + "\ufeff\u96ea\u306e".encode("utf-16-le"), "\u96ea\u306e"),
        (b"UNICODE\0" + "\ufeff\u96ea\u306e".encode("utf-16-be"), "\u96ea\u306e"),
        (b"UNICODE\0" + TEXT.encode("utf-8"), TEXT),
        (b"ASCII\0\0\0" + TEXT.encode(), TEXT),
        (bytes(8) + TEXT.encode(), TEXT),
        (b"JIS\0\0\0\0\0" + "\u96ea\u306e\u72d0".encode("iso2022_jp"), "\u96ea\u306e\u72d0"),
        (TEXT.encode(), TEXT),
        (b"ASCII\0\0\0caf\xe9", "café"),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_user_comment_in_every_encoding(comment: bytes, text: str, order: str) -> None:
    data = with_chunks(png({}), chunk(b"eXIf", exif(order, details=((0x9286, 7, comment),))))
    found = pieces(data)
    assert found.raw == {"UserComment": text.encode()} and found.places == {"UserComment": "EXIF UserComment"}


@pytest.mark.parametrize(("order", "encoding"), [("<", "utf-16-le"), (">", "utf-16-be")])
def test_user_comment_without_latin_letters_goes_by_the_order_of_the_numbers(order: str, encoding: str) -> None:
    data = exif(order, details=((0x9286, 7, b"UNICODE\0" + "\u96ea\u306e\u72d0".encode(encoding)),))
    assert pieces(with_chunks(png({}), chunk(b"eXIf", data))).raw == {"UserComment": "\u96ea\u306e\u72d0".encode()}


def test_tags_of_the_windows_explorer() -> None:
    tags = tuple((number, 1, (text + "\0").encode("utf-16-le")) for number, text in ((0x9C9C, TEXT), (0x9C9E, "\u96ea;x")))
    raw = pieces(with_chunks(png({}), chunk(b"eXIf", exif("<", *tags)))).raw
    assert raw == {"XPComment": TEXT.encode(), "XPKeywords": "\u96ea;x".encode()}


def test_exif_details_in_the_first_directory_count_too() -> None:
    """As Fooocus writes them."""
    tags = Image.Exif()
    tags[0x9286], tags[0x0131], tags[0x927C] = '{"prompt": "a red fox"}', "Fooocus v2.5", "fooocus"
    raw = pieces(encoded("JPEG", exif=tags)).raw
    assert raw == {"UserComment": b'{"prompt": "a red fox"}', "Software": b"Fooocus v2.5", "MakerNote": b"fooocus"}


def test_a_cameras_maker_note_is_no_text() -> None:
    data = exif("<", (0x010F, 2, b"Canon\0"), details=((0x927C, 7, bytes(range(200))),))
    assert pieces(with_chunks(png({}), chunk(b"eXIf", data))).raw == {"Make": b"Canon"}


@pytest.mark.parametrize(
    ("tags", "details", "date"),
    [
        ([(0x0132, 2, b"2025:03:04 05:06:07\0")], (), datetime(2025, 3, 4, 5, 6, 7)),
        ([(0x0132, 2, b"2025:03:04 05:06:07\0")], ((0x9003, 2, b"2024:01:02 03:04:05\0"),), datetime(2024, 1, 2, 3, 4, 5)),
        (
            [], ((0x9003, 2, b"2024:01:02 03:04:05\0"), (0x9011, 2, b"-03:30\0")),
            datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=-3.5))),
        ),
        ([(0x0132, 2, b"0000:00:00 00:00:00\0")], (), None),
    ],
)  # fmt: skip
def test_date_comes_from_exif(tags: list, details: tuple, date: datetime | None) -> None:
    assert pieces(with_chunks(png({}), chunk(b"eXIf", exif(">", *tags, details=details)))).created == date


# -- the other containers --------------------------------------------------------------------------------------------


def test_jpeg_with_xmp_iptc_and_a_comment() -> None:
    data = with_segments(
        encoded("JPEG"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PACKET), (0xED, b"Photoshop 3.0\0" + RESOURCES),
        (0xFE, "été".encode()),
    )  # fmt: skip
    assert pieces(data).raw == {"xmp": PACKET, **IPTC, "jpeg:comment": "été".encode()}


def test_jpeg_with_exif_larger_than_a_segment() -> None:
    data = exif("<", (0x010E, 2, b"prompt:" + json.dumps(["x" * 150_000]).encode() + b"\0"))
    parts = [(0xE1, b"Exif\0\0" + data[at : at + 65000]) for at in range(0, len(data), 65000)]
    assert len(pieces(with_segments(encoded("JPEG"), *parts)).raw["prompt"]) == 150_004


def test_jpeg_with_extended_xmp() -> None:
    guid = b"A" * 32
    packet = PACKET.replace(b"<rdf:Description ", b'<rdf:Description note="' + guid + b'" ')
    longer = PACKET.replace(b"dc:subject", b"dc:title")
    header = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">I", len(longer))
    parts = [(0xE1, header + struct.pack(">I", at) + longer[at : at + 300]) for at in (300, 0, 600)]
    parts = [*parts, (0xE1, header + struct.pack(">I", 900) + longer[900:])]
    found = pieces(with_segments(encoded("JPEG"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet), *parts)).raw["xmp"]
    assert found.startswith(packet) and found.endswith(longer)
    assert xmp_texts(found)["dc:title"] == "fox, snow" and xmp_texts(found)["dc:subject"] == "fox, snow"


def test_pictures_of_a_camera_with_two_images() -> None:
    tags = Image.Exif()
    tags[0x010E] = "a red fox"
    file = io.BytesIO()
    pictures = [Image.new("RGB", (4, 4)) for _ in range(2)]
    pictures[0].save(file, "MPO", save_all=True, append_images=pictures[1:], exif=tags)
    assert pieces(file.getvalue()).raw == {"ImageDescription": b"a red fox"}


def test_webp_with_xmp() -> None:
    assert pieces(encoded("WEBP", xmp=PACKET)).raw == {"xmp": PACKET}


def test_webp_with_exif_headed_as_in_jpeg() -> None:
    data = riff(encoded("WEBP"), (b"EXIF", b"Exif\0\0" + exif("<", (0x0131, 2, b"a tool\0"))))
    assert pieces(data).raw == {"Software": b"a tool"}


def test_webp_animation_that_announces_no_texts_is_not_searched_for_any() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green")]
    data = encoded("WEBP", save_all=True, append_images=frames)
    assert data[12:16] == b"VP8X" and data[20] & 0x02
    late = (b"EXIF", exif("<", (0x0131, 2, b"a tool\0")))
    assert pieces(riff(data, late)).raw == {}
    assert pieces(riff(data[:20] + bytes([data[20] | 0x08]) + data[21:], late)).raw == {"Software": b"a tool"}


def test_webp_with_exif_behind_a_chunk_of_odd_size() -> None:
    data = riff(encoded("WEBP"), (b"ABCD", b"odd"), (b"EXIF", exif("<", (0x0131, 2, b"a tool\0"))))
    assert pieces(data).raw == {"Software": b"a tool"}


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow knows no AVIF")
def test_avif_with_xmp_and_exif() -> None:
    tags = Image.Exif()
    tags[0x010E] = "a red fox"
    data = encoded("AVIF", xmp=PACKET, exif=tags)
    for brand in (data[8:12], b"isom"):  # a general one, with AVIF's among those that it is compatible with
        assert pieces(data[:8] + brand + data[12:]).raw == {"ImageDescription": b"a red fox", "xmp": PACKET}


def test_gif_with_a_comment_before_and_behind_the_pixels() -> None:
    data = encoded("GIF", comment="a red fox".encode() * 40)
    assert pieces(data).raw == {"gif:comment": b"a red fox" * 40}
    plain = encoded("GIF")
    assert pieces(plain[:-1] + b"\x21\xfe\x03fox\0;").raw == {"gif:comment": b"fox"}


def test_gif_with_xmp() -> None:
    plain = encoded("GIF")
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    assert pieces(plain[:-1] + b"\x21\xff\x0bXMP DataXMP" + PACKET + trailer + b";").raw == {"xmp": PACKET}


@pytest.mark.parametrize("order", "<>")
def test_tiff_with_a_description_xmp_and_iptc(order: str) -> None:
    data = exif(order, (0x010E, 2, b"a red fox\0"), (700, 1, PACKET), (33723, 7, IIM))
    assert pieces(data).raw == {"ImageDescription": b"a red fox", "xmp": PACKET, **IPTC}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_file_is_known_by_its_content(format: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(encoded(format, comment=b"told") if format in ("GIF", "JPEG") else encoded(format))
    with open_source(path) as source:
        assert read_pieces(source) == read_pieces(open_source(path.read_bytes()))


def test_a_photograph_without_metadata_says_nothing() -> None:
    assert pieces(encoded("JPEG")) == Pieces() == pieces(encoded("WEBP"))
    assert pieces(png({})) == Pieces(size=(4, 4))


def test_a_path_is_read_like_its_content(tmp_path: Path) -> None:
    data = png({"prompt": GRAPH, "long": "x" * 200_000, "workflow": "{}"})
    (tmp_path / "a.png").write_bytes(data)
    with open_source(tmp_path / "a.png") as source:
        assert read_pieces(source) == pieces(data)


# -- XMP -------------------------------------------------------------------------------------------------------------


def test_captions_of_an_xmp_packet() -> None:
    assert xmp_texts(PACKET) == {
        "dc:description": "a red föx",
        "dc:subject": "fox, snow",
        "photoshop:Headline": "a headline",
        "exif:UserComment": "told",
    }


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"<",
        PACKET[:200],
        b"\xff\xfe<",
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>' + PACKET,
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + PACKET,
        b"<a>" * 200_000,
        b"<?xml version='1.0' encoding='nonsense'?>" + PACKET,
    ],
)
def test_an_xmp_packet_that_is_none_says_nothing(packet: bytes) -> None:
    assert xmp_texts(packet) == {}


@pytest.mark.parametrize(
    ("rating", "expected"),
    [(b'xmp:Rating="4"', 4), (b'xmp:Rating="-1"', -1), (b'xmp:Rating="5.0"', 5), (b'xmp:Rating="0"', None), (b'xmp:Rating="9"', None), (b'xmp:Rating="x"', None), (b"", None)],
)  # fmt: skip
def test_the_rating_of_an_xmp_packet(rating: bytes, expected: int | None) -> None:
    packet = (
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" ' + rating + b"/></rdf:RDF>"
    )
    assert xmp_rating(packet) == expected and interpret(Pieces({"xmp": packet})).rating == expected
