"""PSNR, SSIM and PSNR-B of one picture against its source."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError

__all__ = [
    "PSNR_OF_IDENTICAL_DB",
    "blocking_effect",
    "finite_psnr",
    "finite_psnr_b",
    "luma_of",
    "psnr",
    "psnr_b",
    "ssim",
]

Picture: TypeAlias = NDArray[Any]
"""[H, W] or [H, W, C], of any real type."""

PSNR_OF_IDENTICAL_DB = 100.0
"""What a picture without any error counts in an average, and in JSON, which has no infinity."""

_BT601_STUDIO = np.array([65.481, 128.553, 24.966]) / 255

_SSIM_WINDOW, _SSIM_SIGMA, _SSIM_K1, _SSIM_K2 = 11, 1.5, 0.01, 0.03


def psnr(a: Picture, b: Picture, *, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio over all samples, in dB; infinite for identical arrays.

    Args:
        a: samples of any shape and real type.
        b: the same shape.
        peak: the largest code value: 255 for 8 bits, 1023 for 10.

    Raises:
        InputError: the shapes differ, or there are no samples.
    """
    return _decibels(_mse(a, b), peak)


def finite_psnr(a: Picture, b: Picture, *, peak: float = 255.0) -> float:
    """`psnr`, with `PSNR_OF_IDENTICAL_DB` in place of infinity: for averages and tables.

    Args:
        a: as in `psnr`.
        b: as in `psnr`.
        peak: as in `psnr`.
    """
    return min(psnr(a, b, peak=peak), PSNR_OF_IDENTICAL_DB)


def ssim(a: Picture, b: Picture, *, peak: float = 255.0) -> float:
    """Structural similarity (Wang et al. 2004): mean over the valid region of an 11x11 Gaussian of 1.5.

    Computed on each channel and averaged over them. K1 = 0.01, K2 = 0.03, no downscaling beforehand.

    Args:
        a: [H, W] or [H, W, C].
        b: the same shape.
        peak: the largest code value.

    Raises:
        InputError: the shapes differ, or the picture is smaller than the window.
    """
    _check_pair(a, b)
    if min(a.shape[:2]) < _SSIM_WINDOW:
        raise InputError(f"got a picture of {a.shape = }; SSIM's window needs at least 11x11 samples")
    if a.ndim == 3:
        return float(np.mean([_ssim_plane(a[..., c], b[..., c], peak) for c in range(a.shape[2])]))
    return _ssim_plane(a, b, peak)


def psnr_b(filtered: Picture, reference: Picture, *, peak: float = 255.0) -> float:
    """PSNR-B (Yim and Bovik 2011): PSNR whose error grows by the blockiness of the filtered picture, in dB.

    The error is that of all channels; the blocking effect factor is that of the filtered picture's luma, BT.601 at
    studio range (219 codes for 255) and not rounded: this reproduces the published figures on LIVE1, where luma at
    full range gives 0.4 dB less.

    Args:
        filtered: [H, W] luma or [H, W, 3] RGB.
        reference: its source, the same shape.
        peak: the largest code value.

    Raises:
        InputError: the shapes differ, or the picture is smaller than two blocks of 8x8.
    """
    luma = filtered @ _BT601_STUDIO if filtered.ndim == 3 else filtered
    return _decibels(_mse(filtered, reference) + blocking_effect(luma), peak)


def finite_psnr_b(filtered: Picture, reference: Picture) -> float:
    """`psnr_b`, with `PSNR_OF_IDENTICAL_DB` in place of infinity: for averages and tables."""
    return min(psnr_b(filtered, reference), PSNR_OF_IDENTICAL_DB)


def blocking_effect(luma: Picture, *, block: int = 8) -> float:
    """The blocking effect factor (BEF) of one plane: how much steeper block edges are than the rest.

    Zero where block edges are no steeper than other places, so a picture is not paid for oversmoothed edges.

    Args:
        luma: [H, W]; its grid of blocks begins at the top left.
        block: side of a block in samples.

    Raises:
        InputError: the plane is smaller than two blocks.
    """
    height, width = luma.shape
    if min(height, width) < 2 * block:
        raise InputError(f"got a plane of {width}x{height}; block edges need at least {2 * block}x{2 * block}")
    plane = luma.astype(np.float64)
    across, down = np.diff(plane, axis=1) ** 2, np.diff(plane, axis=0) ** 2
    edges_across, edges_down = across[:, block - 1 :: block], down[block - 1 :: block]
    at_edges = edges_across.sum() + edges_down.sum()
    edge_count = edges_across.size + edges_down.size
    elsewhere = across.sum() + down.sum() - at_edges
    difference = at_edges / edge_count - elsewhere / (across.size + down.size - edge_count)
    return max(0.0, float(difference)) * math.log2(block) / math.log2(min(height, width))


def luma_of(rgb: Picture) -> NDArray[np.uint8]:
    """The luma plane that a JPEG file holds (BT.601, full range): R'G'B' uint8 [H, W, 3] to uint8 [H, W]."""
    import cv2

    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _mse(a: Picture, b: Picture) -> float:
    _check_pair(a, b)
    if a.dtype == b.dtype == np.uint8:
        # Exact and several times quicker than float64: squares of 8-bit differences fit 32 bits.
        difference = np.subtract(a, b, dtype=np.int16)
        return float(np.square(difference, dtype=np.int32).sum(dtype=np.int64)) / a.size
    return float(np.mean((a.astype(np.float64) - b) ** 2))


def _decibels(mse: float, peak: float) -> float:
    return 10 * math.log10(peak**2 / mse) if mse > 0 else math.inf


def _ssim_plane(a: Picture, b: Picture, peak: float) -> float:
    import cv2

    kernel = cv2.getGaussianKernel(_SSIM_WINDOW, _SSIM_SIGMA, cv2.CV_64F)
    margin = _SSIM_WINDOW // 2

    def local_mean(plane: Picture) -> Picture:
        return cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel)[margin:-margin, margin:-margin]

    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (_SSIM_K1 * peak) ** 2, (_SSIM_K2 * peak) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    )
    return float(similarity.mean())


def _check_pair(a: Picture, b: Picture) -> None:
    if a.shape != b.shape or not a.size:
        raise InputError(f"got {a.shape = } and {b.shape = }; pictures are compared sample by sample: make them agree")
