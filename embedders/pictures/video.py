"""The one frame by which a video is indexed, and the pixels of an OpenEXR image, both decoded by FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..metadata.containers import Source
from ..metadata.containers.pixels import MAX_PIXELS
from ..metadata.containers.video import NoFFmpeg, ffmpeg_errors, open_video

if TYPE_CHECKING:
    from av import VideoFrame

_MAX_DECODED = 400_000_000  # pixels of all frames that are decoded on the way to the middle


class VideoError(ValueError):
    """A file without a frame that can be decoded; the message is the reason."""


def middle_frame(source: Source, container: str) -> np.ndarray:
    """uint8 [height, width, 3]: the frame that is seen at the middle of the video's time, turned upright.

    It is reached from the key frame before it. Where that is too far, the last frame that was reached serves; where
    nothing can be sought or is damaged, the first frame that can be decoded. The same file gives the same frame.
    """
    try:
        frame = _frame(source, container, seek=True) or _frame(source, container, seek=False)
        if frame is None:
            raise VideoError("the video holds no frame that can be decoded")
        pixels = frame.to_ndarray(format="rgb24")
        turns = round(frame.rotation / 90) % 4  # counter-clockwise
    except VideoError:
        raise
    except NoFFmpeg as error:
        raise VideoError(str(error)) from error
    except ffmpeg_errors() as error:
        raise VideoError(f"the video is damaged ({_reason(error)})") from error
    return np.ascontiguousarray(np.rot90(pixels, turns))


def _frame(source: Source, container: str, seek: bool) -> VideoFrame | None:
    with open_video(source, container) as opened:
        if not opened.streams.video:
            raise VideoError("the file holds sound but no picture" if opened.streams.audio else "the video has no picture")
        stream = opened.streams.video[0]
        size = stream.width * stream.height
        if size > MAX_PIXELS:
            raise VideoError(f"{stream.width} x {stream.height} pixels are too many to decode safely")
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        stream.thread_type = "AUTO"
        target = None
        if stream.duration:
            target = (stream.start_time or 0) + stream.duration // 2
        elif opened.duration and stream.time_base:
            target = int((opened.start_time or 0) / 1e6 / stream.time_base + opened.duration / 2e6 / stream.time_base)
        if not seek or target is None:
            return next(_decoded(opened.decode(stream)), None)
        found, decoded = None, 0
        try:
            opened.seek(target, stream=stream)
        except ffmpeg_errors():
            return None
        for frame in _decoded(opened.decode(stream)):
            decoded += frame.width * frame.height  # which may be more than the container says
            behind = frame.pts is None or frame.pts > target
            found = frame if found is None or not behind else found
            if behind or frame.pts == target or decoded + size > _MAX_DECODED:
                break
        return found


def _decoded(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Up to where the file is damaged."""
    try:
        yield from frames
    except ffmpeg_errors():
        return


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def exr_pixels(data: bytes) -> np.ndarray:
    """uint8 [height, width, 3] of an OpenEXR image: linear light as sRGB, clipped; alpha dropped. VideoError if none."""
    try:
        import av
    except ImportError as error:
        raise VideoError(f"OpenEXR is read through PyAV, which is not there ({error}); run: pip install av") from error
    try:
        codec = av.CodecContext.create("exr", "r")
        codec.options = {"max_pixels": str(MAX_PIXELS)}
        frames = [*codec.decode(av.Packet(data)), *codec.decode(None)]
        if not frames:
            raise VideoError("the image can't be decoded")
        grey = frames[0].format.name.startswith("gray")
        linear = frames[0].reformat(format="grayf32le" if grey else "gbrpf32le").to_ndarray()  # [H, W] or [H, W, 3]
    except VideoError:
        raise
    except ffmpeg_errors() as error:
        raise VideoError(f"the image is damaged ({_reason(error)})") from error
    linear = np.clip(np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    low = linear <= 0.0031308  # IEC 61966-2-1
    shown = np.where(low, linear * 12.92, 1.055 * np.power(np.maximum(linear, 0.0031308), 1 / 2.4) - 0.055)
    pixels = np.rint(shown * 255).astype(np.uint8)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else np.ascontiguousarray(pixels)
