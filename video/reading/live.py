"""Inputs that come as they come: a pipe, a network address, a camera."""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

import av
from av import Packet, VideoFrame
from av.stream import Stream

from postfilter.errors import InputError
from postfilter.video.pixels import FORMATS, pixel_format
from postfilter.video.reading.decoding import reason
from postfilter.video.reading.estimated_qp import QpFrom
from postfilter.video.reading.source import Source
from postfilter.video.reading.timeline import Timeline

__all__ = ["LiveSource", "is_live"]

_UNPACED = {"udp", "udplite", "rtp", "rtsp", "rtsps", "srt", "rist", "rtmp", "rtmps", "rtmpt", "rtmpe", "mms", "mmsh"}
"""Protocols whose sender does not wait for us: what is not read in time is lost."""
_LAST_RESORT = "yuv420p"
"""For what no planar format holds exactly, and for packed RGB, which luma engines cannot filter."""
_WAKE_SECONDS = 0.1


def is_live(name: str | Path, *, input_format: str | None = None) -> bool:
    """Return whether an input is no plain file: `-`, a URL, a pipe or a device, or one whose format is given."""
    text = str(name)
    if text == "-" or "://" in text or input_format is not None:
        return True
    try:
        mode = Path(text).stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


class LiveSource(Source):
    """A stream opened for reading, with its first frame decoded already.

    Timestamps start at 0 and run on where the stream begins anew. What stays silent for too long has ended.

    Args:
        name: `-` for standard input, a URL, a named pipe, a device such as `/dev/video0`.
        input_format: FFmpeg's name of a demuxer or device (`v4l2`, `avfoundation`, `dshow`, `mpegts`, …), where it
            cannot be told from the name or the data.
        options: of the demuxer, device or protocol, such as `{"framerate": "30", "video_size": "1280x720"}`.
        timeout_seconds: after which a silent network address counts as absent, or as ended.
        qp: as for `Source`.
        qp_from: as for `Source`.

    Raises:
        InputError: it cannot be opened, is no video, or its pixel format cannot be filtered.
    """

    THREADS: ClassVar[Literal["AUTO", "SLICE"]] = "SLICE"
    LIVE: ClassVar[bool] = True

    def __init__(
        self,
        name: str | Path,
        *,
        input_format: str | None = None,
        options: Mapping[str, str] | None = None,
        timeout_seconds: float = 10.0,
        qp: bool = False,
        qp_from: QpFrom = "auto",
    ) -> None:
        self.name = str(name)
        self.arrived = time.perf_counter()
        """When the packet came of which the newest frame was decoded."""
        self.timed_out = False
        self._stopped = False
        self._timeout = timeout_seconds
        self._format, self._options = input_format, dict(options or {})
        if self.name.startswith("/dev/video") and input_format is None:
            self._format = "v4l2"
        scheme = self.name.partition("://")[0].lower() if "://" in self.name else ""
        self.paced = self.name == "-" or (scheme not in _UNPACED if scheme else not self._is_device())
        """Whether the sender waits for us, so that frames can be held back until their time."""
        super().__init__(self.name, qp=qp, qp_from=qp_from)

    @property
    def jumps(self) -> int:
        """Times that the stream began anew."""
        return self._timeline.jumps

    def stop(self) -> None:
        """End the stream with the next packet; wakes up a reader of standard input."""
        self._stopped = True

    def _is_device(self) -> bool:
        path = Path(self.name)
        return not (path.is_file() or path.is_fifo() or path.is_socket())

    def _open(self) -> Any:
        options = {"analyzeduration": "1000000"} | self._options
        if self.name.startswith("udp://"):
            options = {"overrun_nonfatal": "1", "fifo_size": "100000"} | options
        file: Any = _Standard(self) if self.name == "-" else self.name
        try:
            container = av.open(
                file, format=self._format, options=options, metadata_errors="replace",
                timeout=(self._timeout, self._timeout),
            )  # fmt: skip
        except av.error.ExitError as error:
            raise InputError(
                f"nothing came from {self.name} within {self._timeout:g} s; start the sender, or give more time with "
                "--input-timeout"
            ) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"cannot open {self.name} ({reason(error)}); give a file, - for standard input, a URL such as "
                "udp://127.0.0.1:5000, or a camera such as /dev/video0 (elsewhere with --input-format)"
            ) from error
        start = container.start_time
        self._timeline = Timeline(None if start is None else Fraction(start, 1_000_000))
        return container

    def _check(self) -> None:
        """Nothing is known of how long it will be."""

    def _clock_offset(self) -> Fraction:
        return Fraction(0)

    def _packets(self) -> Iterator[Packet[Stream]]:
        try:
            for packet in self.container.demux():
                self.arrived = time.perf_counter()
                self._shift(packet)
                yield packet
                if self._stopped:
                    break
            else:
                return
        except av.error.ExitError:
            self.timed_out = True
        last: Packet[Stream] = Packet()
        last.stream = self.stream
        yield last

    def _shift(self, packet: Packet[Stream]) -> None:
        at = packet.dts if packet.dts is not None else packet.pts
        if at is None or not packet.time_base:
            return
        stream, tick = packet.stream, packet.time_base
        if stream.index == self.stream.index or stream.type == "audio":
            shift = self._timeline.follow(stream.index, at * tick, (packet.duration or 0) * tick)
        else:
            shift = self._timeline.shift or Fraction(0)
        ticks = round(shift / tick)
        if packet.dts is not None:
            packet.dts += ticks
        if packet.pts is not None:
            packet.pts += ticks

    def _accept(self, frame: VideoFrame) -> VideoFrame:
        name = frame.format.name
        if name not in FORMATS:
            wanted = _taken_apart(name)
            if not self._frames_read:
                self.warnings.append(f"frames come as {name} and are converted to {wanted or _LAST_RESORT}")
            if wanted is None:  # by one thread: several write beyond the ends of their rows
                frame = frame.reformat(format=_LAST_RESORT, threads=1)
        return super()._accept(frame)


def _taken_apart(name: str) -> str | None:
    """The planar Y'CbCr format with the same samples; None where there is none, as for the RGB of screens."""
    try:
        form = pixel_format(name)
    except InputError:
        return None
    return None if form.rgb else form.name


class _Standard:
    """Standard input for PyAV: gives what is there, and ends when it is told to although nothing more comes."""

    name = "-"

    def __init__(self, source: LiveSource) -> None:
        self._source, self._file = source, sys.stdin.fileno()

    def read(self, size: int) -> bytes:
        while os.name != "nt" and not select.select([self._file], [], [], _WAKE_SECONDS)[0]:
            if self._source._stopped:
                return b""
        return os.read(self._file, size)
