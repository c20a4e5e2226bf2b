"""Whether a file ends before its own index says: a demuxer takes that for a normal, earlier end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["bytes_missing"]

_LAST_ENTRIES = 64
"""Of each track's index: samples lie in the file about in the order of time."""
_SEGMENT = b"\x18\x53\x80\x67"


def bytes_missing(container: Any, path: Path) -> int:
    """Return by how many bytes an MP4, QuickTime or Matroska file is shorter than it tells; 0 where it is whole.

    Args:
        container: the opened file.
        path: the same.
    """
    told = _end_of_index(container) if "mov" in container.format.name else None
    if "matroska" in container.format.name:
        told = _end_of_segment(path)
    return max(0, (told or 0) - path.stat().st_size)


def _end_of_index(container: Any) -> int:
    ends = [0]
    for stream in container.streams:
        entries = getattr(stream, "index_entries", ())
        for position in range(max(0, len(entries) - _LAST_ENTRIES), len(entries)):
            entry = entries[position]
            ends.append(entry.pos + entry.size)
    return max(ends)


def _end_of_segment(path: Path) -> int | None:
    """Where Matroska's one Segment ends; None where its size is left open, as in live recordings (RFC 8794, 6)."""
    with path.open("rb") as file:
        head = file.read(4096)
    start = head.find(_SEGMENT) + len(_SEGMENT)
    if start < len(_SEGMENT) or start + 8 > len(head) or not head[start]:
        return None
    length = 9 - head[start].bit_length()
    value = int.from_bytes(head[start : start + length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else start + length + value
