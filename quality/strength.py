"""How strongly a picture was compressed, from its samples alone: for sources whose bitstream does not tell a QP.

Two kinds of traces are read, on tiles spread over the picture:

1. The lattice. Coefficients of a decoded JPEG lie on multiples of their quantization steps (Fan and de Queiroz,
   "Identification of bitmap compression history: JPEG detection and quantizer estimation", 2003). For each quality of
   libjpeg's tables the likelihood of the coefficients is compared with that of none; what is found is all but exact.
2. What rounding leaves of detail. Video is coded as a prediction and a rounded rest, filtered in the loop, and its
   coefficients lie on no lattice. But those below half a step are gone, so histograms of the coefficients by frequency
   and by the activity of their block, small differences of neighbours, and edges on a grid tell the step; a network of
   two layers reads them. It was taught the QP of x264 and x265, of JPEG that of its DC step, and of other codecs that
   of x264 at the same PSNR (`training.strength`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality.lattice import jpeg_on_lattice

__all__ = [
    "QP_CENTRE",
    "QP_SCALE",
    "TILE",
    "UNCODED_QP",
    "WEIGHTS",
    "Strength",
    "blocks_of",
    "estimate_strength",
    "jpeg_of_qp",
    "judged",
    "qp_of_jpeg",
    "tiles_of",
    "traces_of",
]

Samples = NDArray[np.uint8]
Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).parent.parent / "models" / "weights" / "strength.json"
TILE = 64
"""Side of a tile in samples."""
UNCODED_QP = 14.0
"""What the network was taught for pictures that were never coded."""
_SEEN_QP = 18.0
"""Above this with two deviations to spare, something of coding is seen."""
_FLAT = 0.1
"""Mean difference of neighbours below which there is nothing to see, as in black frames."""
QP_CENTRE, QP_SCALE = 30.0, 10.0
"""What the network gives is (QP - centre) / scale."""
_BLOCK = 8
_WIDEST = 20.0
_GRID = 2.0
"""How far the edges of one phase of the grid must stand out to be taken for it, in deviations of the others."""


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How strongly a picture was compressed."""

    qp: float
    """As H.264 and HEVC count it: the step doubles with every 6."""
    spread: float
    """Standard deviation of `qp`, as estimated with it."""
    jpeg_quality: int
    """The quality of libjpeg, 1..100, with a DC step of that QP; that of the very tables where `lattice`."""
    lattice: bool
    """Whether the coefficients lie on the multiples of a JPEG's steps: the picture was a JPEG, and nothing since."""

    @property
    def cautious_qp(self) -> float:
        """What to tell a filter: half a deviation less. Told too much it blurs, told too little it only does less."""
        return max(self.qp - 0.5 * self.spread, 0.0)

    @property
    def coded(self) -> bool:
        """Whether anything of a compression can be seen."""
        return self.lattice or self.qp - 2 * self.spread > _SEEN_QP


def estimate_strength(luma: Samples, *, tiles: int = 96, lattice: bool = True) -> Strength:
    """Estimate how strongly a picture was compressed.

    Args:
        luma: uint8 [H, W], at least 64 samples a side, not scaled since it was decoded. Cropped it may be.
        tiles: how many tiles of 64x64 samples are looked at; fewer are faster and less sure.
        lattice: whether to look for the steps of a JPEG too, which takes longer than all the rest.

    Raises:
        InputError: another shape or type, or too small.
    """
    cut = tiles_of(luma, count=tiles)
    found, phase = traces_of(cut)
    quality = jpeg_on_lattice(blocks_of(cut, phase)) if lattice else None
    if quality is not None:
        return Strength(qp=float(qp_of_jpeg(quality)), spread=0.5, jpeg_quality=quality, lattice=True)
    qp, spread = judged(found, _weights())
    if np.abs(np.diff(cut, axis=2)).mean() < _FLAT:
        spread = _WIDEST
    return Strength(qp=qp, spread=spread, jpeg_quality=jpeg_of_qp(qp), lattice=False)


def qp_of_jpeg(quality: int) -> int:
    """Return the QP, as H.264 and HEVC count it, whose step is that of the DC coefficient of luma at a JPEG quality.

    libjpeg scales the 16 of ITU-T T.81's example table (K.1) by 50 / quality below 50 and by 2 - quality / 50 above.
    """
    step = max(16 * (50 / quality if quality < 50 else 2 - quality / 50), 1)
    return min(round(4 + 6 * math.log2(step)), 51)


def jpeg_of_qp(qp: float) -> int:
    """Return the JPEG quality, 1..100, whose DC step is that of a QP."""
    scale = 2 ** ((qp - 4) / 6) / 16
    return min(max(round(50 / scale if scale > 1 else 100 - 50 * scale), 1), 100)


def tiles_of(luma: Samples, *, count: int) -> Floats:
    """Return tiles of a picture, spread evenly.

    Returns:
        float32 [N, 64, 64], about `count`; their corners lie at multiples of 16 samples.

    Raises:
        InputError: no uint8 [H, W], or less than a tile.
    """
    if luma.ndim != 2 or luma.dtype != np.uint8 or min(luma.shape) < TILE:
        raise InputError(f"got {luma.dtype} {luma.shape}; give luma as uint8 [H, W] of at least {TILE} samples a side")
    height, width = luma.shape
    columns = max(1, min(width // TILE, round(math.sqrt(count * width / height))))
    rows = max(1, min(height // TILE, count // columns))
    tops, lefts = (
        (np.linspace(0, side - TILE, number) // 16 * 16).astype(int)
        for side, number in ((height, rows), (width, columns))
    )
    return np.stack([luma[y : y + TILE, x : x + TILE] for y in tops for x in lefts]).astype(np.float32)


def blocks_of(tiles: Floats, phase: tuple[int, int]) -> Floats:
    """Return the orthonormal DCT of the 8x8 blocks of tiles, float32 [N, 8, 8], on a grid that begins at `phase`."""
    y, x = phase
    whole = [(TILE - shift) // _BLOCK * _BLOCK for shift in phase]
    cut = tiles[:, y : y + whole[0], x : x + whole[1]]
    count = len(tiles)
    parts = cut.reshape(count, whole[0] // 8, 8, whole[1] // 8, 8).transpose(0, 1, 3, 2, 4).reshape(-1, 8, 8)
    basis = _dct()
    return np.matmul(np.matmul(basis, parts), basis.T)


def traces_of(tiles: Floats) -> tuple[Floats, tuple[int, int]]:
    """Return what the network reads of tiles, float32 [F], and the phase (y, x) of the grid of 8x8 blocks."""
    steps = [np.abs(np.diff(tiles, axis=axis)) for axis in (1, 2)]
    edges = np.mean(
        [np.bincount(np.minimum(each, 12).astype(np.intp).ravel(), minlength=13) / each.size for each in steps], axis=0
    )
    lines, columns = _profiles(tiles)
    (down, y), (across, x) = _standing_out(lines), _standing_out(columns)
    grid = [down, across, *_regular(lines), *_regular(columns)]
    on = (y, x) if min(down, across) > _GRID else (0, 0)
    parts = [_coefficients(blocks_of(tiles, on)), edges[:12], np.asarray(grid)]
    return np.concatenate(parts).astype(np.float32), (y, x)


_BANDS = np.add.outer(np.arange(8), np.arange(8))
_BAND_OF = np.digitize(_BANDS, [1, 2, 3, 5, 7, 10]) - 1
"""Which of six bands of frequency a coefficient belongs to; -1 is DC."""
_BAND_COUNT, _SIZES, _KINDS = 6, 14, 3


def _coefficients(blocks: Floats) -> NDArray[np.float64]:
    """Histograms of the sizes of coefficients, by how active their block is and by frequency."""
    low = np.sqrt((blocks[:, _BAND_OF == 0] ** 2).mean(axis=1) + (blocks[:, _BAND_OF == 1] ** 2).mean(axis=1))
    kind = np.digitize(low, (6.0, 24.0))
    # Two to an octave, from under a quarter to over 32.
    mantissa, octave = np.frexp(np.abs(blocks))
    sizes = np.clip(2 * octave + (mantissa > math.sqrt(0.5)) + 2, 0, _SIZES - 1)
    index = (kind[:, None, None] * _BAND_COUNT + _BAND_OF) * _SIZES + sizes
    counts = np.bincount(index[:, _BAND_OF >= 0].ravel(), minlength=_KINDS * _BAND_COUNT * _SIZES)
    table = counts.reshape(_KINDS, _BAND_COUNT, _SIZES).astype(np.float64)
    shares = np.bincount(kind, minlength=_KINDS) / len(blocks)
    # Where hardly a block is of a kind, its histogram says nothing: a few counts of none are added.
    table /= table.sum(axis=2, keepdims=True) + 20
    return np.concatenate([table.ravel(), shares])


def _profiles(tiles: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much neighbours differ across each of the eight phases of lines and of columns.

    By crossed differences, which are zero inside a smooth block and not at its corners (Chen and Hsu, "Image tampering
    detection by blocking periodicity analysis in JPEG compressed images", 2008).
    """
    down = np.diff(tiles, axis=1)
    crossed = np.full((TILE, TILE), np.nan)
    crossed[:-1, :-1] = np.minimum(np.abs(np.diff(down, axis=2)), 4).mean(axis=0, dtype=np.float64)
    phases = np.nanmean(crossed.reshape(8, 8, 8, 8), axis=(0, 2))
    return phases.mean(axis=1), phases.mean(axis=0)


def _standing_out(profile: NDArray[np.float64]) -> tuple[float, int]:
    """How far the highest phase stands out, and where blocks then begin."""
    best = int(profile.argmax())
    others = np.delete(profile, best)
    return float(min((profile[best] - others.mean()) / (others.std() + 0.02), 20.0)), (best + 1) % 8


def _regular(profile: NDArray[np.float64]) -> tuple[float, float]:
    """How much differences on the grids of 8 and of 4 samples that begin at 0 exceed the others."""
    return float(profile[7] - profile[:7].mean()), float(profile[3::4].mean() - np.delete(profile, (3, 7)).mean())


@cache
def _dct() -> Floats:
    k, n = np.mgrid[:8, :8]
    basis = np.cos(np.pi * (2 * n + 1) * k / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis.astype(np.float32)


def judged(traces: Floats, weights: Mapping[str, Floats]) -> tuple[float, float]:
    """Return the QP and its deviation as the network with these weights reads them in traces."""
    values = (traces - weights["mean"]) * weights["scale"]
    for number in (1, 2):
        values = np.maximum(weights[f"w{number}"] @ values + weights[f"b{number}"], 0)
    qp, spread = weights["w3"] @ values + weights["b3"]
    return float(np.clip(QP_SCALE * qp + QP_CENTRE, 0, 51)), float(np.clip(QP_SCALE * np.exp(spread), 0.5, _WIDEST))


@cache
def _weights() -> dict[str, Floats]:
    held = json.loads(WEIGHTS.read_text())["weights"]
    return {name: np.asarray(value, np.float32) for name, value in held.items()}
