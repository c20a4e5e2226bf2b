"""Whether a file ends before its own index says: a demuxer takes that for a normal, earlier end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from postfilter.errors import InputError

__all__ = ["check_whole"]

_LAST_ENTRIES = 64
"""Of each track's index: samples lie in the file about in the order of time."""
_SEGMENT = b"\x18\x53\x80\x67"


def check_whole(container: Any, path: Path) -> None:
    """Refuse an MP4, QuickTime or Matroska file of which the end is missing.

    Args:
        container: the opened file.
        path: the same.

    Raises:
        InputError: the file is shorter than it tells.
    """
    size = path.stat().st_size
    told = _end_of_index(container) if "mov" in container.format.name else None
    if "matroska" in container.format.name:
        told = _end_of_segment(path)
    if told is not None and told > size:
        raise InputError(
            f"{path} is cut short: it tells of {told} bytes and has {size}; get the whole file, or keep what is there "
            "with ffmpeg -c copy"
        )


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
