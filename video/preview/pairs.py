"""Pictures for viewers: made only while somebody waits for one, in a thread of its own, at a bounded cost."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from postfilter.video.pages.display import Picture, shown_shape, to_display

if TYPE_CHECKING:
    from postfilter.video.frame import Frame
    from postfilter.video.record import FrameRecord

__all__ = ["EncodedPair", "Pairs"]

_SECONDS_BETWEEN = 1 / 8
_SHARE = 1 / 5
"""Of one core, the most that converting and encoding may take."""
_LONGEST = 1280
"""Larger frames are scaled down to this many samples on their longer side."""
_BLOCK = 16
"""The second picture starts at a multiple of it, so that no JPEG block holds samples of both."""
_JPEG = (
    cv2.IMWRITE_JPEG_QUALITY,
    92,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPair:
    """One frame before and after, in one picture, so that the two cannot come apart."""

    number: int
    """Counts the pairs made."""
    index: int
    """The frame's."""
    pts_seconds: float
    width: int
    height: int
    """Of either picture."""
    shape: float
    """Width over height of the frame as it is shown."""
    offset: int
    """The row at which the filtered picture starts; the decoded one starts at 0."""
    data: bytes
    """JPEG."""


class Pairs:
    """Takes frames from the thread that filters and gives pictures to those that serve viewers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting = 0
        self._free_at = 0.0
        self._slot: tuple[FrameRecord, Frame, Frame] | None = None
        self._latest: EncodedPair | None = None
        self._made = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="postfilter-preview-pictures", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> EncodedPair | None:
        """The pair made last."""
        return self._latest

    def offer(self, record: FrameRecord, decoded: Frame, filtered: Frame) -> None:
        """Take a copy of a frame where a viewer waits and the encoder is free; else return at once."""
        if not self._waiting or self._slot is not None or time.monotonic() < self._free_at:
            return
        kept = (record, decoded.copy(), filtered.copy())
        with self._changed:
            self._slot = kept
            self._changed.notify_all()

    def after(self, number: int, *, timeout_seconds: float) -> EncodedPair | None:
        """Return the newest pair once it is newer than `number`; None where none comes in time or any more."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._closed or self._made > number, timeout_seconds)
            finally:
                self._waiting -= 1
            newest = self._latest
            return newest if newest is not None and newest.number > number else None

    def close(self) -> None:
        """End the thread and let all who wait go; the latest pair stays."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._slot is not None)
                if self._slot is None:
                    return
                kept = self._slot
            started = time.monotonic()
            made = _encoded(self._made + 1, *kept)
            spent = time.monotonic() - started
            with self._changed:
                self._latest, self._made = made, made.number
                self._free_at = started + max(_SECONDS_BETWEEN, spent / _SHARE)
                self._slot = None
                self._changed.notify_all()


def _encoded(number: int, record: FrameRecord, decoded: Frame, filtered: Frame) -> EncodedPair:
    before, after = (to_display(each, longest=_LONGEST) for each in (decoded, filtered))
    height, width = before.shape[:2]
    offset = -(-height // _BLOCK) * _BLOCK
    both: Picture = np.empty((offset + height, width, 3), np.uint8)
    both[:height], both[height:offset], both[offset:] = before, before[-1:], after
    _, data = cv2.imencode(".jpg", both[..., ::-1], _JPEG)
    return EncodedPair(
        number=number,
        index=record.index,
        pts_seconds=record.pts_seconds,
        width=width,
        height=height,
        shape=shown_shape(decoded),
        offset=offset,
        data=data.tobytes(),
    )
