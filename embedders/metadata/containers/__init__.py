"""Where image files keep texts: one module for each way.

The keys of `Pieces.raw`, whose values are the bytes as the file has them, unpacked, or UTF-8 where the file's
encoding is known (EXIF, IPTC, side-cars). A key is there only when its value is not blank.

| key | what it is |
|---|---|
| `prompt`, `workflow`, any other name | by the name its writer gave: a PNG keyword as it is (`parameters`, `Comment`, `Description`, `Title`, `Software`, `Source`, `sd-metadata`, ...), ComfyUI's `comf` chunk, an EXR header attribute, a video's tag lower-cased (`comment`, `title`, ...); `name:{...}` in any EXIF or TIFF tag, lower-cased, without the `name:`. A PNG "Raw profile type" text or an `XML:com.adobe.xmp` one is unpacked to the keys below. A video's `comment` that is a JSON object (VideoHelperSuite) becomes one piece for each of its keys: strings as they are, the rest as JSON |
| `UserComment`, `ImageDescription`, `MakerNote`, `Software`, `Artist`, `Make`, `Model`, `Copyright`, `DocumentName`, `HostComputer`, `XPTitle`, `XPComment`, `XPAuthor`, `XPKeywords`, `XPSubject` | the EXIF or TIFF tag of that name (also from a PNG's eXIf), decoded to UTF-8. AUTOMATIC1111's parameters in a JPEG, WebP or AVIF are `UserComment` here, never `parameters`; so is Fooocus's, SwarmUI's and Easy Diffusion's JSON. A PNG keyword of the same name comes first |
| `xmp` | the XMP packet, whole, an extended one put behind it; `xmp.xmp_texts(packet)` gives its captions |
| `iptc:caption`, `iptc:headline`, `iptc:title`, `iptc:keywords`, `iptc:instructions`, `iptc:byline`, `iptc:source` | IPTC-IIM; keywords joined with ", " |
| `jpeg:comment`, `gif:comment` | the comment that is no PNG's `Comment` |
| `sidecar.txt`, `sidecar.caption`, `sidecar.json` | the file of that suffix beside the image, only when its path is known |
| `stealth` | text hidden in the pixels' low bits: AUTOMATIC1111's parameters, or NovelAI's JSON object of `Description`, `Comment`, ...; `places` says "stealth alpha" or "stealth RGB" |
"""

from __future__ import annotations

from pathlib import Path

from ..records import Pieces
from .exif import open_image, read_exif
from .png import SIGNATURE, png_pieces

__all__ = ["open_image", "read_pieces"]


def read_pieces(source: bytes | Path) -> Pieces:
    """Every text that the file carries. No pixel is decoded. Only reading a path may raise (OSError)."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    pieces = Pieces()
    exif = None
    if data.startswith(SIGNATURE):
        for key, value in png_pieces(data, pieces.problems):
            if key == "eXIf":
                exif = value
            else:
                pieces.add(key, value, "PNG text")
    read_exif(data, exif, pieces)
    return pieces
