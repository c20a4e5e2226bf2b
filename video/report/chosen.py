"""Which frames are shown: the highest scores, spread over a clip whose length nobody knows beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postfilter.video.frame import Frame
    from postfilter.video.record import FrameRecord

__all__ = ["Kept", "Spread"]

_FIRST_SEGMENT = 8
"""Frames; doubled as the clip goes on."""
_WORTH_A_COPY = 1.02
"""A frame replaces its segment's best only where it is this much better: slow rises do not copy every frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A frame that may be shown, with memory of its own."""

    record: FrameRecord
    decoded: Frame
    filtered: Frame


class Spread:
    """Keeps the best frame of each segment of the clip.

    When there are too many segments, neighbours are merged and the better frame of each pair stays: memory is bounded
    and the frames that stay are never neighbours of one burst.

    Args:
        segments: the most that are kept, an even number.
    """

    def __init__(self, segments: int) -> None:
        self._best: dict[int, tuple[float, Kept]] = {}
        self._segments, self._length = segments, _FIRST_SEGMENT

    def offer(self, index: int, score: float, keep: Callable[[], Kept]) -> None:
        """Look at a frame; `keep` copies it and is called only where it is the best so far of its segment.

        Args:
            index: of the frame, in order.
            score: the more the better, above zero for what is worth showing.
            keep: returns the frame with memory of its own.
        """
        if score <= 0:
            return
        while index >= self._segments * self._length:
            self._merge()
        held = self._best.get(index // self._length)
        if held is None or score > held[0] * _WORTH_A_COPY:
            self._best[index // self._length] = score, keep()

    def chosen(self, count: int) -> list[Kept]:
        """Return the `count` best, best first; of two that are closer than half a segment only the better."""
        taken: list[Kept] = []
        for _, kept in sorted(self._best.values(), key=lambda each: -each[0]):
            if all(abs(kept.record.index - other.record.index) > self._length // 2 for other in taken):
                taken.append(kept)
        return taken[:count]

    def _merge(self) -> None:
        merged: dict[int, tuple[float, Kept]] = {}
        for segment, held in self._best.items():
            other = merged.get(segment // 2)
            if other is None or held[0] > other[0]:
                merged[segment // 2] = held
        self._best, self._length = merged, 2 * self._length
