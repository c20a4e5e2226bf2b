"""The quantiser of each 16x16 block of a decoded frame: how coarsely an encoder rounded it, and so how much was lost.

All figures are QP as H.264 and HEVC mean it: the step doubles with every 6, QP 4 is a step of 1 in an orthonormal
transform of 8-bit samples (ITU-T H.264 8.5.9). At more bits it is the nominal QP, which goes down to -6 for each bit
above 8 and stands for the same loss at the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.video.reading.hevc_qp import HevcQp

if TYPE_CHECKING:
    from av import Packet, VideoCodecContext, VideoFrame
    from av.video.stream import VideoStream

__all__ = ["QP_CODECS", "QpReader", "codec_name"]

_STEPS = ("mpeg1video", "mpeg2video", "mpeg4", "h263", "msmpeg4v2", "msmpeg4v3")
"""Codecs that tell a quantiser scale, which is a step, and no QP."""

QP_CODECS = {"h264": "h264 side data", "hevc": "hevc slice"} | {name: f"{name} side data" for name in _STEPS}
"""FFmpeg's name of each codec whose QP is known -> where it is read."""

_BLOCK = np.dtype([("x", "<i4"), ("y", "<i4"), ("width", "<i4"), ("height", "<i4"), ("delta", "<i4")])
"""FFmpeg's AVVideoBlockParams."""


class QpReader:
    """Tells the QP of the frames of one track. Make it before anything of the track is decoded.

    1. H.264, MPEG-1, MPEG-2, MPEG-4 part 2: FFmpeg's decoder tells it for each macroblock. A decoder that works at
       several frames at a time hands H.264 frames out while their last rows, and their QP, are still under way: it is
       made to share out slices, not frames.
    2. MPEG's quantiser_scale q is the step of a coefficient whose matrix entry is 16, so QP = 4 + 6 log2 q.
    3. HEVC: of the slice, see `hevc_qp`. Its packets are told apart by a number that the decoder hands on to the frame.

    Args:
        stream: the video track, of a codec in `QP_CODECS`; or a decoder that is fed by hand, not open yet.

    Raises:
        InputError: the QP of another codec cannot be read.
    """

    def __init__(self, stream: VideoStream | VideoCodecContext) -> None:
        context: Any = getattr(stream, "codec_context", stream)
        codec = str(context.codec.canonical_name)
        if codec not in QP_CODECS:
            raise InputError(
                f"the QP of {codec} cannot be read, only that of {', '.join(QP_CODECS)}: leave out what depends on it"
            )
        self.source = QP_CODECS[codec]
        """Where it is read, for the record."""
        self.take: Callable[[Packet[Any]], None] = _leave
        """To be called with each packet before it is decoded."""
        self.of: Callable[[VideoFrame], NDArray[np.float32] | None]
        """QP of a decoded frame, float32 [ceil(H / 16), ceil(W / 16)]; None where the bitstream does not tell it."""
        if codec == "hevc":
            reader = _HevcReader(context)
            self.take, self.of = reader.take, reader.of
        else:
            context.thread_type = "SLICE"
            context.options = {**context.options, "export_side_data": "venc_params"}
            self.of = _of_side_data


def codec_name(stream: VideoStream) -> str:
    """Return FFmpeg's name of a track's codec, whatever its decoder is called."""
    return str(stream.codec_context.codec.canonical_name)


class _HevcReader:
    """Keeps the QP of packets until their frames come out of the decoder."""

    def __init__(self, context: Any) -> None:
        self._slices = HevcQp(context.extradata)
        context.copy_opaque = True

    def take(self, packet: Packet[Any]) -> None:
        if packet.size:
            packet.opaque = self._slices.blocks(bytes(packet))

    def of(self, frame: VideoFrame) -> NDArray[np.float32] | None:
        blocks = frame.opaque
        return None if not isinstance(blocks, np.ndarray) else _fitted(blocks, frame)


def _leave(packet: Packet[Any]) -> None:
    """Side data needs nothing of packets."""


def _of_side_data(frame: VideoFrame) -> NDArray[np.float32] | None:
    try:
        told: Any = frame.side_data.get("VIDEO_ENC_PARAMS")
    except ValueError:  # the frame also carries a kind that PyAV does not know
        return None
    if told is None or not told.nb_blocks:
        return None
    # PyAV's own `qp_map` builds an object for each block, and refuses frames that are cropped by a block or more.
    blocks = np.frombuffer(told, np.uint8)[told.blocks_offset :][: told.nb_blocks * told.block_size]
    blocks = blocks.reshape(told.nb_blocks, told.block_size)[:, : _BLOCK.itemsize]
    table = np.ascontiguousarray(blocks).view(_BLOCK)[:, 0]
    columns, rows = table["x"] // 16, table["y"] // 16
    levels = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1), np.float32)
    levels[rows, columns] = told.qp + table["delta"]
    if told.codec_type.name == "MPEG2":
        levels = 4 + 6 * np.log2(np.maximum(levels, 1))
    else:
        levels -= 6 * (_bits(frame) - 8)
    return _fitted(levels, frame)


def _bits(frame: VideoFrame) -> int:
    return max(each.bits for each in frame.format.components)


def _fitted(blocks: NDArray[np.float32], frame: VideoFrame) -> NDArray[np.float32]:
    """Cut what the frame does not show: coded pictures are whole numbers of macroblocks. Repeat where one is short."""
    high, wide = -(-frame.height // 16), -(-frame.width // 16)
    blocks = blocks[:high, :wide]
    return np.pad(blocks, ((0, high - blocks.shape[0]), (0, wide - blocks.shape[1])), mode="edge")
