"""A clip through a real encoder and its decoder, in memory: x264 or x265 at a constant QP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError

if TYPE_CHECKING:
    import av

__all__ = [
    "Codec",
    "CodedClip",
    "Packet",
    "Planes",
    "QpWatch",
    "RoundTrip",
    "SourceFrame",
    "Watcher",
    "encode_decode",
    "planes_of",
    "view",
]

Codec = Literal["h264", "hevc"]
Samples: TypeAlias = NDArray[np.uint8]
Planes: TypeAlias = tuple[Samples, Samples, Samples]
"""Y [H, W], U and V [H/2, W/2], uint8."""
SourceFrame: TypeAlias = "Samples | Planes | av.VideoFrame"
"""A luma plane uint8 [H, W] (its chroma is then grey, 128), three planes, or a decoded 8-bit 4:2:0 frame."""

Packet: TypeAlias = tuple[bytes, "int | None", "int | None"]
"""What an encoder wrote at once, with its presentation and decoding time stamps."""


class QpWatch(Protocol):
    """Tells the QP of the frames of one decoder; `video.reading.qp.QpReader` is one."""

    @property
    def take(self) -> Callable[[Any], None]:
        """To be called with each packet before it is decoded."""

    @property
    def of(self) -> Callable[[av.VideoFrame], NDArray[np.float32] | None]:
        """QP of a decoded frame, float32 [ceil(H / 16), ceil(W / 16)]; None where the bitstream does not tell it."""


Watcher: TypeAlias = "Callable[[Any], QpWatch]"
"""Makes a watch of a decoder's context that is not open yet."""

_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
_GREY = 128


@dataclass(frozen=True, kw_only=True)
class CodedClip:
    """What a decoder shows of a coded clip."""

    frames: Samples
    """Luma, uint8 [T, H, W]; as many frames as went in, in the order in which they went in."""
    kbps: float
    """All that the encoder wrote, headers included, in kilobits (1000) a second."""


def encode_decode(
    frames: Sequence[SourceFrame] | Samples,
    *,
    codec: Codec,
    qp: int,
    fps: float | Fraction = 25,
    preset: str = "medium",
    threads: int = 2,
) -> CodedClip:
    """Code a clip and decode it again.

    Inter-coded, with the preset's own GOP, B frames and in-loop filters.

    Args:
        frames: at least one frame, all of one even size: uint8 [T, H, W] is a clip of luma alone.
        codec: see `RoundTrip`, as for all that follow.
        qp: 0..51.
        fps: frames a second.
        preset: the encoder's.
        threads: the encoder's.

    Raises:
        InputError: no frames, an odd or changing size, another sample type, or a QP outside 0..51.
    """
    trip = RoundTrip(codec=codec, qp=qp, fps=fps, preset=preset, threads=threads)
    luma = [planes_of(frame)[0] for frame in trip(frames)]
    if not luma:
        raise InputError("got a clip of no frames; coding one needs at least one")
    return CodedClip(frames=np.stack(luma), kbps=trip.kbps)


class RoundTrip:
    """Codes a stream of frames and yields them decoded, holding no more than the encoder's look-ahead.

    Args:
        codec: `h264` (x264) or `hevc` (x265).
        qp: quantizer of P frames, 0..51; the encoder derives those of I and B frames from it.
        fps: frames a second. It changes the bit rate that is reported, not the pictures.
        preset: x264's or x265's, `ultrafast` to `placebo`.
        threads: threads of the encoder. Fixed rather than taken from the machine, because both encoders' output
            depends on it: figures then agree between machines. x265 codes one frame at a time, for the same reason.
        watch: makes what `qp_of` asks; None where nobody asks.
        keep: keep what is coded, in `packets`.

    Raises:
        InputError: an unknown codec, preset or a QP outside 0..51.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        qp: int,
        fps: float | Fraction = 25,
        preset: str = "medium",
        threads: int = 2,
        watch: Watcher | None = None,
        keep: bool = False,
    ) -> None:
        if codec not in get_args(Codec):
            raise InputError(f"got codec {codec!r}; use one of {', '.join(get_args(Codec))}")
        if not 0 <= qp <= 51:
            raise InputError(f"got QP {qp}; 8-bit H.264 and HEVC allow 0 to 51, and artefacts show from about 30")
        if preset not in _PRESETS:
            raise InputError(f"got preset {preset!r}; x264 and x265 have {', '.join(_PRESETS)}")
        self.codec = codec
        self.qp = qp
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.preset = preset
        self.threads = threads
        self.frames_coded = 0
        self.bytes_coded = 0
        self.packets: list[Packet] = []
        """What was coded, in the order of decoding, where it is kept."""
        self._make_watch, self._keep = watch, keep
        self._watch: QpWatch | None = None

    @property
    def kbps(self) -> float:
        """Bit rate of what was coded so far, in kilobits (1000) a second."""
        return self.bytes_coded * 8 / 1000 * float(self.fps) / max(self.frames_coded, 1)

    def __call__(self, frames: Iterable[SourceFrame]) -> Iterator[av.VideoFrame]:
        """Yield each frame as a decoder shows it, in order; `frames` is pulled as the encoder needs it."""
        encoder: Any = None
        decoder = self._open_decoder()
        shown = 0
        for frame in frames:
            planes = planes_of(frame)
            if encoder is None:
                size = planes[0].shape
                encoder = self._open_encoder(*size)
            elif planes[0].shape != size:
                raise InputError(f"got a frame of {_size(planes[0].shape)} in a clip of {_size(size)}; code them apart")
            coded = _video_frame(planes, self.frames_coded, 1 / self.fps)
            self.frames_coded += 1
            for decoded in self._decode(decoder, encoder.encode(coded)):
                yield _checked(decoded, shown)
                shown += 1
        if encoder is None:
            return
        for packets in (encoder.encode(None), [None]):
            for decoded in self._decode(decoder, packets):
                yield _checked(decoded, shown)
                shown += 1
        if shown != self.frames_coded:
            raise RuntimeError(f"{self.codec} took {self.frames_coded} frames and gave {shown}")

    def replay(self, packets: Iterable[Packet]) -> Iterator[av.VideoFrame]:
        """Yield the frames of a clip that was coded before, from the `packets` of that time."""
        import av

        def again() -> Iterator[Any]:
            for data, pts, dts in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.time_base = pts, dts, 1 / self.fps
                yield packet
            yield None

        for frame in self._decode(self._open_decoder(), again()):
            yield _checked(frame, self.frames_coded)
            self.frames_coded += 1

    def qp_of(self, frame: av.VideoFrame) -> NDArray[np.float32] | None:
        """Return the QP of a frame that was just yielded; None where it is not told, or not watched."""
        return None if self._watch is None else self._watch.of(frame)

    def _open_decoder(self) -> Any:
        import av

        decoder: Any = av.CodecContext.create(self.codec, "r")
        decoder.thread_count = self.threads
        self._watch = self._make_watch(decoder) if self._make_watch else None
        return decoder

    def _open_encoder(self, height: int, width: int) -> Any:
        import av

        encoder: Any = av.CodecContext.create(_ENCODERS[self.codec], "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.framerate, encoder.time_base = self.fps, 1 / self.fps
        encoder.thread_count = self.threads
        if self.codec == "h264":
            encoder.options = {"preset": self.preset, "qp": str(self.qp)}
        else:
            # x265 prints to stderr by itself, starts a thread for every core, codes as many frames at a time as the
            # machine's cores suggest, whatever the pools, and writes its settings into the stream.
            parameters = f"qp={self.qp}:log-level=none:pools={self.threads}:frame-threads=1:info=0"
            encoder.options = {"preset": self.preset, "x265-params": parameters}
        try:
            encoder.open()
        except av.FFmpegError as error:
            raise InputError(
                f"{_ENCODERS[self.codec]} refused {_size((height, width))} with preset {self.preset!r} ({error}); "
                "presets go from ultrafast to placebo, and frames are at least 16x16"
            ) from error
        return encoder

    def _decode(self, decoder: Any, packets: Iterable[Any]) -> Iterator[av.VideoFrame]:
        for packet in packets:
            if packet is not None:
                self.bytes_coded += packet.size
                if self._keep:
                    self.packets.append((bytes(packet), packet.pts, packet.dts))
                if self._watch is not None:
                    self._watch.take(packet)
            yield from decoder.decode(packet)


def planes_of(frame: SourceFrame, *, crop_odd: bool = False) -> Planes:
    """Return the planes of a frame: views where it has them, grey chroma where it is luma alone.

    Args:
        frame: a luma plane, three planes, or a decoded frame.
        crop_odd: leave out the last column or row of an odd size instead of refusing it.

    Raises:
        InputError: not 8-bit 4:2:0, or an odd size, which 4:2:0 coding cannot hold.
    """
    if isinstance(frame, np.ndarray):
        if frame.ndim != 2:
            raise InputError(f"got a luma plane of {frame.shape = }; it needs two dimensions, height and width")
        grey: Samples = np.full(((frame.shape[0] + 1) // 2, (frame.shape[1] + 1) // 2), _GREY, np.uint8)
        y, u, v = frame, grey, grey
    elif isinstance(frame, tuple):
        y, u, v = frame
    elif frame.format.name in ("yuv420p", "yuvj420p"):
        y, u, v = (view(plane) for plane in frame.planes)
    else:
        raise InputError(f"got frames of {frame.format.name}; only 8-bit 4:2:0 is coded here: convert them to yuv420p")
    if crop_odd:
        height, width = y.shape[0] // 2 * 2, y.shape[1] // 2 * 2
        y, u, v = y[:height, :width], u[: height // 2, : width // 2], v[: height // 2, : width // 2]
    return _check((y, u, v))


def _check(planes: Planes) -> Planes:
    height, width = planes[0].shape
    if any(plane.dtype != np.uint8 for plane in planes):
        raise InputError(f"got planes of {[str(plane.dtype) for plane in planes]}; they need to be uint8")
    if height % 2 or width % 2:
        raise InputError(
            f"got frames of {_size((height, width))}; 4:2:0 coding needs even sizes: crop them to "
            f"{_size((height // 2 * 2, width // 2 * 2))}"
        )
    if any(plane.shape != (height // 2, width // 2) for plane in planes[1:]):
        raise InputError(f"got chroma planes of {planes[1].shape} and {planes[2].shape} for luma of {planes[0].shape}")
    return planes


def view(plane: Any) -> Samples:
    """Return the samples of a PyAV plane without the padding at the end of its lines; shares its memory."""
    lines = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
    return lines[:, : plane.width]


def _video_frame(planes: Planes, number: int, time_base: Fraction) -> av.VideoFrame:
    import av

    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for target, plane in zip(frame.planes, planes, strict=True):
        view(target)[:] = plane
    frame.pts, frame.time_base = number, time_base
    return frame


def _checked(decoded: av.VideoFrame, number: int) -> av.VideoFrame:
    if decoded.pts != number:
        raise RuntimeError(f"the decoder showed frame {decoded.pts} where {number} was due")
    return decoded


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"
