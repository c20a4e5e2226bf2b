"""Frames to judge an engine on: what a codec made of them, and what they were before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.export.pictures import drawn_scene, read_frames
from postfilter.quality import RoundTrip, jpeg_round_trip, luma_of
from postfilter.quality.codec import Codec, planes_of
from postfilter.runtime.neighbours import NEIGHBOURS, in_threes, neighbours_of

if TYPE_CHECKING:
    from postfilter.models import Layout

__all__ = ["Pair", "coded_pairs", "drawn_pairs", "fine_pairs"]

Samples: TypeAlias = NDArray[np.uint8]

_SIZE = (416, 240)
_SCENES = (11, 12, 13)
"""Seeds of the scenes; none of these is verified or calibrated on."""
_JPEG_QUALITIES = (10, 20)
_QPS = (37, 42)
_FINE_QPS = (22,)
"""Where there is little left to gain, and a filter that is told so should leave the picture alone."""
_FRAMES, _KEPT, _PAN = 5, 2, 3
"""Frames coded of each moving scene; how many of them count, the last ones, predicted from others; samples moved."""


@dataclass(frozen=True)
class Pair:
    """A frame as decoded, and as it was before it was coded; both uint8 [1, C, H, W]."""

    decoded: Samples
    source: Samples
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """What is known of it, for models that read it, as `Engine.__call__` takes it."""


def drawn_pairs(
    layout: Layout, *, seeds: Sequence[int] = _SCENES, inputs: tuple[str, ...] = (), qps: Sequence[int] = _QPS
) -> list[Pair]:
    """Return drawn scenes: for RGB coded as JPEG at quality 10 and 20, for luma by x264 and x265 at QP 37 and 42.

    Nothing is read from disk or network, and the same frames come every time. Filters gain on them about what they gain
    on camera footage at these settings.

    Args:
        layout: of the model.
        seeds: of other scenes than those that are judged on, for other uses.
        inputs: what the model reads besides. Neighbours come with all frames; of planes every other frame is told,
            where they are known: the others are for a model that runs blind.
        qps: that luma is coded at.
    """
    if layout == "rgb":
        scenes = [drawn_scene(*_SIZE, seed=seed) for seed in seeds]
        return [_jpeg_pair(scene, quality) for scene in scenes for quality in _JPEG_QUALITIES]
    pairs: list[Pair] = []
    for seed in seeds:
        clip = _pan(seed)
        for codec in get_args(Codec):
            pairs += [pair for qp in qps for pair in _coded(clip, codec, qp, inputs)[-_KEPT:]]
    return _told(pairs, inputs)


def coded_pairs(
    paths: Sequence[Path], layout: Layout, *, inputs: tuple[str, ...] = (), qps: Sequence[int] = _QPS
) -> list[Pair]:
    """Return the first frames of the user's own sources, coded as `drawn_pairs` codes its own.

    Args:
        paths: clips or pictures of good quality, in any format that FFmpeg decodes.
        layout: of the model.
        inputs: as `drawn_pairs` has them.
        qps: as above.

    Raises:
        InputError: a file is absent or cannot be decoded.
    """
    pairs = []
    for path in paths:
        frames = read_frames(path, layout)
        if layout == "rgb":
            pictures = [np.ascontiguousarray(frame[0].transpose(1, 2, 0)) for frame in frames[:_KEPT]]
            pairs += [_jpeg_pair(picture, quality) for picture in pictures for quality in _JPEG_QUALITIES]
        else:
            height, width = (side // 2 * 2 for side in frames[0].shape[2:])
            clip = [np.ascontiguousarray(frame[0, 0, :height, :width]) for frame in frames]
            pairs += [pair for qp in qps for pair in _coded(clip, "hevc", qp, inputs)]
    if not pairs:
        raise InputError("there are no frames to judge with; give clips or pictures of good quality")
    return _told(pairs, inputs)


def fine_pairs(paths: Sequence[Path], layout: Layout, *, inputs: tuple[str, ...]) -> list[Pair]:
    """Return frames coded at QP 22, to see that a precision does no harm there.

    None for models that do not read the QP: these filter all frames alike, which loses at low QP in any precision.

    Args:
        paths: as `coded_pairs` has them; drawn scenes where there are none.
        layout: of the model.
        inputs: what it reads besides.
    """
    if "qp" not in inputs or layout != "luma":
        return []
    if paths:
        return coded_pairs(paths, layout, inputs=inputs, qps=_FINE_QPS)
    return drawn_pairs(layout, inputs=inputs, qps=_FINE_QPS)


def _told(pairs: list[Pair], inputs: tuple[str, ...]) -> list[Pair]:
    """Leave to every other pair what a model reads, and to the others the neighbours alone."""
    read = (set(inputs), set(inputs) & set(NEIGHBOURS))
    return [
        dataclasses.replace(pair, inputs={k: v for k, v in pair.inputs.items() if k in read[index % 2]})
        for index, pair in enumerate(pairs)
    ]


def _jpeg_pair(picture: Samples, quality: int) -> Pair:
    decoded, source = (each.transpose(2, 0, 1)[None] for each in (jpeg_round_trip(picture, quality=quality), picture))
    return Pair(np.ascontiguousarray(decoded), np.ascontiguousarray(source))


def _coded(clip: list[Samples], codec: Codec, qp: int, inputs: tuple[str, ...]) -> list[Pair]:
    """A clip of luma planes [H, W] through a codec, with what can be known of its frames."""
    temporal = bool(set(inputs) & set(NEIGHBOURS))
    frames = RoundTrip(codec=codec, qp=qp)(clip)
    shown = zip(clip, (np.ascontiguousarray(planes_of(frame)[0])[None, None] for frame in frames), strict=True)
    return [
        Pair(decoded, source[None, None], {"qp": qp} | (neighbours_of(decoded, *around) if temporal else {}))
        for source, decoded, *around in in_threes(shown)
    ]


def _pan(seed: int) -> list[Samples]:
    """A few luma frames of a camera that moves over a scene."""
    width, height = _SIZE
    scene = luma_of(drawn_scene(width + _PAN * _FRAMES, height, seed=seed))
    return [np.ascontiguousarray(scene[:, _PAN * k : _PAN * k + width]) for k in range(_FRAMES)]
