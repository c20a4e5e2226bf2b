"""Parameter sets of HEVC: what of them it takes to read a slice header. ITU-T H.265 (V10) 7.3.2 and 7.3.7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from postfilter.video.reading.bits import BitReader

__all__ = ["PictureSet", "ReferencePictures", "SequenceSet", "read_picture_set", "read_references", "read_sequence_set"]

ReferencePictures = tuple[tuple[int, bool], ...]
"""A short-term reference picture set: (distance in picture order, whether the current picture uses it); first those
before it, then those after, each the nearest first."""

_MOST_SETS = 64
_LONGEST_SIDE = 1 << 15
"""Level 6.2 allows 33776 samples in a picture of next to no height; what is longer is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSet:
    """A sequence parameter set."""

    chroma: bool
    """Whether chroma is coded with luma (ChromaArrayType is not 0)."""
    separate_planes: bool
    width: int
    """Of the coded picture in samples, as `height`."""
    height: int
    left: int
    """Samples cropped away before the first that is shown, as `top`."""
    top: int
    ctb: int
    """Side of a coding tree block in samples."""
    order_bits: int
    """Bits of a picture's order count in a slice header."""
    references: tuple[ReferencePictures, ...]
    long_term: bool
    long_term_used: tuple[bool, ...]
    """For each long-term reference of the set, whether it is used."""
    temporal_motion: bool
    sample_adaptive_offset: bool

    @property
    def blocks(self) -> tuple[int, int]:
        """(columns, rows) of coding tree blocks."""
        return -(-self.width // self.ctb), -(-self.height // self.ctb)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """A picture parameter set."""

    sequence: int
    dependent_segments: bool
    output_flag: bool
    extra_bits: int
    cabac_init: bool
    active: tuple[int, int]
    """Reference pictures of each list, where the slice names no other number."""
    qp: int
    """26 + init_qp_minus26."""
    weighted: tuple[bool, bool]
    """Whether P and B slices have weights."""
    modified_lists: bool
    tile_columns: tuple[int, ...] | int
    """Widths of all but the last column of tiles in coding tree blocks, or how many columns of equal width there are;
    the same of rows."""
    tile_rows: tuple[int, ...] | int
    screen_content: bool
    """Whether the extension for screen content is there, which changes slice headers."""

    def scan(self, columns: int, rows: int) -> NDArray[np.intp]:
        """Return the raster address of each coding tree block in the order of coding: 6.5.1.

        Raises:
            EOFError: the tiles do not fit the picture.
        """
        raster = np.arange(columns * rows).reshape(rows, columns)
        across, down = _bounds(self.tile_columns, columns), _bounds(self.tile_rows, rows)
        order = np.concatenate(
            [raster[top:bottom, left:right].ravel() for top, bottom in down for left, right in across]
        )
        if len(order) != raster.size:
            raise EOFError("the tiles do not cover the picture once")
        return order


def read_sequence_set(payload: bytes) -> tuple[int, SequenceSet]:
    """Return the number and the content of a sequence parameter set: 7.3.2.2.

    Args:
        payload: what follows the NAL unit's header, without emulation prevention.

    Raises:
        EOFError: it is cut short or damaged.
    """
    bits = BitReader(payload)
    bits.skip(4)
    sub_layers = bits.u(3)
    bits.skip(1)
    _skip_profile(bits, sub_layers)
    number = bits.ue()
    chroma_format = bits.ue()
    separate = chroma_format == 3 and bits.flag()
    width, height = bits.ue(), bits.ue()
    left = top = 0
    if bits.flag():  # the conformance window, in units of chroma samples
        left, _, top, _ = (bits.ue() for _ in range(4))
        left *= 2 if chroma_format in (1, 2) else 1
        top *= 2 if chroma_format == 1 else 1
    bits.ue(), bits.ue()  # bit depths
    order_bits = bits.ue() + 4
    for _ in range(sub_layers + 1 if bits.flag() else 1):
        bits.ue(), bits.ue(), bits.ue()
    ctb = 1 << (bits.ue() + 3 + bits.ue())
    if not 16 <= ctb <= 64 or not left < width <= _LONGEST_SIDE or not top < height <= _LONGEST_SIDE:
        raise EOFError("no sequence parameter set")
    for _ in range(4):  # sizes and depths of transform blocks
        bits.ue()
    if bits.flag() and bits.flag():
        _skip_scaling_lists(bits)
    bits.skip(1)
    offset = bits.flag()
    if bits.flag():  # PCM
        bits.skip(8)
        bits.ue(), bits.ue()
        bits.skip(1)
    count = bits.ue()
    if count > _MOST_SETS:
        raise EOFError("no sequence parameter set")
    references: list[ReferencePictures] = []
    for index in range(count):
        references.append(read_references(bits, references, index=index, count=count))
    long_term, used = bits.flag(), []
    if long_term:
        for _ in range(bits.ue()):
            bits.skip(order_bits)
            used.append(bits.flag())
    return number, SequenceSet(
        chroma=chroma_format != 0 and not separate,
        separate_planes=separate,
        width=width,
        height=height,
        left=left,
        top=top,
        ctb=ctb,
        order_bits=order_bits,
        references=tuple(references),
        long_term=long_term,
        long_term_used=tuple(used),
        temporal_motion=bits.flag(),
        sample_adaptive_offset=offset,
    )


def read_picture_set(payload: bytes) -> tuple[int, PictureSet]:
    """Return the number and the content of a picture parameter set: 7.3.2.3.

    Args:
        payload: as for `read_sequence_set`.

    Raises:
        EOFError: it is cut short or damaged.
    """
    bits = BitReader(payload)
    number, sequence = bits.ue(), bits.ue()
    dependent, output, extra = bits.flag(), bits.flag(), bits.u(3)
    bits.skip(1)
    cabac_init = bits.flag()
    active = (bits.ue() + 1, bits.ue() + 1)
    qp = 26 + bits.se()
    bits.skip(2)
    if bits.flag():
        bits.ue()
    bits.se(), bits.se()
    bits.skip(1)
    weighted = (bits.flag(), bits.flag())
    bits.skip(1)
    tiles = bits.flag()
    bits.skip(1)
    columns: tuple[int, ...] | int = 1
    rows: tuple[int, ...] | int = 1
    if tiles:
        columns, rows = bits.ue() + 1, bits.ue() + 1
        if columns > 64 or rows > 64:
            raise EOFError("no picture parameter set")
        if not bits.flag():
            columns = tuple(bits.ue() + 1 for _ in range(columns - 1))
            rows = tuple(bits.ue() + 1 for _ in range(rows - 1))
        bits.skip(1)
    bits.skip(1)
    if bits.flag():  # deblocking
        bits.skip(1)
        if not bits.flag():
            bits.se(), bits.se()
    if bits.flag():
        _skip_scaling_lists(bits)
    modified = bits.flag()
    bits.ue()
    bits.skip(1)
    extensions = bits.u(8) if bits.flag() else 0
    return number, PictureSet(
        sequence=sequence,
        dependent_segments=dependent,
        output_flag=output,
        extra_bits=extra,
        cabac_init=cabac_init,
        active=active,
        qp=qp,
        weighted=weighted,
        modified_lists=modified,
        tile_columns=columns,
        tile_rows=rows,
        screen_content=bool(extensions & 0x10),
    )


def read_references(
    bits: BitReader, known: Sequence[ReferencePictures], *, index: int, count: int
) -> ReferencePictures:
    """Return a short-term reference picture set: 7.3.7, and 7.4.8 for one that is predicted from another.

    Args:
        bits: at its first bit.
        known: those of the sequence before it.
        index: its number; `count` in a slice header.
        count: how many the sequence has.
    """
    if index and bits.flag():
        back = bits.ue() + 1 if index == count else 1
        below, distance = bits.flag(), bits.ue() + 1
        distance = -distance if below else distance
        if back > index:
            raise EOFError("a reference picture set is predicted from none")
        found = []
        for each in (*(delta for delta, _ in known[index - back]), 0):
            used = bits.flag()
            if (used or bits.flag()) and each + distance:
                found.append((each + distance, used))
    else:
        before, after = bits.ue(), bits.ue()
        if before + after > 32:
            raise EOFError("no reference picture set")
        found = []
        for number, sign in ((before, -1), (after, 1)):
            at = 0
            for _ in range(number):
                at += sign * (bits.ue() + 1)
                found.append((at, bits.flag()))
    return tuple(sorted(found, key=lambda each: (each[0] > 0, abs(each[0]))))


def _skip_profile(bits: BitReader, sub_layers: int) -> None:
    """profile_tier_level: 7.3.3."""
    bits.skip(96)
    present = [(bits.flag(), bits.flag()) for _ in range(sub_layers)]
    if sub_layers:
        bits.skip(2 * (8 - sub_layers))
    for profile, level in present:
        bits.skip(88 * profile + 8 * level)


def _skip_scaling_lists(bits: BitReader) -> None:
    """scaling_list_data: 7.3.4."""
    for size in range(4):
        for _ in range(2 if size == 3 else 6):
            if not bits.flag():
                bits.ue()
                continue
            if size > 1:
                bits.se()
            for _ in range(min(64, 16 << (2 * size))):
                bits.se()


def _bounds(tiles: tuple[int, ...] | int, blocks: int) -> list[tuple[int, int]]:
    """(first, end) of each column or row of tiles, in coding tree blocks: 6.5.1."""
    if isinstance(tiles, int):
        edges = [index * blocks // tiles for index in range(tiles + 1)]
    else:
        edges = [0, *np.cumsum(tiles).tolist(), blocks]
    return list(pairwise(edges))
