"""Whether a file that gives no picture is encrypted."""

from __future__ import annotations

from pathlib import Path

__all__ = ["is_encrypted"]

_MARKS = (b"encv", b"pssh")
"""Sample entry of encrypted video and key box of MP4 (ISO/IEC 23001-7)."""
_LOOKED_AT = 1 << 20


def is_encrypted(path: Path) -> bool:
    """Return whether the head of an MP4 or QuickTime file tells of encrypted video, as common encryption marks it."""
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
    return b"ftyp" in head[:64] and any(mark in head for mark in _MARKS)
