"""From a still picture to what a network is shown: its planes, or a clip that a moving camera might take of it."""

from __future__ import annotations

import cv2
import numpy as np

from postfilter.models import Layout
from postfilter.training.pool import Samples

__all__ = ["pan", "scaled", "to_layout"]


def pan(picture: Samples, rng: np.random.Generator, *, frames: int, size: tuple[int, int]) -> list[Samples]:
    """Return a short clip that a moving camera might take of a still picture.

    The camera moves, turns and zooms smoothly with sub-pixel steps, so that the encoder's motion compensation meets
    interpolation and drift as in real footage. Speeds are drawn so that many clips hardly move and a few move fast.

    Args:
        picture: uint8 [H, W] or [H, W, C], at least `size`.
        rng: decides the motion.
        frames: how many.
        size: (width, height) of a frame.

    Returns:
        `frames` pictures, uint8 [height, width(, C)].
    """
    width, height = size
    speed = rng.exponential(2.0)
    heading = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    turn = np.deg2rad(rng.normal(0, 0.15))
    zoom = 1 + rng.normal(0, 0.002)
    acceleration = rng.normal(0, 0.1, 2)
    centre = np.array([picture.shape[1] - 1, picture.shape[0] - 1]) / 2
    middle = (frames - 1) / 2
    clip = []
    for index in range(frames):
        t = index - middle
        angle, scale = turn * t, zoom**t
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        rotation = np.array([[cos, -sin], [sin, cos]])
        # Frame coordinates to picture coordinates, about the middle of both.
        offset = centre + velocity * t + acceleration * t * t / 2 - rotation @ (np.array([width - 1, height - 1]) / 2)
        matrix = np.hstack([rotation, offset[:, None]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        frame = cv2.warpAffine(picture, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        clip.append(np.asarray(frame, np.uint8))
    return clip


def to_layout(picture: Samples, layout: Layout) -> Samples:
    """Return a picture as a network takes it.

    Args:
        picture: R'G'B' uint8 [H, W, 3].
        layout: `rgb`: all three; `luma` takes full-range BT.601 luma, as in JPEG.

    Returns:
        uint8 [3, H, W] or [1, H, W], contiguous.
    """
    if layout == "rgb":
        return np.ascontiguousarray(picture.transpose(2, 0, 1))
    return np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[:, :, 0], np.uint8)[None]


def scaled(picture: Samples, scale: float) -> Samples:
    """Return a copy of a picture at `scale` times its size, by area averaging, with even sides.

    Args:
        picture: uint8 [H, W] or [H, W, 3].
        scale: above 0, at most 1.
    """
    height, width = (int(side * scale) & ~1 for side in picture.shape[:2])
    if scale == 1:
        return np.ascontiguousarray(picture[:height, :width]).copy()
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
