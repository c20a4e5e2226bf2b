"""What makes a still look like footage: motion, sharpness, lettering, grain and fading."""

from __future__ import annotations

import cv2
import numpy as np

from postfilter.training.pool import Samples

__all__ = ["drift", "faded", "grainy", "lettered", "sharpened"]


def drift(picture: Samples, rng: np.random.Generator, *, frames: int, size: tuple[int, int]) -> Samples:
    """Return a short clip that a moving camera might take of a still picture.

    The camera moves, turns and zooms smoothly with sub-pixel steps, so that the encoder's motion compensation meets
    interpolation and drift as in real footage. Speeds are drawn so that many clips hardly move and a few move fast.

    Args:
        picture: uint8 [H, W], at least `size`.
        rng: decides the motion.
        frames: how many.
        size: (width, height) of a frame.

    Returns:
        uint8 [frames, height, width].
    """
    width, height = size
    speed = rng.exponential(2.0)
    heading = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    turn = np.deg2rad(rng.normal(0, 0.15))
    zoom = 1 + rng.normal(0, 0.002)
    acceleration = rng.normal(0, 0.03, 2)
    centre = np.array([picture.shape[1] - 1, picture.shape[0] - 1]) / 2
    middle = (frames - 1) / 2
    clip = np.empty((frames, height, width), np.uint8)
    for index in range(frames):
        t = index - middle
        angle, scale = turn * t, zoom**t
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        rotation = np.array([[cos, -sin], [sin, cos]])
        # Frame coordinates to picture coordinates, about the middle of both.
        offset = centre + velocity * t + acceleration * t * t / 2 - rotation @ (np.array([width - 1, height - 1]) / 2)
        matrix = np.hstack([rotation, offset[:, None]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(
            picture, matrix, (width, height), dst=clip[index], flags=flags, borderMode=cv2.BORDER_REFLECT_101
        )
    return clip


def sharpened(luma: Samples, *, strength: float) -> Samples:
    """Return a picture as crisp as good lenses and downscalers make it, which JPEG stills are not: an unsharp mask."""
    blurred = cv2.GaussianBlur(luma, (0, 0), 0.8)
    return np.asarray(cv2.addWeighted(luma, 1 + strength, blurred, -strength, 0), np.uint8)


def lettered(luma: Samples, rng: np.random.Generator) -> Samples:
    """Return a picture with panels of text and lines on it, as in print, titles and screens."""
    drawn = luma.copy()
    height, width = luma.shape
    for _ in range(rng.integers(3, 10)):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        right, bottom = left + int(rng.integers(20, width)), top + int(rng.integers(10, max(height // 3, 11)))
        ground = int(rng.integers(256))
        if rng.random() < 0.6:
            cv2.rectangle(drawn, (left, top), (right, bottom), (ground,), -1)
        ink = int(np.clip(ground + rng.choice((-1, 1)) * rng.integers(60, 220), 0, 255))
        size, font = float(rng.uniform(0.25, 1)), int(rng.integers(8))
        for line in range(top, min(bottom, height), int(26 * size) + 2):
            text = "".join(map(chr, rng.integers(33, 123, 60)))
            cv2.putText(drawn, text, (left, line), font, size, (ink,), 1, cv2.LINE_AA)
        ends = rng.integers((width, height), size=(3, 2, 2))
        for start, end in ends:
            cv2.line(drawn, start, end, (int(rng.integers(256)),), int(rng.integers(1, 4)), cv2.LINE_AA)
    return drawn


def grainy(clip: Samples, rng: np.random.Generator) -> Samples:
    """Return a clip with the noise of a sensor, new in every frame: Gaussian of 0.3 to 2 code values."""
    return _rounded(clip + rng.normal(0, rng.uniform(0.3, 2), clip.shape))


def faded(clip: Samples, rng: np.random.Generator) -> Samples:
    """Return a clip in limited range that grows darker or brighter evenly."""
    start, end = rng.uniform(0.3, 1, 2)
    share = np.linspace(start, end, len(clip))[:, None, None]
    return _rounded(16 + (clip - 16.0) * share)


def _rounded(clip: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Samples:
    return np.clip(np.rint(clip), 0, 255).astype(np.uint8)
