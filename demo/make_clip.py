"""A clip with a known source: photographs on a wall, a camera moving along it, a codec at a low bit rate, a tone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

__all__ = ["DemoClip", "make_clip"]

FPS = 30
AUDIO_RATE = 48_000
STUDIO_RANGE = 1
CRF = "36"
"""x264's constant rate factor: what a stingy streaming service would send."""


@dataclass(frozen=True, kw_only=True)
class DemoClip:
    """The same frames twice."""

    source: Path
    """Without loss: FFV1 in Matroska, 8-bit 4:2:0, BT.601."""
    coded: Path
    """H.264 at a low bit rate in MP4, with a tone in AAC."""
    kbps: float
    """Bit rate of the coded file, sound included."""


def make_clip(folder: Path, *, width: int = 720, height: int = 480, seconds: float = 4) -> DemoClip:
    """Write the two files into `folder`, which exists.

    Args:
        folder: where `source.mkv` and `coded.mp4` are put; older ones are replaced.
        width: of the frames, even.
        height: of the frames, even.
        seconds: length.
    """
    source_path, coded_path = folder / "source.mkv", folder / "coded.mp4"
    count = round(seconds * FPS)
    with av.open(str(source_path), "w") as source, av.open(str(coded_path), "w") as coded:
        lossless = _add_video(source, "ffv1", {}, width, height)
        lossy = _add_video(coded, "libx264", {"crf": CRF, "preset": "medium"}, width, height)
        audio = coded.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        for picture in _camera_move(_wall(height + 20), count, width, height):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG"
            )
            source.mux(lossless.encode(frame))
            coded.mux(lossy.encode(frame))
        for frame in _tone(seconds):
            coded.mux(audio.encode(frame))
        source.mux(lossless.encode(None))
        coded.mux(lossy.encode(None))
        coded.mux(audio.encode(None))
    return DemoClip(source=source_path, coded=coded_path, kbps=coded_path.stat().st_size * 8 / 1000 / seconds)


def _wall(height: int) -> NDArray[np.uint8]:
    """Photographs side by side on a dark wall, each at its own resolution: R'G'B' uint8 [height, W, 3]."""
    files = Path(skimage.data.__file__).parent
    motorcycle = cv2.cvtColor(cv2.imread(str(files / "motorcycle_left.png")), cv2.COLOR_BGR2RGB)
    gap = np.full((height, 14, 3), 24, np.uint8)
    parts = [_cropped(picture, height) for picture in (motorcycle, skimage.data.astronaut(), skimage.data.coffee())]
    return np.hstack([part for picture in parts for part in (picture, gap)][:-1])


def _cropped(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """The middle of a picture, enlarged first where it is lower than `height`."""
    if picture.shape[0] < height:
        size = (round(picture.shape[1] * height / picture.shape[0]), height)
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    top = (picture.shape[0] - height) // 2
    return picture[top : top + height]


def _camera_move(wall: NDArray[np.uint8], count: int, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """A pan that starts and ends gently, with a slow zoom and a little sway: motion by fractions of a sample."""
    travel = wall.shape[1] * 0.42
    for number in range(count):
        t = number / max(count - 1, 1)
        scale = 1.0 - 0.04 * np.sin(np.pi * t)  # source samples for one sample of the frame
        x = 6 + travel * (0.5 - 0.5 * np.cos(np.pi * t))
        y = (wall.shape[0] - height * scale) / 2 + 5 * np.sin(2 * np.pi * t)
        matrix = np.array([[scale, 0, x], [0, scale, y]], np.float64)
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        yield np.asarray(cv2.warpAffine(wall, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT))


def _add_video(
    container: av.container.OutputContainer, codec: str, options: dict[str, str], width: int, height: int
) -> av.VideoStream:
    stream = container.add_stream(codec, rate=FPS, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    # Codes of H.273, written so that players need not guess: BT.601's primaries and matrix (5), its transfer (6).
    context = stream.codec_context
    context.color_primaries, context.colorspace, context.color_trc, context.color_range = 5, 5, 6, STUDIO_RANGE
    return stream


def _tone(seconds: float) -> Iterator[av.AudioFrame]:
    """A chord that fades in and out."""
    t = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    chord = sum(np.sin(2 * np.pi * pitch * t) for pitch in (220.0, 277.2, 329.6))
    samples = (0.08 * chord * np.sin(np.pi * t / seconds)).astype(np.float32)
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
        yield frame
