"""The QP of frames whose bitstream tells none, estimated from their samples: AV1, VP9, ProRes, raw video and others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality.strength import TILE, estimate_strength

if TYPE_CHECKING:
    from postfilter.video.frame import Frame

__all__ = ["GivenQp", "QpEstimator", "QpFrom", "check_qp_from", "told_otherwise"]

QpFrom = Literal["auto", "estimated", "blind"] | float
"""What an engine that reads the QP is told: `auto` what the bitstream tells, and an estimate where it tells nothing;
`estimated` always an estimate; `blind` nothing; a number is taken for all frames."""

_EVERY = 8
"""Frames from one estimate to the next: a scene's strength hardly changes, and its mean is what counts."""
_TILES = 24
_FORGET = 0.25
"""Weight of an estimate in the mean, from the fourth of a scene on."""
_HYSTERESIS = 1.0
"""By how much the mean departs from what is told before that changes: a change makes all of a frame be filtered."""
_UNSURE = 6.0
"""Deviation of an estimate from which on it says little: the frame is black, or all sky. Any other is then taken."""
_CUT = 24.0
"""Mean difference to the frame before, in 8-bit code values, that is taken for a scene cut."""
_SPARSE = 16
_LARGEST = 51.0


class QpEstimator:
    """Estimates the QP of frames that follow each other.

    One number a frame, whole, of the mean over the scene so far; a scene cut begins anew. Between the estimates it
    costs a look at every 256th sample.
    """

    source = "estimated"
    """For the record."""

    def __init__(self) -> None:
        self._seen: NDArray[np.float32] | None = None
        self._since = _EVERY
        self._count, self._mean = 0, 0.0
        self._told: float | None = None

    def of(self, frame: Frame) -> NDArray[np.float32]:
        """Return the estimate as `Frame.qp`. To be called with every frame."""
        luma: NDArray[Any] = frame.planes[0][::2] if frame.interlaced else frame.planes[0]
        more_bits = frame.format.bit_depth - 8
        seen = luma[::_SPARSE, ::_SPARSE].astype(np.float32) / 2**more_bits
        if self._seen is not None and seen.shape == self._seen.shape and float(np.abs(seen - self._seen).mean()) > _CUT:
            self._since, self._count = _EVERY, 0
        self._seen = seen
        self._since += 1
        if self._told is None or self._since >= _EVERY:
            self._since = 0
            self._take((luma >> more_bits).astype(np.uint8) if more_bits else luma)
        return np.full(_blocks(frame), self._told, np.float32)

    def _take(self, luma: NDArray[np.uint8]) -> None:
        found = estimate_strength(luma, tiles=_TILES, lattice=False)
        if found.spread > _UNSURE:
            self._told = float(round(found.cautious_qp)) if self._told is None else self._told
            return
        self._count += 1
        self._mean += max(_FORGET, 1 / self._count) * (found.cautious_qp - self._mean)
        if self._told is None or self._count == 1 or abs(self._mean - self._told) > _HYSTERESIS:
            self._told = float(round(self._mean))


class GivenQp:
    """The same QP for all frames.

    Args:
        qp: as H.264 and HEVC count it.
    """

    source = "given"
    """For the record."""

    def __init__(self, qp: float) -> None:
        self._qp = qp

    def of(self, frame: Frame) -> NDArray[np.float32]:
        """Return it as `Frame.qp`."""
        return np.full(_blocks(frame), self._qp, np.float32)


def told_otherwise(qp_from: QpFrom, *, bitstream: bool, side: int) -> QpEstimator | GivenQp | None:
    """Return what tells the QP of frames instead of their bitstream; None where it or nothing does.

    Args:
        qp_from: as asked for.
        bitstream: whether that tells it.
        side: the shorter one of a frame in samples. Less than two tiles, of which fields have one, tell nothing.

    Raises:
        InputError: see `check_qp_from`.
    """
    check_qp_from(qp_from)
    if isinstance(qp_from, (int, float)):
        return GivenQp(qp_from)
    wanted = qp_from == "estimated" or (qp_from == "auto" and not bitstream)
    return QpEstimator() if wanted and side >= 2 * TILE else None


def check_qp_from(qp_from: QpFrom) -> None:
    """Refuse what no QP can be taken from.

    Raises:
        InputError: another word, or a number outside 0..51.
    """
    known = 0 <= qp_from <= _LARGEST if isinstance(qp_from, (int, float)) else qp_from in ("auto", "estimated", "blind")
    if not known:
        raise InputError(f"got the QP {qp_from!r}; give auto, estimated, blind, or a number of 0 to {_LARGEST:g}")


def _blocks(frame: Frame) -> tuple[int, int]:
    return -(-frame.height // 16), -(-frame.width // 16)
