"""Bits and NAL units of ITU-T H.264 and H.265 bitstreams."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["BitReader", "annex_b_units", "prefixed_units", "unescaped"]


class BitReader:
    """Reads the fields of a header, bit by bit, the highest bit first.

    Args:
        data: the payload, without emulation prevention (`unescaped`).

    Every method raises EOFError where the payload ends before the field.
    """

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def u(self, count: int) -> int:
        """Return an unsigned number of `count` bits; the standards call it u."""
        if count > self._left:
            raise EOFError("the header ends early")
        self._left -= count
        return (self._bits >> self._left) & ((1 << count) - 1)

    def flag(self) -> bool:
        """Return one bit."""
        return self.u(1) == 1

    def ue(self) -> int:
        """Return an unsigned Exp-Golomb number, H.265 9.2."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        if zeros > 32:
            raise EOFError("no number of a header is that long")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Return a signed Exp-Golomb number, H.265 9.2.2."""
        value = self.ue()
        return (value + 1) // 2 if value % 2 else -(value // 2)

    def skip(self, count: int) -> None:
        """Pass over `count` bits."""
        self.u(count)


def unescaped(data: bytes) -> bytes:
    """Return the payload without its emulation prevention bytes: H.265 7.3.1.1."""
    return data.replace(b"\0\0\3", b"\0\0")


def annex_b_units(data: bytes) -> Iterator[bytes]:
    """Yield the NAL units of a byte stream, which start codes separate: H.265 annex B."""
    start = data.find(b"\0\0\1")
    while start >= 0:
        following = data.find(b"\0\0\1", start + 3)
        unit = data[start + 3 : following if following >= 0 else len(data)]
        if unit:
            yield unit
        start = following


def prefixed_units(data: bytes, *, length_bytes: int) -> Iterator[bytes]:
    """Yield the NAL units of a sample of MP4 or Matroska, each behind its length: ISO/IEC 14496-15."""
    at = 0
    while at + length_bytes <= len(data):
        size = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        if size:
            yield data[at : at + size]
        at += size
