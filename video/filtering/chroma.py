"""Chroma between its own sampling and luma's: linear interpolation, and its transpose, from where the samples lie.

OpenCV does the arithmetic: it runs vectorised over whole rows where NumPy's steps of two do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["doubled_across", "doubled_down", "halved_across", "halved_down"]

Float = NDArray[np.float32]


def doubled_across(plane: Float, *, cosited: bool) -> Float:
    """Interpolate float32 [H, W] to [H, 2W]; edges are replicated.

    Args:
        plane: of chroma, or a change of it.
        cosited: whether a sample lies on every even column; else half-way between an even column and the next.
    """
    import cv2

    height, width = plane.shape
    if not cosited:
        return _array(cv2.resize(plane, (2 * width, height), interpolation=cv2.INTER_LINEAR))
    between = np.empty_like(plane)
    cv2.addWeighted(plane[:, :-1], 0.5, plane[:, 1:], 0.5, 0, dst=between[:, :-1])
    between[:, -1] = plane[:, -1]
    return _array(cv2.merge([plane, between])).reshape(height, 2 * width)


def doubled_down(plane: Float, *, cosited: bool) -> Float:
    """As `doubled_across`, for rows: [H, W] becomes [2H, W]."""
    import cv2

    height, width = plane.shape
    if not cosited:
        return _array(cv2.resize(plane, (width, 2 * height), interpolation=cv2.INTER_LINEAR))
    doubled = np.empty((2 * height, width), np.float32)
    doubled[0::2] = plane
    cv2.addWeighted(plane[:-1], 0.5, plane[1:], 0.5, 0, dst=doubled[1:-1:2])
    doubled[-1] = plane[-1]
    return doubled


def halved_across(plane: Float, *, cosited: bool) -> Float:
    """Average float32 [H, W] to [H, ceil(W / 2)], with the transpose of `doubled_across`; edges are replicated."""
    import cv2

    if plane.shape[1] % 2:
        plane = np.concatenate([plane, plane[:, -1:]], axis=1)
    height, width = plane.shape
    even, odd = cv2.split(np.ascontiguousarray(plane).reshape(height, width // 2, 2))
    return _joined(even, odd, even[:, :1], cosited=cosited, axis=1)


def halved_down(plane: Float, *, cosited: bool) -> Float:
    """As `halved_across`, for rows: [H, W] becomes [ceil(H / 2), W]."""
    if len(plane) % 2:
        plane = np.concatenate([plane, plane[-1:]])
    return _joined(plane[0::2], plane[1::2], plane[:1], cosited=cosited, axis=0)


def _joined(even: Any, odd: Any, first: Any, *, cosited: bool, axis: int) -> Float:
    import cv2

    if not cosited:
        return _array(cv2.addWeighted(even, 0.5, odd, 0.5, 0))
    # Edge replication: before the first sample lies the first itself.
    sides = np.concatenate([first, odd[:, :-1] if axis else odd[:-1]], axis=axis)
    cv2.add(sides, odd, dst=sides)
    return _array(cv2.addWeighted(even, 0.5, sides, 0.25, 0))


def _array(result: Any) -> Float:
    return result
