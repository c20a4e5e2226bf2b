"""Read a clip: its first video track decoded, everything else as packets, every frame with a timestamp."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal

import av
import numpy as np
from av import Packet, VideoFrame
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.video.frame import ColourTags
from postfilter.video.pixels import PixelFormat, pixel_format
from postfilter.video.reading.qp import QP_CODECS, QpReader, codec_name
from postfilter.video.reading.siting import read_siting
from postfilter.video.reading.truncation import check_whole
from postfilter.video.target import check_source

__all__ = ["ClipInfo", "Source", "probe"]

_DAMAGED = "the file may be damaged, cut short or protected"
_NOT_CARRIED = {
    "DOVI_METADATA": "Dolby Vision metadata",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "FILM_GRAIN_PARAMS": "film grain to be added by the player",
    "SPHERICAL": "the spherical projection",
    "STEREO3D": "the arrangement of stereoscopic views",
}
"""Side data of frames that PyAV cannot give to an encoder or a container, and what is lost with it."""
_WALL_CLOCK_FORMATS = ("mpegts", "mpeg")
"""Their timestamps begin anywhere; in other containers a late start is meant as one."""


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What is known of a clip before its second frame is decoded."""

    path: Path
    width: int
    height: int
    format: PixelFormat
    frame_rate: Fraction
    """Frames a second, as near as the container tells."""
    frames: int | None
    """How many are to be expected; None where the container does not say."""
    full_range: bool
    matrix: int
    """Matrix coefficients, transfer and primaries are numbers of ITU-T H.273; 2 is unspecified."""
    transfer: int
    primaries: int
    siting: str
    """Where chroma samples lie: FFmpeg's names, `unspecified` where the stream does not say."""
    sample_aspect_ratio: Fraction | None
    display_matrix: tuple[int, ...] | None
    """Nine numbers as FFmpeg has them, where the picture is to be rotated or mirrored for display."""
    interlaced: bool
    side_data: dict[str, bytes]
    """What the first frame carries besides its samples: FFmpeg's name -> its structure in memory."""

    @property
    def bit_depth(self) -> int:
        """Bits a sample."""
        return self.format.bit_depth

    @property
    def colour(self) -> ColourTags:
        """What the samples mean."""
        return ColourTags(
            matrix=self.matrix,
            transfer=self.transfer,
            primaries=self.primaries,
            full_range=self.full_range,
            siting=self.siting,
        )


class Source:
    """A clip opened for reading, with its first frame decoded already.

    The filtered track is the first video track that is no cover picture. `warnings` gathers what a user should know.

    Args:
        path: the file.
        qp: whether the QP of its frames is wanted, where it is known (`qp_source`); H.264 then decodes with fewer
            threads.

    Raises:
        InputError: there is no such file, it is no video, it is damaged, or its pixel format cannot be filtered.
    """

    THREADS: ClassVar[Literal["AUTO", "SLICE"]] = "AUTO"
    """AUTO decodes several frames at once, each of which then comes later."""

    def __init__(self, path: str | Path, *, qp: bool = False) -> None:
        self.path = Path(path)
        self.warnings: list[str] = []
        self.container = self._open()
        try:
            self.stream = self._choose_stream()
            self._check()
            self.stream.thread_type = self.THREADS
            self._qp = QpReader(self.stream) if qp and self.codec in QP_CODECS else None
            self._frames_read = 0
            self._shape = (0, 0, "")
            self._undecodable = self._corrupt = self._restamped = self._hidden = 0
            self._last_pts: int | None = None
            self._last_duration = 0
            self.tick = self.stream.time_base or Fraction(1, 90000)
            self.offset_seconds = self._clock_offset()
            self._pending: deque[VideoFrame | Packet[Stream]] = deque()
            self._siting = read_siting(self.stream)  # before anything is decoded
            self._decoded = self._read()
            self.first = self._read_first()
            self.info = self._describe()
        except BaseException:
            self.container.close()
            raise

    def items(self) -> Iterator[VideoFrame | Packet[Stream]]:
        """Yield decoded frames of the filtered track, and packets of all other tracks, in the order of the file.

        Frames have strictly increasing timestamps in `tick`. Can be iterated once.

        Raises:
            InputError: a part cannot be read or decoded, or the picture's size or format changes.
        """
        while self._pending:
            yield self._pending.popleft()
        yield from self._decoded
        self._sum_up()

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the decoded frames alone; as `items` otherwise."""
        for item in self.items():
            if isinstance(item, VideoFrame):
                yield item

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec of the filtered track."""
        return codec_name(self.stream)

    @property
    def qp_source(self) -> str | None:
        """Where the QP of frames is read; None where it was not asked for, or is not known of the codec."""
        return None if self._qp is None else self._qp.source

    def qp_of(self, frame: VideoFrame) -> NDArray[np.float32] | None:
        """Return the QP of each block of a decoded frame, as `Frame.qp`; None where it is not asked for or known."""
        return None if self._qp is None else self._qp.of(frame)

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Any:
        """Return the opened container."""
        return _open(self.path)

    def _check(self) -> None:
        """Refuse what is not to be read."""
        check_whole(self.container, self.path)

    def _packets(self) -> Iterator[Packet[Stream]]:
        """Yield every packet, and at the end an empty one for each track."""
        return iter(self.container.demux())

    def _choose_stream(self) -> VideoStream:
        attached = av.stream.Disposition.attached_pic
        tracks = [each for each in self.container.streams.video if not each.disposition & attached]
        if not tracks:
            kinds = ", ".join(sorted({each.type for each in self.container.streams})) or "nothing"
            raise InputError(f"{self.path} holds no video track (it holds {kinds}); give a video file")
        if tracks[0].codec_context is None:
            raise InputError(f"no decoder for the video track of {self.path}; convert the clip first")
        return tracks[0]

    def _clock_offset(self) -> Fraction:
        """What is subtracted from all timestamps where the container's clock began anywhere."""
        start = self.container.start_time
        if self.container.format.name not in _WALL_CLOCK_FORMATS or start is None:
            return Fraction(0)
        return Fraction(start, 1_000_000)

    def _read(self) -> Iterator[VideoFrame | Packet[Stream]]:
        packets = self._packets()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, OSError, ValueError) as error:
                raise self._error("cannot be read on", error) from error
            if packet.stream.index != self.stream.index:
                if packet.dts is not None or packet.size:
                    yield packet
                continue
            if not packet.size and packet.dts is not None:
                continue  # an empty packet would tell the decoder that this is the end
            self._hidden += packet.is_discard
            if self._qp is not None:
                self._qp.take(packet)
            try:
                frames = self.stream.decode(packet)
            except (av.FFmpegError, OSError, ValueError) as error:
                if self._frames_read:
                    raise self._error("cannot be decoded", error) from error
                self._undecodable += 1  # streams cut from a broadcast begin with what refers to pictures before the cut
                continue
            for frame in frames:
                yield self._accept(frame)

    def _accept(self, frame: VideoFrame) -> VideoFrame:
        if self._frames_read:
            got, first = (frame.width, frame.height, frame.format.name), self._shape
            if got != first:
                raise InputError(
                    f"{self.path} changes from {first[0]}x{first[1]} {first[2]} to {got[0]}x{got[1]} {got[2]} at frame "
                    f"{self._frames_read}; every frame must be of one size and format: cut the clip there"
                )
        else:
            self._shape = (frame.width, frame.height, frame.format.name)
        self._frames_read += 1
        self._corrupt += frame.is_corrupt
        self._stamp(frame)
        return frame

    def _stamp(self, frame: VideoFrame) -> None:
        """Give the frame a timestamp where it has none, and make timestamps increase strictly, as encoders demand."""
        step = round(1 / (_frame_rate(self.stream) * self.tick))
        pts, duration = (frame.pts if frame.pts is not None else frame.dts), frame.duration or step
        if pts is None:  # a raw byte stream: frames follow each other at the stream's rate; their durations are guesses
            pts, duration = (0 if self._last_pts is None else self._last_pts + self._last_duration), step
        if self._last_pts is not None and pts <= self._last_pts:
            self._restamped += 1
            pts = self._last_pts + 1
        frame.pts, frame.duration, frame.time_base = pts, duration, self.tick
        self._last_pts, self._last_duration = pts, max(1, duration)

    def _read_first(self) -> VideoFrame:
        for item in self._decoded:
            self._pending.append(item)
            if isinstance(item, VideoFrame):
                return item
        raise InputError(f"no frame of {self.path} can be decoded: {_DAMAGED}")

    def _error(self, what: str, cause: Exception) -> InputError:
        at = f" after frame {self._frames_read}" if self._frames_read else ""
        return InputError(f"{self.path} {what}{at} ({_reason(cause)}): {_DAMAGED}; cut it, or repair it with ffmpeg")

    def _describe(self) -> ClipInfo:
        frame, context = self.first, self.stream.codec_context
        form = pixel_format(frame.format.name)
        side_data = _side_data(frame)
        if side_data is None:
            self.warnings.append("the frames carry data unknown to PyAV; rotation and HDR metadata are not read")
            side_data = {}
        for kind in sorted(_NOT_CARRIED.keys() & side_data.keys()):
            self.warnings.append(f"{_NOT_CARRIED[kind]} cannot be carried over")
        return ClipInfo(
            path=self.path,
            width=frame.width,
            height=frame.height,
            format=form,
            frame_rate=_frame_rate(self.stream),
            frames=self._expected_frames(),
            full_range=form.full_range or int(frame.color_range or context.color_range) == 2,
            matrix=_specified(frame.colorspace, context.colorspace),
            transfer=_specified(frame.color_trc, context.color_trc),
            primaries=_specified(frame.color_primaries, context.color_primaries),
            siting=self._siting,
            sample_aspect_ratio=self.stream.sample_aspect_ratio,
            display_matrix=_display_matrix(side_data),
            side_data=side_data,
            interlaced=frame.interlaced_frame,
        )

    def _expected_frames(self) -> int | None:
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration:
            seconds = self.stream.duration * self.tick
        elif self.container.duration:
            seconds = Fraction(self.container.duration, 1_000_000)
        else:
            return None
        return round(seconds * _frame_rate(self.stream)) or None

    def _sum_up(self) -> None:
        if self._undecodable:
            self.warnings.append(f"{self._undecodable} packets before the first picture cannot be decoded")
        if self._corrupt:
            self.warnings.append(f"{self._corrupt} frames are decoded with errors: the input is damaged or cut")
        if self._restamped:
            self.warnings.append(f"{self._restamped} frames had timestamps that did not increase; they were moved")
        if self._frames_read + self._hidden < self.stream.frames:
            self.warnings.append(f"the container tells of {self.stream.frames} frames, {self._frames_read} were found")


def probe(path: str | Path) -> ClipInfo:
    """Return what a clip is, from its header and first frame.

    Raises:
        InputError: as `Source`.
    """
    with Source(path) as source:
        return source.info


def _open(path: Path) -> Any:
    check_source(path, wanted="a video file")
    try:
        # Metadata in another encoding than UTF-8 is common in old files and no reason to refuse one.
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"cannot open {path} as a video ({_reason(error)}); {_DAMAGED}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _frame_rate(stream: VideoStream) -> Fraction:
    """The likeliest of what FFmpeg knows; some containers give a rate of their clock, such as 1000."""
    for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate):
        if rate and 0 < rate <= 480:
            return Fraction(rate).limit_denominator(1_000_000)
    return Fraction(25)


def _specified(first: int, second: int) -> int:
    return int(first) if int(first) != 2 else int(second)


def _display_matrix(side_data: dict[str, bytes]) -> tuple[int, ...] | None:
    data = side_data.get("DISPLAYMATRIX")
    return None if data is None else struct.unpack("<9i", data[:36])


def _side_data(frame: VideoFrame) -> dict[str, bytes] | None:
    """What the frame carries besides its samples; None where it carries a kind that PyAV has no name for."""
    try:
        # It is iterated by value, whatever the stubs say.
        entries: list[Any] = list(frame.side_data)
    except ValueError:
        return None
    return {each.type.name: bytes(each) for each in entries}
