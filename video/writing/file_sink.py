"""A file with the filtered track, and everything else of the input copied beside it."""

from __future__ import annotations

import errno
import secrets
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
from av import Packet, VideoFrame
from av.stream import Stream

from postfilter.errors import OutputError
from postfilter.quality.opening import opening_encoder
from postfilter.video.pixels import relabelled
from postfilter.video.reading.decoding import reason
from postfilter.video.reading.source import Source
from postfilter.video.writing.copied import (
    CopiedTrack,
    copy_metadata,
    copy_track,
    encoded_metadata,
    keyed_metadata,
    track_name,
)
from postfilter.video.writing.encoder import EncoderSettings, add_encoder, encoder_format

__all__ = ["NO_ROOM", "FileSink", "open_container"]

_HELD_BYTES = 64 << 20
"""Of copied packets that wait for the video to come as far as they are: bounds memory where it never does."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of the system."""
_REMEDIES = {
    **dict.fromkeys(NO_ROOM, "make room on the disk, or give another folder"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "look at the rights of the file and of its folder"),
    errno.EIO: "look at the disk, or give another folder",
}
"""Error number of the system -> what to try."""


class FileSink:
    """A file in the making: written beside the target under a temporary name, and renamed at the end.

    Args:
        target: the file to be; its suffix names the container.
        source: what is copied from.
        settings: the encoder and its quality.
        warnings: gathers what cannot be carried over.

    Raises:
        OutputError: the container is unknown or cannot hold a track, the folder cannot be written to, or the encoder
            refuses the clip.
    """

    def __init__(self, target: Path | str, *, source: Source, settings: EncoderSettings, warnings: list[str]) -> None:
        self.target = target
        self.frames_written = 0
        self.warnings = warnings
        self._sent = 0
        self._held: deque[Packet[Any]] = deque()
        self._held_bytes = 0
        self._refused = 0
        self._video_seconds = float("-inf")
        self._copied: dict[int, CopiedTrack] = {}
        self._container = self._open(source)
        try:
            self._add_tracks(source, settings)
            with opening_encoder():
                self._container.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            self.discard()
            raise self._error(error) from error
        except BaseException:
            self.discard()
            raise

    def write_frame(self, frame: VideoFrame) -> None:
        """Encode a frame; write what the encoder gives back, and the copied packets up to that time.

        Raises:
            OutputError: the encoder or the file fails.
        """
        self._sent += 1
        self._encode(self._prepared(frame))

    def write_packet(self, packet: Packet[Any]) -> None:
        """Take a packet of a copied track; it is written once the video has come as far.

        Raises:
            OutputError: the file cannot be written.
        """
        copied = self._copied.get(packet.stream.index)
        if copied is None:
            return
        self._held.append(copied.prepare(packet))
        self._held_bytes += packet.size
        self._release()

    def finish(self, *, partial: bool = False) -> None:
        """Flush the encoder, write what is held, and the container's end.

        Args:
            partial: whether the video ends before the input does; copied packets of later times are left out then.

        Raises:
            OutputError: the file cannot be written, or holds not as many frames as it was given.
        """
        self._encode(None)
        if partial:
            self._held_bytes = 0  # of which too many would be let go
        else:
            self._video_seconds = float("inf")
        self._release()
        if self.frames_written != self._sent:
            raise OutputError(
                f"the encoder took {self._sent} frames and wrote {self.frames_written}; try another codec"
            )
        moved = sum(each.restamped for each in self._copied.values())
        if moved:
            self.warnings.append(f"{moved} copied packets had timestamps that went back; they were moved")
        if self._refused:
            self.warnings.append(
                f"{self._refused} damaged packets of copied tracks have no place in {self._container.format.name} and "
                "are left out"
            )
        try:
            self._container.close()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error

    def commit(self) -> None:
        """Give the finished file its name.

        Raises:
            OutputError: it cannot be renamed.
        """
        try:
            self._path.replace(self.target)
        except OSError as error:
            raise self._error(error) from error

    def discard(self) -> None:
        """Close and delete the unfinished file. Doing so twice, or after `commit`, does nothing."""
        # The end of an unfinished container may not be writable; the file goes anyway.
        with suppress(Exception):
            self._container.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _open(self, source: Source) -> Any:
        """Return the opened container, whose header is not yet written."""
        target = Path(self.target)
        self._path = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.partial{target.suffix}")
        return open_container(self._path, target, keyed_metadata(source.container))

    def _add_tracks(self, source: Source, settings: EncoderSettings) -> None:
        container, self._offset_ticks = self._container, 0
        offset = source.offset_seconds if container.format.name != source.container.format.name else 0
        copy_metadata(source.container, container, offset_seconds=offset)
        for each in source.container.streams:
            if each.index == source.stream.index:
                self._stream = add_encoder(container, settings, source.info, source.first, self.warnings)
                self._stream.metadata.update(encoded_metadata(each))
                self._stream.disposition = each.disposition
                self._format = encoder_format(settings, source.info)
                self._offset_ticks = round(offset / source.tick)
                continue
            track = copy_track(container, each)
            if track is None and not self._rewrites_timecode(each):
                self.warnings.append(
                    f"{track_name(each)} is left out: {container.format.name} has no place for it, or it is empty"
                )
            elif track is not None and track.type != "attachment":
                ticks = round(offset / each.time_base) if each.time_base else 0
                self._copied[each.index] = CopiedTrack(track, each, offset_ticks=ticks)

    def _rewrites_timecode(self, track: Stream) -> bool:
        """Whether this is a timecode track, which MP4 and QuickTime make anew from the metadata."""
        return "timecode" in track.metadata and self._container.format.name in ("mp4", "mov")

    def _prepared(self, frame: VideoFrame) -> VideoFrame:
        """The frame as the encoder is to have it."""
        frame.pict_type = 0  # the encoder chooses; the decoder's choice would be obeyed
        if frame.pts is not None:
            frame.pts -= self._offset_ticks
        return frame if frame.format.name == self._format else relabelled(frame, self._format)

    def _encode(self, frame: VideoFrame | None) -> None:
        try:
            packets = self._stream.encode(frame)
            for packet in packets:
                self._mux(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error
        if packets:
            self._release()

    def _mux(self, packet: Packet[Any]) -> None:
        """Write a packet of the filtered track."""
        at = packet.dts if packet.dts is not None else packet.pts
        if at is not None and packet.time_base:
            self._video_seconds = float(at * packet.time_base)
        self._container.mux(packet)
        self.frames_written += 1

    def _release(self) -> None:
        """Write held packets that the video has reached, so that the muxer interleaves as the input did."""
        while self._held:
            packet = self._held[0]
            seconds = float(packet.dts * packet.time_base) if packet.dts is not None else 0.0
            if seconds > self._video_seconds and self._held_bytes < _HELD_BYTES:
                return
            self._held.popleft()
            self._held_bytes -= packet.size
            try:
                self._container.mux(packet)
            except (av.error.InvalidDataError, av.error.PatchWelcomeError):
                # A container that repacks sound, such as Matroska that of MPEG-TS, cannot do so with a damaged packet.
                self._refused += 1
            except (av.FFmpegError, OSError, ValueError) as error:
                raise self._error(error) from error

    def _error(self, cause: Exception) -> OutputError:
        """What a user is told."""
        if isinstance(cause, OutputError):
            return cause
        number = getattr(cause, "errno", None) or 0
        if number in _REMEDIES or not isinstance(cause, av.FFmpegError | ValueError):
            remedy = _REMEDIES.get(number, "look at the file's name, and give another one or another folder")
            return OutputError(f"cannot write {self.target} ({reason(cause)}); {remedy}")
        refused = [track_name(each.source) for each in self._copied.values() if each.is_refused()]
        what = " and ".join(refused) or "the filtered video"
        return OutputError(
            f"the container of {self.target} refuses {what} ({reason(cause)}): the input's headers may be damaged, or "
            "it is not made for that; try another suffix, such as .mkv, .mp4 or the input's own"
        )


def open_container(path: Path, target: Path, options: dict[str, str]) -> Any:
    """Open a container for writing at `path`, of the kind that the suffix of `target` names.

    Raises:
        OutputError: there is a file, the folder cannot be written to, or no container is known by the suffix.
    """
    try:
        with path.open("xb"):
            pass  # says clearly what is wrong with the folder, before FFmpeg does
    except OSError as error:
        raise OutputError(f"cannot write to the folder {path.parent} ({error.strerror}); give another one") from error
    try:
        return av.open(str(path), "w", container_options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise OutputError(
            f"no container is known by the suffix {target.suffix!r}; give a name that ends in .mkv, .mp4, .mov, .ts, …"
        ) from error
