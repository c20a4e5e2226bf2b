"""Outputs that take frames as they come: a pipe, a network address."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import av

from postfilter.errors import OutputError
from postfilter.video.reading.decoding import reason
from postfilter.video.reading.source import Source
from postfilter.video.writing.encoder import EncoderSettings
from postfilter.video.writing.file_sink import FileSink

__all__ = ["StreamSink", "is_stream"]

_FORMATS = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtsps": "rtsp", "rtp": "rtp_mpegts"}
"""Protocol -> container. Others get MPEG-TS, which a receiver can join at any time."""
_PIPES = ("-", "pipe:")
_UNENDING = {
    "matroska": {"cluster_time_limit": "1", "live": "1"},
    "mp4": {"movflags": "frag_every_frame+empty_moov+default_base_moof"},
    "mov": {"movflags": "frag_every_frame+empty_moov+default_base_moof"},
}
"""Options with which a container is written piece by piece, and each frame at once."""
_TIMEOUT_MICROSECONDS = 10_000_000


def is_stream(target: str | Path) -> bool:
    """Return whether an output is no file: `-`, `pipe:N` or a URL."""
    text = str(target)
    return text.startswith(_PIPES[1]) or text == _PIPES[0] or "://" in text


class StreamSink(FileSink):
    """A pipe or a network address: every frame leaves when it is given.

    Args:
        target: `-` for standard output, `pipe:N` for a file descriptor, or a URL.
        source: what is copied from.
        settings: the encoder and its quality.
        warnings: gathers what cannot be carried over.
        output_format: FFmpeg's name of the container; None takes Matroska for pipes (MPEG-TS where the input is that),
            and what is usual for a protocol.

    Raises:
        OutputError: nobody answers there, or the container cannot hold a track.
    """

    def __init__(
        self,
        target: str,
        *,
        source: Source,
        settings: EncoderSettings,
        warnings: list[str],
        output_format: str | None = None,
    ) -> None:
        scheme = target.partition("://")[0].lower() if "://" in target else ""
        # Sound out of MPEG-TS lacks what Matroska's header must say when nobody can go back to it.
        piped = "mpegts" if source.container.format.name == "mpegts" else "matroska"
        self._output_format = output_format or (_FORMATS.get(scheme, "mpegts") if scheme else piped)
        super().__init__(target, source=source, settings=settings, warnings=warnings)

    def commit(self) -> None:
        """Do nothing: what was sent is sent."""

    def discard(self) -> None:
        """Close the stream. Doing so twice does nothing."""
        with suppress(Exception):
            self._container.close()

    def _open(self, source: Source) -> Any:
        name = str(self.target)
        if name == "-":
            name = "pipe:1"
        if name.startswith("tcp://") and "timeout=" not in name:
            # A receiver that reads no more would be waited for without end.
            name += f"{'&' if '?' in name else '?'}timeout={_TIMEOUT_MICROSECONDS}"
        # Without these a track that is silent would hold back the others, for ten seconds by default.
        options = {"flush_packets": "1", "max_interleave_delta": "100000"} | _UNENDING.get(self._output_format, {})
        try:
            return av.open(name, "w", format=self._output_format, container_options=options)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise OutputError(
                f"cannot write {self._output_format} to {self.target} ({error}); give another --output-format, for "
                "instance mpegts, matroska, nut or flv"
            ) from error

    def _error(self, cause: Exception) -> OutputError:
        if isinstance(cause, OutputError):
            return cause
        return OutputError(
            f"cannot send to {self.target} ({reason(cause)}); look whether a receiver is there and "
            f"reads, and whether {self._output_format} can hold these tracks (--output-format)"
        )
