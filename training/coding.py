"""A clip through a real encoder and its decoder, with the QP that the bitstream tells of each block."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from postfilter.quality.codec import planes_of
from postfilter.quality.opening import opening_encoder
from postfilter.training.pool import Samples
from postfilter.video.reading.qp import QP_CODECS, QpReader, codec_name

__all__ = ["HIGHEST_QP", "CodecName", "Coded", "Coding", "code"]

CodecName = Literal["h264", "hevc", "mpeg2", "av1"]

HIGHEST_QP: dict[CodecName, int] = {"h264": 51, "hevc": 51, "mpeg2": 39, "av1": 41}
"""The coarsest that each encoder goes to."""

_ENCODERS: dict[CodecName, str] = {"h264": "libx264", "hevc": "libx265", "mpeg2": "mpeg2video", "av1": "libsvtav1"}
_FRAME_RATE = Fraction(25)


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How a clip is coded: inter-coded, with the preset's own GOP, B frames and in-loop filters."""

    codec: CodecName
    """`h264` is x264, `hevc` x265, `mpeg2` FFmpeg's own, `av1` SVT-AV1."""
    quality: int
    """QP or CRF, 0..51, as H.264 and HEVC count it. MPEG-2 gets the scale of the nearest step; AV1 what loses about as
    much as x264 at that QP, since SVT-AV1 takes far finer steps for the frames that others refer to."""
    constant: bool = True
    """Whether `quality` is a constant QP, from which the encoder derives those of I and B frames; otherwise it is a
    CRF, with adaptive quantization. MPEG-2 has no CRF: one scale for all frames, in any case."""
    preset: str = "medium"
    """x264's and x265's, or what is about as fast in SVT-AV1; MPEG-2 has none."""


class Coded(NamedTuple):
    """What a decoder shows of a coded clip."""

    frames: Samples
    """Luma, uint8 [T, H, W]; as many as went in, in the order in which they went in."""
    qp: npt.NDArray[np.uint8]
    """Of each block of 16x16 samples, [T, ceil(H / 16), ceil(W / 16)]; 0 where nothing tells it: in AV1,
    and of the last frame of MPEG-2."""


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
        stream.codec_context.options = _OPTIONS[coding.codec](coding)
        with opening_encoder():
            container.start_encoding()
        for number, luma in enumerate(frames):
            container.mux(stream.encode(_frame(luma, number)))
        container.mux(stream.encode(None))
    return _decode(file, frames.shape)


def _x264(coding: Coding) -> dict[str, str]:
    return {"preset": coding.preset, "qp" if coding.constant else "crf": str(coding.quality)}


def _x265(coding: Coding) -> dict[str, str]:
    # x265 prints to stderr by itself and starts a thread for every core.
    mode = f"{'qp' if coding.constant else 'crf'}={coding.quality}"
    return {"preset": coding.preset, "x265-params": f"{mode}:log-level=none:pools=1:frame-threads=1"}


def _mpeg2(coding: Coding) -> dict[str, str]:
    """A quantiser_scale_code c is a step of 2c, where `video.reading.qp` has QP = 4 + 6 log2 of the step."""
    scale = str(min(max(round(2 ** ((coding.quality - 10) / 6)), 1), 31))
    return {"qmin": scale, "qmax": scale, "bf": "2", "g": "12"}


def _av1(coding: Coding) -> dict[str, str]:
    index = np.interp((coding.quality - 4 + _AV1_FINER) / 6 + 3, np.log2(_AV1_STEPS), _AV1_INDICES)
    preset = {"veryfast": "10", "slow": "6"}.get(coding.preset, "8")
    mode = "qp" if coding.constant else "crf"
    return {"preset": preset, mode: str(round(min(index / 4, 63))), "svtav1-params": "lp=1"}


_AV1_INDICES, _AV1_STEPS = (0, 1, 30, 60, 95, 120, 137, 160, 255), (4, 8, 37, 67, 102, 152, 203, 305, 1828)
"""Some of AV1's table of quantizer indices and steps, in eighths (AV1 7.12.2, 8 bits, AC); an encoder's QP of 0..63 is
a quarter of the index."""

_AV1_FINER = 10
"""By how many QP a step must be coarser to lose what x264 loses, on pans over two photographs."""

_OPTIONS: dict[CodecName, Callable[[Coding], dict[str, str]]] = {
    "h264": _x264,
    "hevc": _x265,
    "mpeg2": _mpeg2,
    "av1": _av1,
}


def _frame(luma: Samples, number: int) -> av.VideoFrame:
    height, width = luma.shape
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = luma
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = number, 1 / _FRAME_RATE
    return frame


def _decode(file: io.BytesIO, shape: tuple[int, ...]) -> Coded:
    shown = np.empty(shape, np.uint8)
    levels = np.zeros((shape[0], -(-shape[1] // 16), -(-shape[2] // 16)), np.uint8)
    file.seek(0)
    count = 0
    with av.open(file, "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        reader = QpReader(stream) if codec_name(stream) in QP_CODECS else None
        for packet in container.demux(stream):
            if reader is not None:
                reader.take(packet)
            for frame in packet.decode():
                shown[count] = planes_of(frame)[0]
                if reader is not None:
                    qp = reader.of(frame)
                    # FFmpeg tells none of the last frame of MPEG-2.
                    if qp is not None:
                        levels[count] = np.clip(qp.round(), 0, 51)
                count += 1
    if count != shape[0]:
        raise RuntimeError(f"{shape[0]} frames went in and {count} came out")
    return Coded(shown, levels)
