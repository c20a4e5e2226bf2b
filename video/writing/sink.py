"""What takes filtered frames: the contract, and the sink that only counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from av import Packet, VideoFrame

__all__ = ["NOTHING", "ClipSink", "NullSink", "Sink"]

NOTHING: Mapping[str, float] = MappingProxyType({})
"""Counted in a frame."""


class Sink(Protocol):
    """What takes the pipeline's output. Used by one thread at a time."""

    frames_written: int

    def write_frame(self, frame: VideoFrame) -> None:
        """Take a filtered frame."""
        ...

    def write_packet(self, packet: Packet[Any]) -> None:
        """Take a packet of a track that is copied."""
        ...

    def finish(self) -> None:
        """Write what is left. Nothing may be given after this."""
        ...

    def commit(self) -> None:
        """Make the finished output visible under its name."""
        ...

    def discard(self) -> None:
        """Leave nothing behind that was not committed."""
        ...


class ClipSink(Sink, Protocol):
    """A sink for a whole clip, of which an earlier run may have done a part."""

    frames_done: int
    """Of the clip's first frames, by an earlier run: they are not to be given again, and count as written."""

    @property
    def counts(self) -> Mapping[str, float]:
        """Sums of what was counted in the frames, by earlier runs too."""
        ...

    def write_frame(self, frame: VideoFrame, counts: Mapping[str, float] = NOTHING) -> None:
        """Take a filtered frame, and what was counted in it."""
        ...

    def finish(self, *, partial: bool = False) -> None:
        """Write what is left; nothing may be given after this. `partial`: there would have been more."""
        ...

    def commit_partial(self) -> Path | None:
        """Make the finished output visible as a part of what it was to be; return its path, None if there is none."""
        ...

    def discard(self, *, keep: bool = False) -> None:
        """Leave nothing behind that was not committed; `keep` what another run can go on from."""
        ...


class NullSink:
    """Counts frames and forgets them: measures decoding and filtering alone."""

    def __init__(self) -> None:
        self.frames_done = self.frames_written = 0
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[str, float]:
        """Sums of what was counted in the frames."""
        return self._counts

    def write_frame(self, frame: VideoFrame, counts: Mapping[str, float] = NOTHING) -> None:
        """Count a frame."""
        self.frames_written += 1
        self._counts.update(counts)

    def write_packet(self, packet: Packet[Any]) -> None:
        """Do nothing."""

    def finish(self, *, partial: bool = False) -> None:
        """Do nothing."""

    def commit(self) -> None:
        """Do nothing."""

    def commit_partial(self) -> None:
        """Do nothing."""

    def discard(self, *, keep: bool = False) -> None:
        """Do nothing."""
