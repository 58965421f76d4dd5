"""Which PNGs may go to a decoder that knows nothing but pixels."""

from __future__ import annotations

import io

import pytest
from diffusion_toolkit.embedders.metadata.containers import Source
from diffusion_toolkit.embedders.pictures.plain_png import plain_png
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def encoded(mode: str = "RGB", texts: dict[str, str] = {}, **options: object) -> bytes:
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text) if key.startswith("XML") else info.add_text(key, text)
    file = io.BytesIO()
    Image.new(mode, (5, 3)).save(file, "PNG", pnginfo=info, **options)
    return file.getvalue()


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("RGBA", 4)])
def test_what_generators_write_is_plain(mode: str, channels: int) -> None:
    data = encoded(mode, {"prompt": "{}", "parameters": "a shark"}, dpi=(72, 72))
    assert plain_png(Source(data)) == (5, 3, channels)


ROTATED = Image.Exif()
ROTATED[0x0112] = 6


@pytest.mark.parametrize(
    "data",
    [
        *(encoded(mode) for mode in ("L", "P", "1", "LA", "I;16")),
        encoded(exif=ROTATED),
        encoded(texts={"Raw profile type exif": "\nexif\n0\n"}),
        encoded(texts={"XML:com.adobe.xmp": "<x tiff:Orientation='6'/>"}),
        encoded(save_all=True, append_images=[Image.new("RGB", (5, 3), "red")]),
        encoded()[:-12],
        encoded()[:30],
        b"\xff\xd8\xff" + bytes(100),
        encoded()[:28] + b"\1" + encoded()[29:],  # Adam7
    ],
    ids=["L", "P", "1", "LA", "I;16", "exif", "exif in a text", "xmp", "animated", "cut", "cut early", "jpeg", "interlaced"],
)
def test_others_are_not(data: bytes) -> None:
    assert plain_png(Source(data)) is None
