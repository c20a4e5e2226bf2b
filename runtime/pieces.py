"""Where a frame is cut into pieces that overlap by the receptive field. Geometry alone: no samples are touched here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from postfilter.errors import InputError
from postfilter.runtime.padding import padded_size

__all__ = ["Cut", "candidate_pieces", "computed_share", "cut_frame", "piece_within", "smallest_piece"]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One piece of a frame: the window that is filtered, and what of its output is kept. In samples, stop exclusive."""

    x: int
    """First column of the window, a multiple of the size multiple, as `y`."""
    y: int
    """First row of the window."""
    left: int
    """First column of the frame that this piece's output is kept for, as `top`, `right` and `bottom`."""
    top: int
    right: int
    bottom: int


def cut_frame(
    width: int, height: int, *, piece: tuple[int, int], halo: int, multiple: int, period: int = 1
) -> list[Cut]:
    """Return the pieces of a frame, left to right and top to bottom, all of one shape.

    A network pads with zeros at the border of what it is given. At the border of the frame that is what it does with
    the whole frame, so a piece that touches the border keeps its output up to there; towards the inside it keeps only
    what lies `halo` samples or more from its edge, out of reach of that padding. Kept regions cover each sample once.
    The last piece of a row or column is shifted back to end with the frame, and so overlaps more.

    Args:
        width: of the frame, as `height`.
        height: see `width`.
        piece: (width, height) of each piece, as `piece_within` gives it. An axis as long as the padded frame is whole.
        halo: receptive-field radius in samples.
        multiple: windows end at multiples of it. The last may reach past the frame by less than `multiple`: into the
            edge-replicated padding that the whole frame would get too.
        period: windows start at multiples of it and of `multiple`. Moving the frame by so much moves the graph's output
            by the same, bit for bit; by less, a graph that was rewritten in blocks may add in another order.

    Raises:
        InputError: the piece is too small: nothing would be left after the halo is taken off.
    """
    _check(width, height, piece, halo, multiple, period)
    padded = padded_size(width, height, multiple=multiple)
    grid = math.lcm(multiple, period)
    rows = list(_spans(height, padded[1], piece[1], halo, grid))
    return [
        Cut(x=x, y=y, left=left, top=top, right=right, bottom=bottom)
        for y, top, bottom in rows
        for x, left, right in _spans(width, padded[0], piece[0], halo, grid)
    ]


def piece_within(width: int, height: int, *, piece: tuple[int, int], multiple: int, period: int = 1) -> tuple[int, int]:
    """Return (width, height) of the pieces that cut a frame where those of `piece` are wanted.

    No larger than the padded frame, and otherwise as much larger than wanted as it takes for the last of a row, which
    ends with the frame, to start at a multiple of `multiple` and `period` too.
    """
    grid = math.lcm(multiple, period)
    padded = padded_size(width, height, multiple=multiple)
    wide, high = (side - max(0, side - wanted) // grid * grid for side, wanted in zip(padded, piece, strict=True))
    return wide, high


def smallest_piece(*, halo: int, multiple: int, period: int = 1) -> int:
    """Return the shortest side that can cut any frame: the halo on both sides and one step between."""
    return -(-(2 * halo + math.lcm(multiple, period)) // multiple) * multiple


def computed_share(
    width: int, height: int, *, piece: tuple[int, int], halo: int, multiple: int, period: int = 1
) -> float:
    """Return how many samples are filtered for each sample of the frame: 1 for the whole, more by the overlap.

    Raises:
        InputError: see `cut_frame`.
    """
    _check(width, height, piece, halo, multiple, period)
    grid = math.lcm(multiple, period)
    share = 1.0
    for padded, side in zip(padded_size(width, height, multiple=multiple), piece, strict=True):
        share *= side * (1 if side >= padded else 1 + -(-(padded - side) // _step(side, halo, grid))) / padded
    return share


def candidate_pieces(width: int, height: int, *, halo: int, multiple: int, period: int = 1) -> list[tuple[int, int]]:
    """Return every (width, height) that cuts a frame into equal rows and columns, the least overlap first.

    For each number of rows and columns there is one smallest piece that still covers the frame; all others with that
    number compute more for nothing. The whole frame is the first.
    """
    padded = padded_size(width, height, multiple=multiple)
    widths, heights = (_lengths(side, halo, math.lcm(multiple, period)) for side in padded)
    pieces = [(wide, high) for wide in widths for high in heights]

    def overlap(piece: tuple[int, int]) -> tuple[float, int]:
        share = computed_share(width, height, piece=piece, halo=halo, multiple=multiple, period=period)
        return share, -piece[0]

    return sorted(pieces, key=overlap)


def _check(width: int, height: int, piece: tuple[int, int], halo: int, multiple: int, period: int) -> None:
    grid = math.lcm(multiple, period)
    for frame, side in zip(padded_size(width, height, multiple=multiple), piece, strict=True):
        if side < frame and _step(side, halo, grid) < grid:
            least = smallest_piece(halo=halo, multiple=multiple, period=period)
            raise InputError(
                f"got a piece of {piece[0]}x{piece[1]}; this network reaches {halo} samples far, so a side that cuts "
                f"the {width}x{height} frame must have at least {least} samples: give larger pieces"
            )


def _step(side: int, halo: int, grid: int) -> int:
    """How far two neighbours that keep `halo` clear of their edges may start from each other."""
    return (side - 2 * halo) // grid * grid


def _spans(frame: int, padded: int, side: int, halo: int, grid: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start of the window, first kept, end of the kept) along one axis."""
    start = kept = 0
    while True:
        last = start + side >= padded
        start = padded - side if last else start
        end = frame if last else start + side - halo
        yield start, kept, end
        if last:
            return
        kept = end
        start += _step(side, halo, grid)


def _lengths(padded: int, halo: int, grid: int) -> list[int]:
    """The shortest side for each number of pieces along an axis, the longest (the axis itself) first."""
    found = [padded]
    count = 2
    while True:
        # The first and the last keep one halo more than those between, so n pieces overlap in n - 1 places.
        side = -(-(padded + (count - 1) * 2 * halo) // count)
        side = padded - (padded - side) // grid * grid
        if side < 2 * halo + grid or side >= found[-1]:
            return found
        found.append(side)
        count += 1
