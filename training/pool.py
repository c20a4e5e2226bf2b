"""Degraded and clean pictures, decoded once into memory, and the random patches drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from postfilter.errors import InputError
from postfilter.runtime.further_inputs import BLOCK

__all__ = ["Batch", "PatchPool", "Samples", "as_codes"]

Samples = npt.NDArray[np.uint8]
Sample = TypeVar("Sample", np.uint8, np.int8)

# Nearly lossless pictures would otherwise outweigh all others; 0.25 is an error of half a code value.
SMALLEST_ERROR = 0.25


class Batch(NamedTuple):
    """Patches drawn from a pool."""

    degraded: Samples
    """uint8 [N, C, patch_size, patch_size]; with the QP behind the pictures' channels where it was asked for."""
    clean: Samples
    """The same places in the clean pictures, without neighbours and the QP."""
    errors: npt.NDArray[np.float32]
    """Mean squared error, in code values squared, of the whole degraded picture of each patch: float32 [N]."""
    taught: npt.NDArray[np.int8]
    """A teacher's corrections, [N, C, patch_size, patch_size]; see `lessons`. Zero where there is no teacher."""


@dataclass(frozen=True)
class PatchPool:
    """Pairs of pictures of the same size.

    Args:
        degraded: uint8 [C, H, W] each; behind the picture's channels may stand those of its neighbours.
        clean: the same pictures before degradation, in the same order, without neighbours.
        qp: of each block of 16x16 samples of each picture, [ceil(H / 16), ceil(W / 16)]; None where nothing tells it.
        taught: a teacher's corrections of the degraded pictures, int8 [C, H, W]; see `lessons`.
    """

    degraded: Sequence[Samples]
    clean: Sequence[Samples]
    qp: Sequence[Samples] | None = None
    taught: Sequence[npt.NDArray[np.int8]] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn from."""
        if not self.degraded:
            raise InputError("no training pictures; give a folder with PNG or JPEG images, or clips")
        for bad, good in zip(self.degraded, self.clean, strict=True):
            if bad.shape[1:] != good.shape[1:] or len(bad) < len(good):
                raise ValueError(f"a degraded picture is {bad.shape}, its clean one {good.shape}")

    def __add__(self, other: PatchPool) -> PatchPool:
        """Both pools' pictures."""
        known = None if self.qp is None or other.qp is None else [*self.qp, *other.qp]
        return PatchPool([*self.degraded, *other.degraded], [*self.clean, *other.clean], known)

    @property
    def samples(self) -> int:
        """Samples of one channel in all pictures."""
        return sum(picture.shape[1] * picture.shape[2] for picture in self.clean)

    def draw(
        self,
        rng: np.random.Generator,
        *,
        batch_size: int,
        patch_size: int,
        augmentation: bool,
        grid: int = 1,
        blind: float | None = None,
        share: slice = slice(None),
    ) -> Batch:
        """Draw random patches, larger pictures more often in proportion to their area.

        Args:
            rng: decides everything that is random here.
            batch_size: patches to draw.
            patch_size: side of a patch, in samples.
            augmentation: flip and turn each patch at random, the same for both of a pair.
            grid: patches begin at multiples of this, so that block edges stay where they are known to be.
            blind: append the QP, and withhold it from this share of the patches; None appends nothing.
            share: the patches of the batch to return. All are drawn, so that several processes make up one batch.
        """
        channels, kept = self.degraded[0].shape[0], self.clean[0].shape[0]
        told = blind is not None
        wanted = range(batch_size)[share]
        degraded = np.zeros((len(wanted), channels + told, patch_size, patch_size), np.uint8)
        clean = np.empty((len(wanted), kept, patch_size, patch_size), np.uint8)
        taught = np.zeros(clean.shape, np.int8)
        pictures = rng.choice(len(self.clean), batch_size, p=self._shares)
        for number, picture in enumerate(pictures):
            height, width = self.clean[picture].shape[1:]
            top = int(rng.integers((height - patch_size) // grid + 1)) * grid
            left = int(rng.integers((width - patch_size) // grid + 1)) * grid
            turns, flip = (int(rng.integers(4)), bool(rng.integers(2))) if augmentation else (0, False)
            tell = self.qp is not None and blind is not None and rng.random() >= blind
            if number not in wanted:
                continue
            index = wanted.index(number)
            window = (slice(None), slice(top, top + patch_size), slice(left, left + patch_size))
            degraded[index, :channels] = _turned(self.degraded[picture][window], turns, flip)
            clean[index] = _turned(self.clean[picture][window], turns, flip)
            if self.taught is not None:
                taught[index] = _turned(self.taught[picture][window], turns, flip)
            if tell and self.qp is not None:
                rows, columns = (np.arange(first, first + patch_size) // BLOCK for first in (top, left))
                levels = as_codes(self.qp[picture][np.ix_(rows, columns)])
                degraded[index, channels:] = _turned(levels[None], turns, flip)
        return Batch(degraded, clean, self._errors[pictures[share]], taught)

    @cached_property
    def _errors(self) -> npt.NDArray[np.float32]:
        pairs = zip(self.degraded, self.clean, strict=True)
        errors = [np.square(bad[: len(good)].astype(np.float32) - good).mean() for bad, good in pairs]
        return np.maximum(np.array(errors, np.float32), SMALLEST_ERROR)

    @cached_property
    def _shares(self) -> npt.NDArray[np.float64]:
        areas = np.array([picture.shape[1] * picture.shape[2] for picture in self.clean], np.float64)
        return areas / areas.sum()


def as_codes(qp: Samples) -> Samples:
    """QP as 8-bit engines are told it: `runtime.further_inputs` writes 51 as the largest code value."""
    return qp * np.uint8(5)


def _turned(patch: npt.NDArray[Sample], turns: int, flip: bool) -> npt.NDArray[Sample]:
    turned = np.rot90(patch, turns, axes=(1, 2))
    return turned[:, :, ::-1] if flip else turned
