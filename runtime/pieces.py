"""Where a frame is cut into pieces that overlap by the receptive field. Geometry alone: no samples are touched here."""

from __future__ import annotations

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


def cut_frame(width: int, height: int, *, piece: tuple[int, int], halo: int, multiple: int) -> list[Cut]:
    """Return the pieces of a frame, left to right and top to bottom, all of one shape.

    A network pads with zeros at the border of what it is given. At the border of the frame that is what it does with
    the whole frame, so a piece that touches the border keeps its output up to there; towards the inside it keeps only
    what lies `halo` samples or more from its edge, out of reach of that padding. Kept regions cover each sample once.
    The last piece of a row or column is shifted back to end with the frame, and so overlaps more.

    Args:
        width: of the frame, as `height`.
        height: see `width`.
        piece: (width, height) of each piece, multiples of `multiple`; see `piece_within`. An axis as long as the padded
            frame is not cut.
        halo: receptive-field radius in samples.
        multiple: windows start and end at multiples of it. The last may reach past the frame by less than `multiple`:
            into the edge-replicated padding that the whole frame would get too.

    Raises:
        InputError: the piece is too small: nothing would be left after the halo is taken off.
    """
    _check(width, height, piece, halo, multiple)
    padded = padded_size(width, height, multiple=multiple)
    rows = list(_spans(height, padded[1], piece[1], halo, multiple))
    return [
        Cut(x=x, y=y, left=left, top=top, right=right, bottom=bottom)
        for y, top, bottom in rows
        for x, left, right in _spans(width, padded[0], piece[0], halo, multiple)
    ]


def piece_within(width: int, height: int, *, piece: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Return `piece` rounded up to multiples of `multiple`, and no larger than the padded frame."""
    padded = padded_size(width, height, multiple=multiple)
    wide, high = padded_size(*piece, multiple=multiple)
    return min(wide, padded[0]), min(high, padded[1])


def smallest_piece(*, halo: int, multiple: int) -> int:
    """Return the shortest side that can cut a frame: the halo on both sides and one multiple between."""
    return -(-2 * halo // multiple) * multiple + multiple


def computed_share(width: int, height: int, *, piece: tuple[int, int], halo: int, multiple: int) -> float:
    """Return how many samples are filtered for each sample of the frame: 1 for the whole, more by the overlap.

    Raises:
        InputError: see `cut_frame`.
    """
    _check(width, height, piece, halo, multiple)
    share = 1.0
    for padded, side in zip(padded_size(width, height, multiple=multiple), piece, strict=True):
        share *= side * (1 if side >= padded else 1 + -(-(padded - side) // _step(side, halo, multiple))) / padded
    return share


def candidate_pieces(width: int, height: int, *, halo: int, multiple: int) -> list[tuple[int, int]]:
    """Return every (width, height) that cuts a frame into equal rows and columns, the least overlap first.

    For each number of rows and columns there is one smallest piece that still covers the frame; all others with that
    number compute more for nothing. The whole frame is the first.
    """
    padded = padded_size(width, height, multiple=multiple)
    widths, heights = (_lengths(side, halo, multiple) for side in padded)
    pieces = [(wide, high) for wide in widths for high in heights]

    def overlap(piece: tuple[int, int]) -> tuple[float, int]:
        return computed_share(width, height, piece=piece, halo=halo, multiple=multiple), -piece[0]

    return sorted(pieces, key=overlap)


def _check(width: int, height: int, piece: tuple[int, int], halo: int, multiple: int) -> None:
    for frame, side in zip(padded_size(width, height, multiple=multiple), piece, strict=True):
        if side < frame and _step(side, halo, multiple) < multiple:
            least = smallest_piece(halo=halo, multiple=multiple)
            raise InputError(
                f"got a piece of {piece[0]}x{piece[1]}; this network reaches {halo} samples far, so a side that cuts "
                f"the {width}x{height} frame must have at least {least} samples: give larger pieces"
            )


def _step(side: int, halo: int, multiple: int) -> int:
    """How far two neighbours that keep `halo` clear of their edges may start from each other."""
    return (side - 2 * halo) // multiple * multiple


def _spans(frame: int, padded: int, side: int, halo: int, multiple: int) -> Iterator[tuple[int, int, int]]:
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
        start += _step(side, halo, multiple)


def _lengths(padded: int, halo: int, multiple: int) -> list[int]:
    """The shortest side for each number of pieces along an axis, the longest (the axis itself) first."""
    found = [padded]
    count = 2
    while True:
        # The first and the last keep one halo more than those between, so n pieces overlap in n - 1 places.
        side = -(-(padded + (count - 1) * 2 * halo) // count)
        side = -(-side // multiple) * multiple
        if side < smallest_piece(halo=halo, multiple=multiple) or side >= found[-1]:
            return found
        found.append(side)
        count += 1
