"""Filter some tiles of a frame again, with another engine, for what that would have made of them in the whole frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.runtime.further_inputs import BLOCK
from postfilter.runtime.padding import pad_to, padded_size
from postfilter.runtime.pieces import piece_within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime import Engine
    from postfilter.video.filtering.verdict import Box
    from postfilter.video.pixels import Plane

__all__ = ["redo_tiles"]

_LARGEST_TILE = 95


def redo_tiles(
    engine: Engine, before: Plane, after: Plane, boxes: Sequence[Box], inputs: Mapping[str, NDArray[Any]] | None = None
) -> Plane:
    """Return a copy of `after` with the tiles as this engine makes them of `before`.

    Of few tiles, windows with the reach of the network around them are filtered, all of one size so that the engine is
    compiled once; of many, the whole frame.

    Args:
        engine: of any size or the frame's; of the planes' type.
        before: [N, C, H, W], as `after`.
        after: is not written to.
        boxes: the tiles.
        inputs: what the engine reads besides, of those that it declares, one value for each sample or for each block of
            16x16 samples.
    """
    redone = after.copy()
    height, width = before.shape[-2:]
    multiple, period = engine.size_multiple, engine.manifest.period
    # A window starts at a multiple of both, so up to that much before it has to.
    grid = math.lcm(multiple, period)
    side = -(-(_LARGEST_TILE + 2 * engine.halo + grid) // grid) * grid
    wide, high = piece_within(width, height, piece=(side, side), multiple=multiple, period=period)
    padded_width, padded_height = padded_size(width, height, multiple=multiple)
    told = {each.name: inputs[each.name] for each in engine.inputs if inputs and each.name in inputs}
    for frame in sorted({n for n, _, _ in boxes}):
        plane = before[frame : frame + 1]
        tiles = [(rows, columns) for n, rows, columns in boxes if n == frame]
        if engine.size is not None or 2 * len(tiles) * wide * high > width * height:
            whole = engine(plane, inputs={name: each[frame : frame + 1] for name, each in told.items()})
            for rows, columns in tiles:
                redone[frame, :, rows, columns] = whole[0, :, rows, columns]
            continue
        padded = pad_to(plane, width=padded_width, height=padded_height)
        spread = {
            name: pad_to(
                _of_samples(each[frame : frame + 1, None], height, width), width=padded_width, height=padded_height
            )[:, 0]
            for name, each in told.items()
        }
        for rows, columns in tiles:
            # The last windows end with the frame; there the network pads as it does for the whole.
            top, left = (
                min(max(span.start - engine.halo, 0) // grid * grid, last)
                for span, last in ((rows, padded_height - high), (columns, padded_width - wide))
            )
            seen = np.s_[..., top : top + high, left : left + wide]
            window = engine(padded[seen].copy(), inputs={name: each[seen] for name, each in spread.items()})[0]
            redone[frame, :, rows, columns] = window[
                :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
    return redone


def _of_samples(values: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """[N, 1, H, W] of values for each sample as they are, and of those for each block."""
    if values.shape[2:] == (height, width):
        return values
    return values.repeat(BLOCK, axis=2).repeat(BLOCK, axis=3)[:, :, :height, :width]
