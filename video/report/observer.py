"""What the report keeps of a clip while it is filtered: curves, events and the frames worth showing."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postfilter.video.report.chosen import Kept, Spread
from postfilter.video.report.curve import Curve

if TYPE_CHECKING:
    from postfilter.video.frame import Frame
    from postfilter.video.record import FrameRecord

__all__ = ["Event", "ReportObserver", "Shown"]

_MEMORY_BYTES = 128 << 20
"""For the frames kept, all together; at least two segments of each kind are."""
_SEGMENTS = 8
_EVENTS = 200
"""The first ones; the rest are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something the guard objected to."""

    index: int
    pts_seconds: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A frame that the report shows, and why."""

    kept: Kept
    reasons: tuple[str, ...]
    """`largest improvement`, `largest change`, or both."""


class ReportObserver:
    """Sees every frame of a clip and remembers what the report needs, in bounded memory.

    Most frames cost some microseconds; few are copied (about `log2` of the clip's length for each segment kept).
    """

    def __init__(self) -> None:
        self.frames = 0
        self.seconds = 0.0
        """Presentation time of the last frame."""
        self.curves: dict[str, Curve] = {}
        """By name: `filter_ms`, `latency_ms`, `change`, `delta_psnr_db`, `qp`, `reused_percent`, `skipped_percent`."""
        self.events: list[Event] = []
        self.events_total = 0
        self._improved: Spread | None = None
        self._changed: Spread | None = None

    def see(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
        """Look at a frame; see `video.record.Observer`."""
        self.frames += 1
        self.seconds = max(self.seconds, record.pts_seconds)
        self._draw(record)
        if record.guard is not None:
            self.events_total += 1
            if len(self.events) < _EVENTS:
                self.events.append(Event(index=record.index, pts_seconds=record.pts_seconds, text=record.guard))
        self._consider(record, decoded, filtered)

    def shown(self, count: int = 6) -> list[Shown]:
        """Return at most `count` frames to show: improvements first, then changes, each from the largest down."""
        improved = self._improved.chosen(count // 2) if self._improved else []
        reasons: dict[int, tuple[Kept, tuple[str, ...]]] = {
            each.record.index: (each, ("largest improvement",)) for each in improved
        }
        for each in self._changed.chosen(count) if self._changed else []:
            index = each.record.index
            if index in reasons:
                reasons[index] = (reasons[index][0], (*reasons[index][1], "largest change"))
            elif len(reasons) < count:
                reasons[index] = (each, ("largest change",))
        return [Shown(kept=kept, reasons=why) for kept, why in reasons.values()]

    def _draw(self, record: FrameRecord) -> None:
        self._add("filter_ms", record.index, record.filter_ms)
        self._add("change", record.index, record.change)
        if record.latency_ms is not None:
            self._add("latency_ms", record.index, record.latency_ms)
        if record.qp is not None:
            self._add("qp", record.index, record.qp)
        delta = _improvement(record)
        if delta is not None:
            self._add("delta_psnr_db", record.index, delta)
        if record.tiles:
            self._add("reused_percent", record.index, 100 * record.tiles_reused / record.tiles)
            self._add("skipped_percent", record.index, 100 * record.tiles_skipped / record.tiles)

    def _add(self, name: str, frame: int, value: float) -> None:
        if not math.isfinite(value):
            return
        if name not in self.curves:
            self.curves[name] = Curve()
        self.curves[name].add(frame, value)

    def _consider(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
        if self._changed is None:
            pair = sum(each.nbytes for frame in (decoded, filtered) for each in frame.planes)
            segments = max(2, min(_SEGMENTS, _MEMORY_BYTES // (2 * pair) // 2 * 2))
            self._improved, self._changed = Spread(segments), Spread(segments)
        copy: Kept | None = None

        def keep() -> Kept:
            nonlocal copy
            if copy is None:
                copy = Kept(record=dataclasses.replace(record), decoded=decoded.copy(), filtered=filtered.copy())
            return copy

        self._changed.offer(record.index, record.change, keep)
        delta = _improvement(record)
        if delta is not None and self._improved is not None:
            self._improved.offer(record.index, delta, keep)


def _improvement(record: FrameRecord) -> float | None:
    if record.psnr_decoded is None or record.psnr_filtered is None:
        return None
    return record.psnr_filtered - record.psnr_decoded
