"""A clip through a real encoder and its decoder, with the QP that the bitstream tells of each block."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from postfilter.quality.codec import planes_of
from postfilter.training.pool import Samples
from postfilter.video.reading.qp import QpReader

__all__ = ["CodecName", "Coded", "Coding", "code"]

CodecName = Literal["h264", "hevc"]

_ENCODERS: dict[CodecName, str] = {"h264": "libx264", "hevc": "libx265"}
_FRAME_RATE = Fraction(25)


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How a clip is coded: inter-coded, with the preset's own GOP, B frames and in-loop filters."""

    codec: CodecName
    """`h264` is x264, `hevc` is x265."""
    quality: int
    """QP or CRF, 0..51."""
    constant: bool = True
    """Whether `quality` is a constant QP, from which the encoder derives those of I and B frames; otherwise it is a
    CRF, with adaptive quantization."""
    preset: str = "medium"
    """The encoder's."""


class Coded(NamedTuple):
    """What a decoder shows of a coded clip."""

    frames: Samples
    """Luma, uint8 [T, H, W]; as many as went in, in the order in which they went in."""
    qp: npt.NDArray[np.uint8]
    """Of each block of 16x16 samples, [T, ceil(H / 16), ceil(W / 16)]."""


def code(frames: Samples, coding: Coding) -> Coded:
    """Code a clip of luma by one thread and decode it again.

    The same clip gives the same frames, unless it has only a few blocks: x264 at a constant rate factor then reads
    memory that it never wrote, in its analysis (seen at 144x112 and below).

    Args:
        frames: uint8 [T, H, W], sides even.
        coding: how.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream(_ENCODERS[coding.codec], rate=_FRAME_RATE)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        mode = {"qp" if coding.constant else "crf": str(coding.quality)}
        if coding.codec == "hevc":
            # x265 prints to stderr by itself and starts a thread for every core.
            parameters = ":".join([*(f"{key}={value}" for key, value in mode.items()), "log-level=none:pools=1"])
            mode = {"x265-params": f"{parameters}:frame-threads=1"}
        stream.codec_context.options = {"preset": coding.preset, **mode}
        for number, luma in enumerate(frames):
            container.mux(stream.encode(_frame(luma, number)))
        container.mux(stream.encode(None))
    return _decode(file, frames.shape)


def _frame(luma: Samples, number: int) -> av.VideoFrame:
    height, width = luma.shape
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = luma
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = number, 1 / _FRAME_RATE
    return frame


def _decode(file: io.BytesIO, shape: tuple[int, ...]) -> Coded:
    shown = np.empty(shape, np.uint8)
    levels = np.empty((shape[0], -(-shape[1] // 16), -(-shape[2] // 16)), np.uint8)
    file.seek(0)
    count = 0
    with av.open(file, "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        reader = QpReader(stream)
        for packet in container.demux(stream):
            reader.take(packet)
            for frame in packet.decode():
                qp = reader.of(frame)
                if qp is None:
                    raise RuntimeError(f"the decoder told no QP of frame {count}")
                shown[count], levels[count] = planes_of(frame)[0], np.clip(qp.round(), 0, 51)
                count += 1
    if count != shape[0]:
        raise RuntimeError(f"{shape[0]} frames went in and {count} came out")
    return Coded(shown, levels)
