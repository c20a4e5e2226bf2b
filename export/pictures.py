"""Decoded frames to verify an engine on: drawn here and coded by real encoders, or a user's own clip or picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError

if TYPE_CHECKING:
    import av

    from postfilter.models import Layout

__all__ = ["FRAMES_READ", "drawn_frames", "drawn_scene", "planes_of_frame", "read_frames"]

Samples: TypeAlias = NDArray[np.uint8]

FRAMES_READ = 8
"""Frames taken from a user's clip."""

_JPEG_SIZES = ((320, 240, 10), (353, 287, 30))
"""(width, height, quality) where any size will do; one of them odd both ways."""
_VIDEO_SIZE = (416, 240)
_VIDEO_FRAMES, _VIDEO_QP = 3, 37
_SMALLEST = 64
"""Encoders refuse the smallest sizes; smaller frames are cut out of one of this size."""

_BT709, _UNSPECIFIED = 1, 2
"""Matrix coefficients of ITU-T H.273."""


def drawn_frames(layout: Layout, *, size: tuple[int, int] | None = None) -> list[Samples]:
    """Return frames with textures, edges, text and flat black and white, as JPEG and H.264 decoders show them.

    Nothing is read from disk or network, and the same frames come every time.

    Args:
        layout: `luma` gives the Y plane, `rgb` full-range R'G'B'.
        size: (width, height) of all of them; several sizes, odd ones too, where None.

    Returns:
        Arrays uint8 [1, C, H, W].
    """
    from postfilter.quality import jpeg_round_trip

    stills = [(*size, quality) for _, _, quality in _JPEG_SIZES] if size else list(_JPEG_SIZES)
    frames = [
        _as_planes(jpeg_round_trip(drawn_scene(*_drawable(width, height), seed=k), quality=quality), layout)[
            ..., :height, :width
        ]
        for k, (width, height, quality) in enumerate(stills)
    ]
    width, height = size or _VIDEO_SIZE
    for frame in _h264(*_drawable(width, height), seed=len(stills)):
        frames.append(planes_of_frame(frame, layout)[..., :height, :width])
    return [np.ascontiguousarray(frame) for frame in frames]


def read_frames(path: Path, layout: Layout, *, size: tuple[int, int] | None = None) -> list[Samples]:
    """Return the first frames of a clip, or the one of a picture.

    Args:
        path: anything that FFmpeg decodes.
        layout: as in `drawn_frames`.
        size: (width, height) to cut out at the top left; smaller frames are continued with their last row and column.

    Returns:
        At most `FRAMES_READ` arrays uint8 [1, C, H, W].

    Raises:
        InputError: the file is absent, or no frame of it can be decoded.
    """
    import av

    from postfilter.runtime.padding import pad_to

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video to verify with; give a clip or a picture")
            frames = [planes_of_frame(frame, layout) for frame in islice(container.decode(video=0), FRAMES_READ)]
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"cannot decode {path} ({error}); give a clip or a picture to verify with") from error
    if not frames:
        raise InputError(f"{path} holds no frame to verify with; give another clip or picture")
    if size is None:
        return frames
    width, height = size
    cut = [frame[..., :height, :width] for frame in frames]
    return [pad_to(frame, width=width, height=height).astype(np.uint8, copy=False) for frame in cut]


def planes_of_frame(frame: av.VideoFrame, layout: Layout) -> Samples:
    """Return a decoded frame's samples as a model of this layout takes them, 8-bit, in memory of their own.

    Luma is the frame's own Y plane, whatever its range; more than 8 bits are rounded to 8, and a picture in R'G'B' gets
    the luma of BT.601. R'G'B' is made with the frame's own matrix and range; where no matrix is told, BT.709 is taken
    for high definition (over 576 lines or at least 1280 samples wide) and BT.601 below, as players do.

    Returns:
        uint8 [1, C, H, W].
    """
    kind = frame.format
    if layout == "rgb":
        high = frame.height > 576 or frame.width >= 1280
        if high and not kind.is_rgb and frame.colorspace == _UNSPECIFIED:
            frame.colorspace = _BT709
        return np.ascontiguousarray(frame.to_ndarray(format="rgb24").transpose(2, 0, 1)[None])
    has_luma = (kind.is_planar or kind.name == "gray") and not kind.is_rgb and kind.components[0].bits == 8
    plane: Any = (frame if has_luma else frame.reformat(format="yuv420p")).planes[0]
    lines = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
    return lines[None, None, :, : plane.width].copy()


def _drawable(width: int, height: int) -> tuple[int, int]:
    """The next even size that every encoder takes."""
    return max(width + width % 2, _SMALLEST), max(height + height % 2, _SMALLEST)


def drawn_scene(width: int, height: int, *, seed: int) -> Samples:
    """Draw R'G'B' [H, W, 3]: natural textures (power falls with frequency), shapes, lines, text, black and white.

    Args:
        width: in samples, as `height`.
        height: see `width`.
        seed: another number, another scene.
    """
    import cv2

    rng = np.random.default_rng(seed)
    fine = np.stack([_texture(width, height, rng, fall=1.0) for _ in range(3)], axis=-1)
    smooth = np.stack([_texture(width, height, rng, fall=2.0) for _ in range(3)], axis=-1)
    picture = np.clip(128 + 60 * smooth + 18 * fine, 0, 255).astype(np.uint8)
    unit = min(width, height)
    for _ in range(12):
        colour = rng.integers(0, 256, 3).tolist()
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        if rng.random() < 0.5:
            cv2.circle(picture, centre, int(unit * rng.uniform(0.03, 0.15)), colour, -1, cv2.LINE_AA)
        else:
            corners = (np.array(centre) + rng.normal(0, unit / 8, (4, 2))).astype(np.int32)
            cv2.fillPoly(picture, [cv2.convexHull(corners)], colour, cv2.LINE_AA)
    for k in range(8):
        cv2.line(picture, (0, k * height // 8), (width, (k * 3 % 8) * height // 8), (20, 30, 40), 1, cv2.LINE_AA)
    bar = max(height // 10, 8)
    picture[:bar, : width // 2] = 255
    picture[:bar, width // 2 :] = 0
    for line in range(3):
        ink = (255, 255, 255) if line % 2 else (0, 0, 0)
        at = (4, bar + (line + 1) * height // 5)
        cv2.putText(picture, "Restored 0123 quick fox", at, cv2.FONT_HERSHEY_SIMPLEX, unit / 400, ink, 1, cv2.LINE_AA)
    return picture


def _texture(width: int, height: int, rng: np.random.Generator, *, fall: float) -> NDArray[np.float64]:
    """Noise of mean 0 and deviation 1 whose amplitude falls as frequency to the power of -`fall`."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency**fall
    noise = np.fft.irfft2(spectrum, s=(height, width))
    return noise / noise.std()


def _h264(width: int, height: int, *, seed: int) -> Sequence[av.VideoFrame]:
    """A pan over a scene, coded by x264 and decoded; the last frames, which are predicted from others."""
    import av

    from postfilter.quality import RoundTrip

    scene = drawn_scene(width + 4 * _VIDEO_FRAMES, height, seed=seed)
    source = (
        av.VideoFrame.from_ndarray(np.ascontiguousarray(scene[:, 3 * k : 3 * k + width]), format="rgb24").reformat(
            format="yuv420p"
        )
        for k in range(_VIDEO_FRAMES)
    )
    return list(RoundTrip(codec="h264", qp=_VIDEO_QP)(source))[1:]


def _as_planes(picture: Samples, layout: Layout) -> Samples:
    from postfilter.quality import luma_of

    return luma_of(picture)[None, None] if layout == "luma" else picture.transpose(2, 0, 1)[None]
