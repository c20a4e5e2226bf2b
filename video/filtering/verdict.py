"""Is a filtered frame still the picture that went in? Tile by tile, against what filters were measured to do."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from postfilter.video.filtering.tile_statistics import TileStatistics, tile_spans, tile_statistics
from postfilter.video.pixels import Plane

if TYPE_CHECKING:
    from postfilter.runtime import EngineManifest

__all__ = ["LUMA_LIMITS", "RGB_LIMITS", "Allowance", "Box", "Limits", "Verdict", "judge", "limits_for"]

Box = tuple[int, slice, slice]
"""A tile: which of the N planes, rows, columns."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What a filter can justify, in code values at 8 bits. Where there is more detail, more may change.

    A filter removes ringing around edges, blocks and noise: what it changes lies between details. Flat areas stay.
    """

    shift: float
    """Of the mean, as `shift_by_detail` times the detail comes on top; likewise below."""
    shift_by_detail: float
    change: float
    """Mean absolute difference."""
    change_by_detail: float
    rise: float
    """How much detail may be gained."""
    rise_by_detail: float
    keep: float
    """Share of the detail that must stay, unless that was noise of a code value or two."""

    def widened(self, factor: float) -> Allowance:
        """Return the allowance of a filter that changes `factor` times as much."""
        wider = {each.name: factor * getattr(self, each.name) for each in fields(self)}
        return Allowance(**{**wider, "keep": self.keep / factor})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a filter can justify in a tile, in a whole frame and in a sample."""

    tile: Allowance
    """In each channel."""
    frame: Allowance
    """On average over the channels and those tiles of a frame that are right by themselves, at least
    `_TILES_OF_A_FRAME`: a network that is slightly wrong is so everywhere, where a filter does much in few places."""
    sample: float
    """Difference of any sample, in code values at 8 bits."""

    def widened(self, factor: float) -> Limits:
        """Return the limits of a filter that changes `factor` times as much."""
        return Limits(
            tile=self.tile.widened(factor), frame=self.frame.widened(factor), sample=min(factor * self.sample, 255)
        )


LUMA_LIMITS = Limits(
    tile=Allowance(
        shift=3,
        shift_by_detail=0.025,
        change=5,
        change_by_detail=0.11,
        rise=12,
        rise_by_detail=0.05,
        keep=0.2,
    ),
    frame=Allowance(
        shift=2.3,
        shift_by_detail=0.022,
        change=2.5,
        change_by_detail=0.11,
        rise=4.5,
        rise_by_detail=0.3,
        keep=0.2,
    ),
    sample=117,
)
"""Half as much again as the most that `arcnn-luma` and `fastarcnn-luma`, in fp32, bf16 and int8, did to any of 170,000
tiles of 4,000 frames: camera footage, animation, screens and damaged streams, decoded and coded again by x264 and x265
at QP 22 to 51, photographs as JPEG at quality 1 to 100, text, noise, stripes, fades, letterbox and frames of one value.
Left out is a checkerboard of single black and white samples, which ARCNN wipes out: that is harm."""

RGB_LIMITS = Limits(
    tile=Allowance(
        shift=13,
        shift_by_detail=0.1,
        change=35,
        change_by_detail=0.4,
        rise=34,
        rise_by_detail=0.05,
        keep=0.12,
    ),
    frame=Allowance(
        shift=1.7,
        shift_by_detail=0.055,
        change=6.5,
        change_by_detail=0.37,
        rise=6,
        rise_by_detail=0.25,
        keep=0.12,
    ),
    sample=231,
)
"""The same for `arcnn` and `fastarcnn` and 170,000 tiles of 1,200 frames. Blocks of colour that chroma subsampling and
saturation made are undone by them, for which a channel may change much in a tile."""

_USUAL_CHANGE = {"luma": 1.0, "rgb": 4.75}
"""What the stronger of these models change of the frames that engines are verified on, see `engine.json`:
`verification.mean_change`."""
_WIDEST = 4.0
"""How many times as much a stronger filter may do at most."""

_NOISE = 4.0
"""Detail at 8 bits up to which a tile may become flat: it may have been noise alone."""
_TILES_OF_A_FRAME = 12
_BLACK = 17.0
"""Mean at 8 bits up to which a flat tile is called black."""
_CLIPPED = 1 / 8
"""Share of a tile's samples that have to reach a limit of the code values for it to be called clipped."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The tiles of an array of planes that are not what a filter makes of them."""

    tiles: NDArray[np.bool_]
    """[N, rows, columns] as `tile_spans` divides the planes, with at least one true."""
    reason: str
    """What is wrong with most of them."""

    @property
    def count(self) -> int:
        """How many tiles."""
        return int(self.tiles.sum())

    def boxes(self, height: int, width: int) -> list[Box]:
        """Return the tiles of planes of this size."""
        rows, columns = tile_spans(height), tile_spans(width)
        return [(int(n), slice(*rows[row]), slice(*columns[column])) for n, row, column in np.argwhere(self.tiles)]


def limits_for(manifest: EngineManifest) -> Limits:
    """Return what an engine may do: as much more than the models above as its own model was measured to do."""
    measured = manifest.verification.get("mean_change", 0.0) / _USUAL_CHANGE[manifest.layout]
    limits = LUMA_LIMITS if manifest.layout == "luma" else RGB_LIMITS
    return limits.widened(min(max(measured, 1.0), _WIDEST))


def judge(
    before: Plane, after: Plane, *, bit_depth: int, limits: Limits, seen: TileStatistics | None = None
) -> Verdict | None:
    """Compare the output of a filter with its input.

    Depends on nothing but these two, so that what is decided for a frame is the same however it was computed. Networks
    that compute NaN show it here as well: samples are integers, and NaN becomes one limit of the code values.

    Args:
        before: uint8 or uint16 [N, C, H, W].
        after: the same shape.
        bit_depth: bits a sample.
        limits: what the filter may do.
        seen: the two measured, where they are already.

    Returns:
        The verdict; None where nothing is wrong.
    """
    unit = 2.0 ** (bit_depth - 8)
    seen = seen or tile_statistics(before, after)
    good = np.ones(seen.change[:, 0].shape, bool)
    found = {reason: tiles.any(axis=1) for reason, tiles in _objections(seen, unit, limits.tile).items()}
    # One bad tile must not give the whole frame away: the rest of it is judged without.
    for tiles in found.values():
        good &= ~tiles
    for reason, frames in _objections(seen.averaged(good), unit, limits.frame).items():
        enough = good.sum(axis=(1, 2), keepdims=True) >= _TILES_OF_A_FRAME
        found[reason] = found.get(reason, False) | np.broadcast_to(frames[:, 0] & enough, good.shape)
    if seen.largest_change > limits.sample * unit:
        found["samples changed too much"] = _beyond(before, after, limits.sample * unit).any(axis=1)
    # Of several reasons a tile counts for the first: a black one is shifted too.
    flagged = np.zeros_like(good)
    counts = {}
    for reason, tiles in found.items():
        new = tiles & ~flagged
        counts[reason] = int(new.sum())
        flagged |= new
    if not flagged.any():
        return None
    verdict = Verdict(tiles=flagged, reason=max(counts, key=counts.__getitem__))
    if verdict.reason != "black" and _clipped(before, after, verdict, bit_depth):
        return replace(verdict, reason="clipped")
    return verdict


def _objections(seen: TileStatistics, unit: float, allowed: Allowance) -> dict[str, NDArray[np.bool_]]:
    """Reason -> tiles [N, C, rows, columns]; the reasons that say most come first. Empty where no tile has any."""
    detail = seen.detail_before
    flat = (detail > _NOISE * unit) & (seen.detail_after < allowed.keep * detail)
    shift = np.abs(seen.mean_after - seen.mean_before)
    shifted = shift > allowed.shift * unit + allowed.shift_by_detail * detail
    noisy = seen.detail_after - detail > allowed.rise * unit + allowed.rise_by_detail * detail
    changed = seen.change > allowed.change * unit + allowed.change_by_detail * detail
    if not (flat | shifted | noisy | changed).any():
        return {}
    black = (seen.mean_after < _BLACK * unit) & (seen.detail_after < unit) & (flat | shifted)
    return {
        "black": black,
        "flat": flat & ~black,
        "shifted in brightness": shifted & ~black,
        "noise added": noisy,
        "changed too much": changed,
    }


def _beyond(before: Plane, after: Plane, limit: float) -> NDArray[np.bool_]:
    """Tiles in which any sample differs by more, [N, C, rows, columns]."""
    beyond = np.abs(after.astype(np.int32) - before) > limit
    rows, columns = ([start for start, _ in tile_spans(length)] for length in before.shape[-2:])
    return np.logical_or.reduceat(np.logical_or.reduceat(beyond, rows, axis=2), columns, axis=3)


def _clipped(before: Plane, after: Plane, verdict: Verdict, bit_depth: int) -> bool:
    """Whether in most of the flagged tiles many samples reached a limit of the code values that they had not."""
    peak = 2**bit_depth - 1
    boxes = verdict.boxes(*before.shape[-2:])
    clipped = 0
    for n, rows, columns in boxes:
        old, new = (np.mean((part == 0) | (part == peak)) for part in (x[n, :, rows, columns] for x in (before, after)))
        clipped += bool(new - old > _CLIPPED)
    return 2 * clipped > len(boxes)
