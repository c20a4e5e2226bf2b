"""Sizes that a graph takes: padding by edge replication, and cropping back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples

__all__ = ["crop", "pad_to", "padded_size"]


def padded_size(width: int, height: int, *, multiple: int) -> tuple[int, int]:
    """Return (width, height), each rounded up to a multiple of `multiple`."""
    return -(-width // multiple) * multiple, -(-height // multiple) * multiple


def pad_to(samples: Samples, *, width: int, height: int) -> Samples:
    """Repeat the last column and row of [N, C, H, W] until it is `width` by `height`; C-contiguous.

    Samples that have the size and are contiguous already come back as they are, not copied.
    """
    n, c, h, w = samples.shape
    if (h, w) == (height, width):
        return np.ascontiguousarray(samples)
    padded = np.empty((n, c, height, width), dtype=samples.dtype)
    padded[:, :, :h, :w] = samples
    padded[:, :, :h, w:] = samples[:, :, :, -1:]
    padded[:, :, h:] = padded[:, :, h - 1 : h]
    return padded


def crop(samples: Samples, *, width: int, height: int) -> Samples:
    """Return the top left `width` by `height` of [N, C, H, W], C-contiguous; copied only where something is cut."""
    if samples.shape[2:] == (height, width):
        return samples
    return np.ascontiguousarray(samples[:, :, :height, :width])
