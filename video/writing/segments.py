"""Segments of the encoded track on disk: packets as the encoder gave them, from one fresh encoder to the next.

A file holds the bytes of all packets end to end, then a table of them as NumPy writes it. No container is used: those
that FFmpeg writes keep times in a clock of their own, leave out durations, or take decoding times from the reordering.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av import Packet
from av.video.stream import VideoStream

__all__ = ["Segment", "SegmentWriter", "is_whole", "presentation_times", "read_segment"]

_COLUMNS = 5
"""Of the table, int64: size in bytes, presentation time, decoding time, duration (ticks), and 1 for a key frame."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What is known of a complete segment."""

    frames: int
    first_pts: int
    """In ticks of the encoder's clock, of the frame shown first."""
    last_pts: int
    packet_bytes: int
    """Of all packets; the table begins behind them."""
    sha256: str
    """Of the whole file."""
    counts: dict[str, float] = field(default_factory=dict)
    """Sums over all frames from the track's first to this segment's last."""


class SegmentWriter:
    """Writes the packets of one segment.

    Args:
        path: the file to be; what is there is replaced.

    Raises:
        OSError: it cannot be written; so do the methods.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._table: list[tuple[int, int, int, int, int]] = []

    def add(self, packet: Packet[VideoStream]) -> None:
        """Append a packet, in coding order."""
        data = memoryview(packet)
        self._file.write(data)
        self._digest.update(data)
        pts, dts = packet.pts or 0, packet.dts if packet.dts is not None else packet.pts or 0
        self._table.append((data.nbytes, pts, dts, packet.duration or 0, int(packet.is_keyframe)))

    def complete(self, counts: Mapping[str, float]) -> Segment:
        """Write the table and see to it that the disk has all of it; `counts` are the sums up to the last frame."""
        size = self._file.tell()
        table = np.array(self._table, np.int64).reshape(-1, _COLUMNS)
        written = io.BytesIO()
        np.save(written, table, allow_pickle=False)
        self._file.write(written.getbuffer())
        self._digest.update(written.getbuffer())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Segment(
            frames=len(table),
            first_pts=int(table[:, 1].min()),
            last_pts=int(table[:, 1].max()),
            packet_bytes=size,
            sha256=self._digest.hexdigest(),
            counts=dict(counts),
        )

    def abandon(self) -> None:
        """Close and delete the file; nothing where it is complete."""
        if not self._file.closed:
            with suppress(OSError):  # what is still in the buffer may find no room
                self._file.close()
            self._path.unlink(missing_ok=True)


def is_whole(path: Path, segment: Segment) -> bool:
    """Return whether the file is byte for byte what was written."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == segment.sha256


def presentation_times(path: Path, segment: Segment) -> list[int]:
    """Return when the frames of a segment are shown, increasing, in ticks."""
    return sorted(_table(path, segment)[:, 1].tolist())


def read_segment(path: Path, segment: Segment) -> Iterator[Packet[VideoStream]]:
    """Yield the packets of a segment, one at a time, as the encoder gave them; they belong to no track yet."""
    with path.open("rb") as file:
        for size, pts, dts, duration, is_keyframe in _table(path, segment).tolist():
            packet: Packet[VideoStream] = av.Packet(size)  # type: ignore[assignment]  # has room behind its end
            packet.update(file.read(size))
            packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts, dts, duration, bool(is_keyframe)
            yield packet


def _table(path: Path, segment: Segment) -> np.typing.NDArray[np.int64]:
    with path.open("rb") as file:
        file.seek(segment.packet_bytes)
        table: np.typing.NDArray[np.int64] = np.load(file, allow_pickle=False)
    return table
