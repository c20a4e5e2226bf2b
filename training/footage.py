"""Clean moving pictures to train on: what a camera might have taken of a still, and stretches of real clips.

Each tells what it is in words that decide its frames, so that coded shots of it can be kept on disk under a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from postfilter.errors import InputError
from postfilter.quality.codec import planes_of
from postfilter.training.camera import drift, faded, grainy, lettered, sharpened
from postfilter.training.pool import Samples
from postfilter.training.stills import read_images, scaled, to_layout

__all__ = ["FRAMES", "Footage", "Pan", "Stretch", "pans_of", "stretches_of"]

FRAMES = 24
"""Of a stretch: past the first frames of a group of pictures, which are better than the rest."""
STRIDE = 30
"""Frames from the beginning of a stretch of a clip to the next."""
PAN_MARGIN = 48
"""Samples around a frame that the camera may drift into."""
SMALLEST = 64


class Footage(Protocol):
    """Clean frames of luma that follow each other."""

    @property
    def key(self) -> str:
        """All that decides the frames."""

    def frames(self) -> Samples:
        """Uint8 [T, H, W], sides even, in limited range as video has it."""


@dataclass(frozen=True)
class Pan:
    """A moving camera over a still; the seed decides motion, sharpness, lettering, grain and fading."""

    still: Path
    scale: float
    """Size of the still: small ones stand for dense detail such as print and far foliage."""
    seed: tuple[int, ...]

    @property
    def key(self) -> str:
        """See `Footage`."""
        return f"pan {_sha256(self.still)} {self.scale} {self.seed}"

    def frames(self) -> Samples:
        """See `Footage`."""
        rng = np.random.default_rng(self.seed)
        (picture,) = read_images([self.still], minimum=1)
        luma = to_layout(scaled(picture, self.scale), "luma")[0]
        if rng.random() < 0.5:
            luma = sharpened(luma, strength=float(rng.uniform(0, 1)))
        if rng.random() < 0.25:
            luma = lettered(luma, rng)
        height, width = (max((side - PAN_MARGIN) & ~7, SMALLEST) for side in luma.shape)
        clip = drift(_limited_range(luma), rng, frames=FRAMES, size=(width, height))
        if rng.random() < 0.4:
            clip = grainy(clip, rng)
        if rng.random() < 0.1:
            clip = faded(clip, rng)
        return clip


@dataclass(frozen=True)
class Stretch:
    """Some frames of a clip."""

    clip: Path
    first: int
    scale: float
    """Size at which to use it. Half hides most of the artefacts that the clip itself came with."""

    @property
    def key(self) -> str:
        """See `Footage`."""
        return f"stretch {_sha256(self.clip)} {self.first} {self.scale}"

    def frames(self) -> Samples:
        """See `Footage`."""
        wanted = range(self.first, self.first + FRAMES)
        return np.stack([scaled(luma, self.scale) for number, luma in _read(self.clip) if number in wanted])


def pans_of(stills: Sequence[Path], *, repeats: int, scales: Sequence[float], seed: int) -> list[Pan]:
    """Return several pans over each still, those at the same place in the order first."""
    return [
        Pan(still, scales[repeat % len(scales)], (seed, index, repeat))
        for repeat in range(repeats)
        for index, still in enumerate(stills)
    ]


def stretches_of(clips: Sequence[Path], *, scale: float) -> list[Stretch]:
    """Return evenly spaced stretches of clips; a clip shorter than one is one.

    Raises:
        InputError: a clip cannot be read, or is not 8-bit 4:2:0.
    """
    found = []
    for clip in clips:
        frames = sum(1 for _ in _read(clip))
        found += [Stretch(clip, first, scale) for first in range(0, max(frames - FRAMES, 0) + 1, STRIDE)]
    return found


def _read(clip: Path) -> Iterator[tuple[int, Samples]]:
    try:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream)):
                if frame.format.name not in ("yuv420p", "yuvj420p"):
                    raise InputError(f"{clip} is {frame.format.name}; training clips are 8-bit 4:2:0 (yuv420p)")
                yield number, planes_of(frame, crop_odd=True)[0]
    except (av.FFmpegError, IndexError) as error:
        raise InputError(f"{clip} is not a readable clip ({error}); remove it from the list") from error


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _limited_range(luma: Samples) -> Samples:
    """Full-range luma (0..255) as video carries it (16..235, ITU-R BT.601)."""
    return np.asarray(cv2.convertScaleAbs(luma, alpha=219 / 255, beta=16), np.uint8)
