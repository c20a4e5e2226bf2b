"""The QP of frames: against encoders told to use one, and bitstreams written bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.video.reading.hevc_qp import HevcQp
from postfilter.video.reading.qp import QpReader
from postfilter.video.reading.source import Source

Write = Callable[..., Path]

_X265 = "log-level=none:pools=1:frame-threads=1:ctu=16:"
_X264 = {"preset": "fast", "bf": "2"}


def _read(path: Path) -> Iterator[tuple[str, NDArray[np.float32] | None]]:
    """Yield the type of each frame, in the order of presentation, and its QP."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        reader = QpReader(stream)
        for packet in container.demux(stream):
            reader.take(packet)
            for frame in stream.decode(packet):
                yield av.video.frame.PictureType(frame.pict_type).name, reader.of(frame)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_h264_at_one_qp_is_read_as_that_qp_in_every_block_at_any_depth(
    tmp_path: Path, write: Write, pix_fmt: str
) -> None:
    # x264 counts from 0 at any depth, the standard from -6 for each bit above 8.
    given = 30 if pix_fmt == "yuv420p" else 42
    options = {**_X264, "x264-params": f"qp={given}:ipratio=1:pbratio=1"}
    path = write(tmp_path / "clip.mkv", size=(90, 70), pix_fmt=pix_fmt, options=options)
    found = [blocks for _, blocks in _read(path)]
    assert len(found) == 12
    for blocks in found:
        assert blocks is not None
        assert blocks.shape == (5, 6)
        assert blocks.dtype == np.float32
        np.testing.assert_array_equal(blocks, 30)


def test_h264_with_frame_threads_asked_for_tells_what_one_thread_tells(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "clip.mp4", size=(160, 112), options={"preset": "fast", "crf": "28"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"export_side_data": "venc_params"}
        wanted = [frame.side_data["VIDEO_ENC_PARAMS"].qp_map() for frame in container.decode(stream)]
    assert len({int(each.mean()) for each in wanted}) > 1
    for (_, got), want in zip(_read(path), wanted, strict=True):
        assert got is not None
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("codec", "scale"), [("mpeg2video", 8), ("mpeg4", 8)])
def test_mpeg_tells_the_qp_of_the_same_step(tmp_path: Path, write: Write, codec: str, scale: int) -> None:
    path = write(tmp_path / "clip.mkv", codec=codec, options={"qmin": "4", "qmax": "4", "bf": "0"})
    found = [blocks for _, blocks in _read(path)]
    known = [each for each in found if each is not None]
    assert len(known) >= len(found) - 1  # the decoder tells nothing of the last frame, which it keeps back
    for blocks in known:
        np.testing.assert_allclose(blocks, 4 + 6 * np.log2(scale))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "265"])
def test_hevc_slices_are_matched_with_their_frames_in_any_container(tmp_path: Path, write: Write, suffix: str) -> None:
    params = f"{_X265}qp=30:slices=2:bframes=3:b-adapt=0:keyint=12"
    path = write(tmp_path / f"clip.{suffix}", codec="libx265", size=(96, 80), options={"x265-params": params})
    found = list(_read(path))
    assert {kind for kind, _ in found} == {"I", "P", "B"}
    for kind, blocks in found:
        assert blocks is not None
        assert blocks.shape == (5, 6)
        # x265 takes 6 log2 1.4 off for I frames, and adds up to 6 log2 1.3 for B frames.
        assert set(blocks.ravel().tolist()) <= {"I": {27.0}, "P": {30.0}, "B": {31.0, 32.0}}[kind]


@pytest.mark.parametrize(
    ("pix_fmt", "params"),
    [
        ("yuv420p10le", "weightp=1:weightb=1:ref=4"),
        ("yuv444p", "scaling-list=default:no-sao=1:repeat-headers=1"),
        ("gray", "temporal-mvp=0:bframes=4:b-pyramid=1"),
        ("yuv420p", "keyint=4:min-keyint=4:open-gop=1:bframes=2"),
    ],
)
def test_hevc_headers_of_many_kinds_are_read(tmp_path: Path, write: Write, pix_fmt: str, params: str) -> None:
    options = {"x265-params": f"{_X265}qp=33:ipratio=1:pbratio=1:{params}"}
    path = write(tmp_path / "clip.mp4", codec="libx265", pix_fmt=pix_fmt, options=options)
    found = [blocks for _, blocks in _read(path)]
    assert len(found) == 12
    for blocks in found:
        assert blocks is not None
        np.testing.assert_array_equal(blocks, 33)


def test_source_tells_the_qp_of_its_frames_where_asked(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "clip.mp4", options={**_X264, "x264-params": "qp=30:ipratio=1:pbratio=1"})
    with Source(path, qp=True) as source:
        assert source.qp_source == "h264 side data"
        found = [source.qp_of(frame) for frame in source.frames()]
    assert len(found) == 12
    assert all(each is not None and (each == 30).all() for each in found)
    with Source(path) as source:
        assert source.qp_source is None
        assert source.qp_of(source.first) is None


def test_a_codec_without_known_qp_is_refused_by_name(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "clip.mkv", codec="ffv1")
    with av.open(str(path)) as container, pytest.raises(InputError, match=r"QP of ffv1 cannot be read.*h264, hevc"):
        QpReader(container.streams.video[0])
    with Source(path, qp=True) as source:
        assert (source.codec, source.qp_source, source.qp_of(source.first)) == ("ffv1", None, None)


class _Bits:
    """Writes what `BitReader` reads."""

    def __init__(self) -> None:
        self._bits = ""

    def u(self, *fields: tuple[int, int]) -> _Bits:
        for count, value in fields:
            self._bits += format(value, f"0{count}b") if count else ""
        return self

    def ue(self, *values: int) -> _Bits:
        for value in values:
            text = format(value + 1, "b")
            self._bits += "0" * (len(text) - 1) + text
        return self

    def se(self, *values: int) -> _Bits:
        return self.ue(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def unit(self, kind: int) -> bytes:
        """A NAL unit with start code and emulation prevention."""
        text = self._bits + "1"
        text += "0" * (-len(text) % 8)
        payload = bytearray()
        for byte in int(text, 2).to_bytes(len(text) // 8, "big"):
            if payload[-2:] == b"\0\0" and byte <= 3:
                payload.append(3)
            payload.append(byte)
        return b"\0\0\1" + bytes([kind << 1, 1]) + bytes(payload)


def _sequence(width: int, height: int) -> bytes:
    """Coding tree blocks of 16; two reference picture sets, the second predicted from the first; one long-term."""
    bits = _Bits().u((4, 0), (3, 0), (1, 1), (8, 1), (32, 0), (48, 0), (8, 93)).ue(0, 1, width, height)
    bits.u((1, 0)).ue(0, 0, 4).u((1, 1)).ue(4, 0, 0)
    bits.ue(0, 1, 0, 2, 0, 0).u((1, 0), (1, 0), (1, 1), (1, 0))
    bits.ue(2).ue(2, 1).ue(0).u((1, 1)).ue(1).u((1, 0)).ue(0).u((1, 1))  # -1 used, -3 not; +1 used
    bits.u((1, 1), (1, 1)).ue(0)  # predicted: one less
    bits.u((1, 1), (1, 0), (1, 1), (1, 0), (1, 0), (1, 1))  # -2 used, -4 kept, 0 left out, -1 used
    bits.u((1, 1)).ue(1).u((8, 7), (1, 1)).u((1, 1), (1, 0), (1, 0), (1, 0))
    return bits.unit(33)


def _picture(*, tiles: bool) -> bytes:
    bits = _Bits().ue(0, 0).u((1, 1), (1, 1), (3, 2), (1, 0), (1, 1)).ue(1, 1).se(4)
    bits.u((1, 0), (1, 0), (1, 1)).ue(1).se(0, 0).u((1, 0), (1, 1), (1, 1), (1, 0), (1, tiles), (1, 0))
    if tiles:
        bits.ue(1, 1).u((1, 0)).ue(0).ue(1).u((1, 1))  # columns of 1 and the rest, rows of 2 and the rest
    bits.u((1, 1), (1, 0), (1, 0), (1, 1)).ue(0).u((1, 0), (1, 0))
    return bits.unit(34)


def _slice(address: int, qp: int, *, kind: str = "I", dependent: bool = False) -> bytes:
    """A slice of a picture of 4x3 blocks that is no IDR picture."""
    bits = _Bits().u((1, address == 0)).ue(0)
    if address:
        bits.u((1, dependent), (4, address))
    if dependent:
        return bits.u((8, 255)).unit(1)
    bits.u((2, 3)).ue("BPI".index(kind)).u((1, 1))
    bits.u((8, 12), (1, 1), (1, 1))  # the second set: 2 pictures used
    bits.ue(1).ue(1).u((1, 1)).ue(3).u((8, 9), (1, 1), (1, 0))  # a long-term one of the sequence's, and another: 4
    bits.u((1, 1), (1, 0), (1, 1))
    if kind != "I":
        bits.u((1, 1)).ue(*([2, 0] if kind == "B" else [2]))  # 3 and 1 active
        bits.u((1, 1), (6, 0b011011))
        if kind == "B":
            bits.u((1, 0), (1, 1))
        bits.u((1, 1))
        if kind == "B":
            bits.u((1, 1))
        bits.ue(2)
        bits.ue(5).se(-1).u((3, 0b101), (3, 0b010)).se(-3, 4).se(1, -1, 2, -2).se(7, 0)
        if kind == "B":
            bits.u((1, 0), (1, 1)).se(1, 2, 3, 4)
        bits.ue(1)
    return bits.se(qp - 30).u((8, 0)).unit(1)


def test_slices_of_one_picture_give_their_blocks_their_own_qp() -> None:
    reader = HevcQp(_sequence(64, 48) + _picture(tiles=False))
    packet = _slice(0, 22) + _slice(5, 35, kind="P") + _slice(7, 0, dependent=True) + _slice(10, 41, kind="B")
    blocks = reader.blocks(packet)
    np.testing.assert_array_equal(blocks, [[22, 22, 22, 22], [22, 35, 35, 35], [35, 35, 41, 41]])  # type: ignore[arg-type]


def test_slices_follow_the_order_of_tiles() -> None:
    reader = HevcQp(_sequence(64, 48) + _picture(tiles=True))
    # Tiles: column 0 and columns 1 to 3, rows 0 to 1 and row 2; the second slice starts with the second tile.
    blocks = reader.blocks(_slice(0, 20) + _slice(1, 30, kind="B") + _slice(8, 40))
    np.testing.assert_array_equal(blocks, [[20, 30, 30, 30], [20, 30, 30, 30], [40, 40, 40, 40]])  # type: ignore[arg-type]


def test_what_is_damaged_or_of_another_layer_tells_nothing() -> None:
    sets, picture = _sequence(64, 48) + _picture(tiles=False), _slice(0, 22)
    assert HevcQp(None).blocks(picture) is None  # without parameter sets
    assert HevcQp(sets).blocks(picture[:6]) is None
    assert HevcQp(sets).blocks(b"") is None
    other_layer = bytearray(picture)
    other_layer[4] |= 8
    assert HevcQp(sets).blocks(bytes(other_layer)) is None
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged: Any = bytearray(sets + picture + _slice(5, 30, kind="B"))
        for at in random.integers(0, len(damaged), 4):
            damaged[at] = random.integers(256)
        reader = HevcQp(bytes(damaged))
        blocks = reader.blocks(bytes(damaged))
        assert blocks is None or blocks.ndim == 2
