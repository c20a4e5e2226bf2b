"""The QP of HEVC pictures, from their slice headers: FFmpeg's decoder does not tell it. ITU-T H.265 7.3.6.1.

What is read is SliceQpY = 26 + init_qp_minus26 + slice_qp_delta. An encoder may change it from block to block
(cu_qp_delta), for adaptive quantisation for instance: that is arithmetic-coded with the samples and is not read, so the
QP of a block is that of its slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postfilter.video.reading.bits import BitReader, annex_b_units, prefixed_units, unescaped
from postfilter.video.reading.hevc_sets import (
    PictureSet,
    SequenceSet,
    read_picture_set,
    read_references,
    read_sequence_set,
)

__all__ = ["HevcQp"]

_SEQUENCE_SET, _PICTURE_SET = 33, 34
_IDR = (19, 20)
_B, _P, _I = range(3)
_HEADER_BYTES = 600
"""More than a slice header takes up to its QP; what follows need not be searched for emulation prevention."""


@dataclass(frozen=True, slots=True)
class _Slice:
    picture: PictureSet
    sequence: SequenceSet
    address: int
    qp: int


class HevcQp:
    """Reads the QP of each picture of one track, packet by packet in the order of decoding.

    Args:
        extradata: the track's parameter sets, as a container has them: an `hvcC` record, or a byte stream.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._sequences: dict[int, SequenceSet] = {}
        self._pictures: dict[int, PictureSet] = {}
        self._length_bytes = 0
        """Of the length before each NAL unit; 0 in a byte stream."""
        self.take_extradata(extradata or b"")

    def take_extradata(self, extradata: bytes) -> None:
        """Read parameter sets that stand outside the packets; see the class."""
        if len(extradata) > 22 and extradata[0] == 1:
            self._length_bytes = (extradata[21] & 3) + 1
            units = _record_units(extradata)
        else:
            units = annex_b_units(extradata)
        for unit in units:
            self._take_set(unit)

    def blocks(self, packet: bytes) -> NDArray[np.float32] | None:
        """Return the QP of each 16x16 block of a packet's picture, float32 [ceil(H / 16), ceil(W / 16)].

        H and W are those of the decoded frame, or a little more. At 8 bits QP is in 0..51; it goes down to -6 for each
        bit more. None where the packet holds no slice header that can be read.
        """
        units = prefixed_units(packet, length_bytes=self._length_bytes) if self._length_bytes else annex_b_units(packet)
        slices: list[_Slice] = []
        for unit in units:
            if len(unit) < 3 or (unit[0] & 1) << 5 | unit[1] >> 3:
                continue  # of another layer: a second view, or more detail
            kind = unit[0] >> 1 & 0x3F
            if kind <= 9 or 16 <= kind <= 21:
                try:
                    found = self._read_slice(BitReader(unescaped(unit[2:_HEADER_BYTES])), kind)
                except (EOFError, KeyError, IndexError):
                    continue
                if found is not None:
                    slices.append(found)
            else:
                self._take_set(unit)
        try:
            return _spread(slices) if slices else None
        except EOFError:
            return None

    def _take_set(self, unit: bytes) -> None:
        if len(unit) < 3 or (unit[0] & 1) << 5 | unit[1] >> 3:
            return
        kind, payload = unit[0] >> 1 & 0x3F, unescaped(unit[2:])
        try:
            if kind == _SEQUENCE_SET:
                number, sequence = read_sequence_set(payload)
                self._sequences[number] = sequence
            elif kind == _PICTURE_SET:
                number, picture = read_picture_set(payload)
                self._pictures[number] = picture
        except (EOFError, IndexError):
            return  # the decoder has it no better: its slices cannot be read

    def _read_slice(self, bits: BitReader, kind: int) -> _Slice | None:
        """Read a slice segment's header up to its QP; None of a dependent one, whose QP is the one before's."""
        first = bits.flag()
        if 16 <= kind <= 23:
            bits.skip(1)
        picture = self._pictures[bits.ue()]
        sequence = self._sequences[picture.sequence]
        if picture.screen_content:
            return None
        address = 0
        if not first:
            dependent = picture.dependent_segments and bits.flag()
            columns, rows = sequence.blocks
            address = bits.u((columns * rows - 1).bit_length())
            if dependent:
                return None
        bits.skip(picture.extra_bits)
        slice_type = bits.ue()
        if picture.output_flag:
            bits.skip(1)
        if sequence.separate_planes:
            bits.skip(2)
        used, temporal = 0, False
        if kind not in _IDR:
            used = _used_references(bits, sequence)
            temporal = sequence.temporal_motion and bits.flag()
        if sequence.sample_adaptive_offset:
            bits.skip(1 + sequence.chroma)
        if slice_type != _I:
            _skip_prediction(bits, picture, sequence, slice_type=slice_type, used=used, temporal=temporal)
        return _Slice(picture, sequence, address, picture.qp + bits.se())


def _used_references(bits: BitReader, sequence: SequenceSet) -> int:
    """Read which pictures are kept for reference; return how many the picture uses (NumPicTotalCurr)."""
    bits.skip(sequence.order_bits)
    count = len(sequence.references)
    if not bits.flag():
        references = read_references(bits, sequence.references, index=count, count=count)
    else:
        references = sequence.references[bits.u((count - 1).bit_length()) if count > 1 else 0]
    used = sum(each for _, each in references)
    if sequence.long_term:
        known = len(sequence.long_term_used)
        from_set = bits.ue() if known else 0
        for index in range(from_set + bits.ue()):
            if index < from_set:
                used += sequence.long_term_used[bits.u((known - 1).bit_length())]
            else:
                bits.skip(sequence.order_bits)
                used += bits.flag()
            if bits.flag():
                bits.ue()
    return used


def _skip_prediction(
    bits: BitReader, picture: PictureSet, sequence: SequenceSet, *, slice_type: int, used: int, temporal: bool
) -> None:
    """Pass over what P and B slices have before their QP."""
    lists = 2 if slice_type == _B else 1
    active = list(picture.active[:lists])
    if bits.flag():
        active = [bits.ue() + 1 for _ in range(lists)]
    if any(each > 16 for each in active):
        raise EOFError("no slice header")
    if picture.modified_lists and used > 1:
        for each in active:
            if bits.flag():
                bits.skip(each * (used - 1).bit_length())
    if slice_type == _B:
        bits.skip(1)
    if picture.cabac_init:
        bits.skip(1)
    if temporal:
        from_first = slice_type == _P or bits.flag()
        if active[0 if from_first else 1] > 1:
            bits.ue()
    if picture.weighted[0 if slice_type == _P else 1]:
        _skip_weights(bits, active, chroma=sequence.chroma)
    bits.ue()


def _skip_weights(bits: BitReader, active: list[int], *, chroma: bool) -> None:
    """pred_weight_table: 7.3.6.3."""
    bits.ue()
    if chroma:
        bits.se()
    for each in active:
        luma = [bits.flag() for _ in range(each)]
        colour = [chroma and bits.flag() for _ in range(each)]
        for has_luma, has_chroma in zip(luma, colour, strict=True):
            for _ in range(2 * has_luma + 4 * has_chroma):
                bits.se()


def _spread(slices: list[_Slice]) -> NDArray[np.float32]:
    """Give each block of 16x16 samples the QP of the slice that holds it."""
    sequence, picture = slices[0].sequence, slices[0].picture
    columns, rows = sequence.blocks
    order = picture.scan(columns, rows)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    # Slices follow each other in the order of coding; what no header covers has been lost, and belongs to a neighbour.
    starts = np.array([place[min(each.address, len(place) - 1)] for each in slices])
    levels = np.array([each.qp for each in slices], np.float32)
    by_start = np.argsort(starts, kind="stable")
    owner = np.searchsorted(starts[by_start], place, side="right") - 1
    of_tree_blocks = levels[by_start][np.maximum(owner, 0)].reshape(rows, columns)
    high, wide = -(-(sequence.height - sequence.top) // 16), -(-(sequence.width - sequence.left) // 16)
    y = (sequence.top + 16 * np.arange(high) + 8).clip(max=sequence.height - 1) // sequence.ctb
    x = (sequence.left + 16 * np.arange(wide) + 8).clip(max=sequence.width - 1) // sequence.ctb
    return of_tree_blocks[np.ix_(y, x)]


def _record_units(record: bytes) -> Iterator[bytes]:
    """Yield the parameter sets of an `hvcC` record: ISO/IEC 14496-15, 8.3.3."""
    at = 23
    for _ in range(record[22]):
        count = int.from_bytes(record[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            if at + 2 > len(record):
                return
            size = int.from_bytes(record[at : at + 2], "big")
            yield record[at + 2 : at + 2 + size]
            at += 2 + size
