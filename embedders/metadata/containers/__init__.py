"""Where image files keep texts: one module for each way.

The keys of `Pieces.raw`, whose values are the bytes as the file has them, unpacked, or UTF-8 where the file's
encoding is known (EXIF, IPTC, side-cars). A blank value is kept only under a PNG keyword.

| key | what it is |
|---|---|
| `prompt`, `workflow`, any other name | by the name its writer gave: a PNG keyword as it is (`parameters`, `Comment`, `Description`, `Title`, `Software`, `Source`, `sd-metadata`, ...), ComfyUI's `comf` chunk, an EXR header attribute, a video's tag lower-cased (`comment`, `title`, ...); `name:{...}` in any EXIF or TIFF tag, lower-cased, without the `name:`. A PNG "Raw profile type" text or an `XML:com.adobe.xmp` one is unpacked to the keys below. A video's `comment` that is a JSON object (VideoHelperSuite) becomes one piece for each of its keys: strings as they are, the rest as JSON |
| `UserComment`, `ImageDescription`, `MakerNote`, `Software`, `Artist`, `Make`, `Model`, `Copyright`, `DocumentName`, `HostComputer`, `XPTitle`, `XPComment`, `XPAuthor`, `XPKeywords`, `XPSubject` | the EXIF or TIFF tag of that name (also from a PNG's eXIf), decoded to UTF-8. AUTOMATIC1111's parameters in a JPEG, WebP or AVIF are `UserComment` here, never `parameters`; so is Fooocus's, SwarmUI's and Easy Diffusion's JSON. A PNG keyword of the same name comes first |
| `xmp` | the XMP packet, whole, an extended one put behind it and a NUL; `xmp.xmp_texts(packet)` gives its captions |
| `iptc:caption`, `iptc:headline`, `iptc:title`, `iptc:keywords`, `iptc:instructions`, `iptc:byline`, `iptc:source` | IPTC-IIM; keywords joined with ", " |
| `jpeg:comment`, `gif:comment` | the comment that is no PNG's `Comment` |
| `sidecar.txt`, `sidecar.caption`, `sidecar.json` | the file of that suffix beside the image, only when its path is known |
| `stealth` | text hidden in the pixels' low bits: AUTOMATIC1111's parameters, or NovelAI's JSON object of `Description`, `Comment`, ...; `places` says "stealth alpha" or "stealth RGB" |
"""

from __future__ import annotations

from pathlib import Path

from ..records import Pieces
from .avif import is_avif, read_avif
from .exif import read_exif
from .exr import SIGNATURE as EXR
from .exr import read_exr
from .gif import SIGNATURES as GIF
from .gif import read_gif
from .jpeg import SIGNATURE as JPEG
from .jpeg import read_jpeg
from .png import SIGNATURE as PNG
from .png import read_png
from .sidecar import read_sidecars
from .source import FileSource, NotRegular, Source
from .video import read_video, video_format
from .webp import is_webp, read_webp

__all__ = ["FileSource", "NotRegular", "Source", "ffmpeg_format", "open_source", "read_pieces"]

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_source(source: bytes | Path) -> Source:
    """To be closed by the caller. OSError, as for NotRegular, when a path can't be read."""
    return Source(source) if isinstance(source, bytes) else FileSource(source)


def ffmpeg_format(head: bytes) -> str | None:
    """`exr`, or FFmpeg's name of a video's container, of a file that begins so; None for what Pillow decodes."""
    if head.startswith(EXR):
        return "exr"
    return None if is_avif(head) else video_format(head)


def read_pieces(source: Source, path: Path | None = None) -> Pieces:
    """Every text that the file carries, and those beside it where `path` says where it lies. No pixel is decoded.

    What a file is, its content says, not its name. Only reading may raise (OSError).
    """
    pieces = Pieces()
    head = source.read(0, 64)
    if head.startswith(PNG):
        read_png(source, pieces)
    elif head.startswith(JPEG):
        read_jpeg(source, pieces)
    elif is_webp(head):
        read_webp(source, pieces)
    elif head.startswith(GIF):
        read_gif(source, pieces)
    elif head.startswith(_TIFF):
        read_exif(source, 0, source.size, pieces, "TIFF")
    elif head.startswith(EXR):
        read_exr(source, pieces)
    elif is_avif(head):
        read_avif(source, pieces)
    elif (container := video_format(head)) is not None:
        read_video(source, container, pieces)
    if path is not None:
        read_sidecars(path, pieces)
    return pieces
