"""The quantization tables of JPEG: libjpeg's by quality, and those of a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["JpegTable", "luma_table", "table_of_file"]

_LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""ITU-T T.81, table K.1."""
_START, _TABLES, _SCAN = b"\xff\xd8", 0xDB, 0xDA


@dataclass(frozen=True, kw_only=True)
class JpegTable:
    """The table of luma of a JPEG file."""

    steps: NDArray[np.int64]
    """[8, 8], in the order of frequencies."""
    quality: int
    """The quality of libjpeg with the nearest table, 1..100."""
    exact: bool
    """Whether it has that very table; cameras and Photoshop have their own."""


def luma_table(quality: int) -> NDArray[np.int64]:
    """Return libjpeg's quantization steps of luma, [8, 8], at a quality of 1..100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((_LUMA * scale + 50) // 100, 1, 255)


def table_of_file(data: bytes) -> JpegTable | None:
    """Return the table of luma of a JPEG file's content; None where it is no JPEG, or cut short (ITU-T T.81, B.2.4.1).

    Where there are several, luma's is table 0, as in every JFIF file that is known.
    """
    if not data.startswith(_START):
        return None
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _SCAN:
        if data[place + 1] == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == _TABLES and (steps := _first_table(data[place + 4 : end])) is not None:
            distances = [float(np.abs(np.log(steps / luma_table(each))).mean()) for each in range(1, 101)]
            best = int(np.argmin(distances[::-1]))  # of those that are equal the highest
            return JpegTable(steps=steps, quality=100 - best, exact=min(distances) == 0)
        place = end
    return None


def _first_table(segment: bytes) -> NDArray[np.int64] | None:
    """Return table 0 of a segment that may hold several."""
    place = 0
    while place < len(segment):
        wide, number = segment[place] >> 4, segment[place] & 15
        size = 128 if wide else 64
        if len(segment) < place + 1 + size:
            return None
        if number == 0:
            values = np.frombuffer(segment, ">u2" if wide else "u1", 64, place + 1).astype(np.int64)
            steps = np.empty(64, np.int64)
            steps[_zigzag()] = values
            return np.maximum(steps, 1).reshape(8, 8)
        place += 1 + size
    return None


def _zigzag() -> NDArray[np.intp]:
    """Place in a table, row by row, of each value as it is written (ITU-T T.81, figure A.6)."""
    y, x = np.divmod(np.arange(64), 8)
    # Along diagonals, of which the even ones run upwards.
    return np.lexsort((np.where((x + y) % 2, y, x), x + y))
