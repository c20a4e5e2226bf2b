"""One item of a stream: planes, and what else is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from postfilter.errors import InputError
from postfilter.runtime.changes import BLOCK, block_grid, cells_of, samples_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from postfilter.runtime.backend import Samples
    from postfilter.runtime.changes import Blocks, Cells

__all__ = ["StreamItem", "with_kept"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamItem:
    """Planes for `Engine.stream`, and how they are to be filtered."""

    planes: Samples
    """[N, C, H, W], as `Engine.__call__` takes them."""
    inputs: Mapping[str, ArrayLike] | None = None
    """What the engine reads beside the picture, as `Engine.__call__` takes it."""
    keep: Blocks | None = None
    """bool [N, ceil(H / 16), ceil(W / 16)]: blocks of 16x16 samples that leave as they came in. Those at the right and
    the bottom edge may reach past it. None keeps none."""

    def __post_init__(self) -> None:
        """Refuse a `keep` that does not fit the planes.

        Raises:
            InputError: another type or shape.
        """
        if self.keep is None or np.ndim(self.planes) != 4:
            return
        wanted = block_grid(self.planes.shape)
        if self.keep.dtype != np.bool_ or self.keep.shape != wanted:
            raise InputError(
                f"got a keep of {self.keep.dtype} {self.keep.shape} for planes of shape {self.planes.shape}; give one "
                f"bool for each block of {BLOCK}x{BLOCK} samples: {wanted}"
            )

    def kept_cells(self) -> Cells | None:
        """Return `keep` for cells instead of blocks."""
        return None if self.keep is None else cells_of(self.keep, self.planes.shape)


def with_kept(output: Samples, item: StreamItem) -> Samples:
    """Return the output with the item's kept blocks as they came in: a new array where there are any."""
    if item.keep is None or not item.keep.any():
        return output
    # Bits are mixed, as np.where takes five times as long.
    mask = samples_of(np.negative(item.keep.astype(output.dtype)), item.planes.shape)
    mixed = output ^ item.planes
    mixed &= mask
    mixed ^= output
    return mixed
