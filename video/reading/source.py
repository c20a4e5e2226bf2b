"""Read a clip: its first video track decoded, everything else as packets, every frame with a timestamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
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

from postfilter.errors import InputError, PostfilterError
from postfilter.video.frame import Frame
from postfilter.video.pixels import pixel_format, planar
from postfilter.video.reading.aspect import AspectSetter
from postfilter.video.reading.clip_info import ClipInfo, describe, frame_rate
from postfilter.video.reading.clock import FrameClock
from postfilter.video.reading.damage import Damage
from postfilter.video.reading.decoding import Decoding, Track, reason
from postfilter.video.reading.encryption import is_encrypted
from postfilter.video.reading.estimated_qp import GivenQp, QpEstimator, QpFrom, told_otherwise
from postfilter.video.reading.hardware import open_with_hardware
from postfilter.video.reading.qp import QP_CODECS, QpReader, codec_name
from postfilter.video.reading.siting import read_siting
from postfilter.video.reading.truncation import bytes_missing
from postfilter.video.target import check_source

__all__ = ["ClipInfo", "Source", "probe"]

_DAMAGED = "the file may be damaged, cut short or protected"
_WALL_CLOCK_FORMATS = ("mpegts", "mpeg")
"""Their timestamps begin anywhere; in other containers a late start is meant as one."""
_LOOKAHEAD = {"avi": 16}
"""Frames held back to put their times in order: AVI has none but those of decoding, H.264 reorders by up to 16."""
_PENDING_BYTES = 64 << 20
"""Of other tracks, before the first picture: bounds memory where none ever comes."""


class Source:
    """A clip opened for reading, with its first frame decoded already.

    The filtered track is the first video track that is no cover picture. `warnings` gathers what a user should know,
    `damage` counts what is wrong with the file; both are complete when `items` has come to its end.

    Args:
        path: the file.
        qp: whether the QP of its frames is wanted (`qp_source`); where it is read of H.264, that decodes with fewer
            threads.
        qp_from: where that is to come from.
        strict: whether damage is an error, where otherwise every frame that can be decoded is handed out.
        hwaccel: the device that decodes, see `reading.hardware`; None is the CPU, which takes over at the first damage.

    Raises:
        InputError: there is no such file, it is no video, nothing of it can be decoded, its pixel format cannot be
            filtered, it is damaged and `strict`, or `qp_from` is none of what there is.
        DeviceError: the device is not there, or does not decode this codec.
    """

    THREADS: ClassVar[Literal["AUTO", "SLICE"]] = "AUTO"
    """AUTO decodes several frames at once, each of which then comes later."""
    LIVE: ClassVar[bool] = False
    """Whether it comes once only, and no frame may wait for the next."""

    def __init__(
        self,
        path: str | Path,
        *,
        qp: bool = False,
        qp_from: QpFrom = "auto",
        strict: bool = False,
        hwaccel: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._hwaccel = hwaccel
        self.strict = strict
        self.warnings: list[str] = []
        self.damage = Damage()
        self._decoding: Decoding | None = None
        self.container = self._open()
        try:
            self.stream = self._choose_stream(self.container)
            self._check()
            self.tick = self.stream.time_base or Fraction(1, 90000)
            self.offset_seconds = self._clock_offset()
            self._frames_read = self._interlaced = 0
            self._shape = (0, 0, "")
            self._aspect: AspectSetter | None = None
            self._clock = FrameClock(
                tick=self.tick,
                step=round(1 / (frame_rate(self.stream) * self.tick)),
                lookahead=0 if self.LIVE else _LOOKAHEAD.get(self.container.format.name, 1),
            )
            siting = read_siting(self.stream)  # before anything is decoded
            self.stream.thread_type = self.THREADS
            # Decoders of devices do not tell the QP.
            readable = self.codec in QP_CODECS and hwaccel is None
            self._estimator: QpEstimator | GivenQp | None = None
            if qp:
                side = min(self.stream.width, self.stream.height)
                self._estimator = told_otherwise(qp_from, bitstream=readable, side=side)
            self._qp = QpReader(self.stream) if qp and qp_from == "auto" and readable else None
            self._pending: deque[VideoFrame | Packet[Stream]] = deque()
            track = Track(
                self.container, self.stream, packets=self._packets, take=None if self._qp is None else self._qp.take
            )
            self._decoding = Decoding(
                track, damage=self.damage, on_damage=self._on_damage, reopen=None if self.LIVE else self._reopen
            )
            self._items = self._read(self._decoding)
            self.first = self._read_first()
            if self.offset_seconds:  # a damaged start may tell a later one, and players hide what lies before 0
                self.offset_seconds = min(self.offset_seconds, (self.first.pts or 0) * self.tick)
            self.info = describe(
                self.path,
                self.stream,
                self.first,
                form=pixel_format(self.first.format.name),
                siting=siting,
                warnings=self.warnings,
            )
        except BaseException:
            self.close()
            raise

    def items(self) -> Iterator[VideoFrame | Packet[Stream]]:
        """Yield decoded frames of the filtered track, and packets of all other tracks, in the order of the file.

        Frames have strictly increasing timestamps in `tick`. Can be iterated once. The same file always gives the same.

        Raises:
            InputError: the picture's size or format changes, or the file is damaged and must not be.
        """
        while self._pending:
            yield self._pending.popleft()
        yield from self._items
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
        """Where the QP of frames comes from: see `QP_CODECS`, `estimated`, `given`; None where it was not asked for."""
        told = self._qp or self._estimator
        return None if told is None else told.source

    def qp_of(self, frame: VideoFrame) -> NDArray[np.float32] | None:
        """Return the QP of each block as the bitstream tells it, see `Frame.qp`; None where it is not asked for."""
        return None if self._qp is None else self._qp.of(frame)

    def frame_of(self, picture: VideoFrame) -> Frame:
        """Return a decoded picture with all that is known of it; its memory is shared. To be called in their order."""
        info = self.info
        frame = Frame.from_av(
            picture, colour=info.colour, qp=self.qp_of(picture), sample_aspect_ratio=info.sample_aspect_ratio
        )
        if self._estimator is not None:
            frame.qp = self._estimator.of(frame)
        return frame

    def pass_over(self, picture: VideoFrame) -> None:
        """Take note of a decoded picture that nobody asks for as a frame: estimates go on from those before."""
        if self._estimator is not None:
            self.frame_of(picture)

    def close(self) -> None:
        """Close the file."""
        if self._decoding is not None:
            self._decoding.close()
        self.container.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Any:
        """Return the opened container."""
        return _open(self.path, self._hwaccel)

    def _check(self) -> None:
        """Look at what is to be read as a whole."""
        self.damage.bytes_missing = bytes_missing(self.container, self.path)
        if self.damage.bytes_missing:
            self._on_damage(f"the file is cut short by {self.damage.bytes_missing} bytes", None)

    def _packets(self) -> Iterator[Packet[Stream]]:
        """Yield every packet, and at the end an empty one for each track."""
        return iter(self.container.demux())

    def _choose_stream(self, container: Any) -> VideoStream:
        attached = av.stream.Disposition.attached_pic
        tracks = [each for each in container.streams.video if not each.disposition & attached]
        if not tracks:
            kinds = ", ".join(sorted({each.type for each in container.streams})) or "nothing"
            raise InputError(f"{self.path} holds no video track (it holds {kinds}); give a video file")
        if tracks[0].codec_context is None:
            raise InputError(f"no decoder for the video track of {self.path}; convert the clip first")
        return tracks[0]

    def _reopen(self) -> Track:
        container = _open(self.path, None)
        stream = self._choose_stream(container)
        qp = None if self._qp is None else QpReader(stream)
        stream.thread_type, stream.thread_count = "SLICE", 1
        return Track(container, stream, packets=lambda: iter(container.demux()), take=None if qp is None else qp.take)

    def _clock_offset(self) -> Fraction:
        """What is subtracted from all timestamps where the container's clock began anywhere."""
        start = self.container.start_time
        if self.container.format.name not in _WALL_CLOCK_FORMATS or start is None:
            return Fraction(0)
        return Fraction(start, 1_000_000)

    def _read(self, decoding: Decoding) -> Iterator[VideoFrame | Packet[Stream]]:
        for item in decoding.items():
            if isinstance(item, VideoFrame):
                for frame in self._clock.push(self._accept(item)):
                    self._check_clock()
                    yield frame
            else:
                yield item
        yield from self._clock.flush()
        self._check_clock()

    def _accept(self, frame: VideoFrame) -> VideoFrame:
        shape = (frame.width, frame.height, frame.format.name)
        if not self._frames_read:
            self._shape = shape
        elif shape != self._shape:
            old, new = ("{}x{} {}".format(*each) for each in (self._shape, shape))
            at = "" if frame.time is None else f" ({frame.time:.3f} s)"
            raise InputError(
                f"{self.path} changes from {old} to {new} at frame {self._frames_read}{at}; one track of a file "
                "has one size and format: cut the clip there, with ffmpeg -c copy, and filter its parts"
            )
        self._frames_read += 1
        self._interlaced += frame.interlaced_frame
        if self._frames_read == 1:
            told = self.stream.sample_aspect_ratio
            if told and told != self.stream.codec_context.sample_aspect_ratio:
                self._aspect = AspectSetter(told)
        return planar(frame if self._aspect is None else self._aspect.set(frame))

    def _check_clock(self) -> None:
        if self._clock.moved > self.damage.timestamps_moved:
            self.damage.timestamps_moved = self._clock.moved
            self._on_damage("a frame's timestamp does not increase", self._clock.first_moved_seconds)

    def _on_damage(self, what: str, seconds: float | None) -> None:
        if self.strict:
            at = "" if seconds is None else f" at {seconds:.3f} s"
            raise InputError(f"{self.path} is damaged{at}: {what}; leave --strict away to filter what can be decoded")

    def _read_first(self) -> VideoFrame:
        waiting = 0
        for item in self._items:
            self._pending.append(item)
            if isinstance(item, VideoFrame):
                return item
            waiting += item.size
            if waiting > _PENDING_BYTES:
                raise InputError(f"no frame of {self.path} in its first {waiting >> 20} MB: {_DAMAGED}")
        if is_encrypted(self.path):
            raise InputError(f"{self.path} is encrypted: no frame can be decoded without its key; decrypt it first")
        raise InputError(f"no frame of {self.path} can be decoded: {_DAMAGED}")

    def _sum_up(self) -> None:
        decoding = self._decoding
        missing = self.stream.frames - self._frames_read - (decoding.packets_hidden if decoding else 0)
        if missing > 0:
            self.damage.frames_missing = missing
            self._on_damage(f"the container tells of {self.stream.frames} frames, {self._frames_read} were found", None)
        if decoding is not None and decoding.packets_of_late_tracks:
            self.warnings.append(f"{decoding.packets_of_late_tracks} packets of tracks that begin later are left out")
        if 0 < self._interlaced < self._frames_read:
            self.warnings.append(
                f"{self._interlaced} of {self._frames_read} frames are interlaced; libx264 codes all of a clip alike, "
                "ffv1 keeps each frame's kind"
            )
        self.warnings += self.damage.sentences()


def probe(path: str | Path) -> ClipInfo:
    """Return what a clip is, from its header and first frame.

    Raises:
        InputError: as `Source`.
    """
    with Source(path) as source:
        return source.info


def _open(path: Path, hwaccel: str | None) -> Any:
    check_source(path, wanted="a video file")
    try:
        if hwaccel is not None:
            return open_with_hardware(path, hwaccel)
        # Metadata in another encoding than UTF-8 is common in old files and no reason to refuse one.
        return av.open(str(path), metadata_errors="replace")
    except PostfilterError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        if is_encrypted(path):
            raise InputError(f"{path} is encrypted ({reason(error)}); decrypt it first, with its key") from error
        raise InputError(f"cannot open {path} as a video ({reason(error)}); {_DAMAGED}") from error
