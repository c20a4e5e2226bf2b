"""A file in the making that another run can go on with, whatever ended the first one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import av
from av import Packet, VideoFrame
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from postfilter import __version__
from postfilter.errors import OutputError
from postfilter.runtime.backend import usable_cores
from postfilter.video.reading.decoding import reason
from postfilter.video.reading.source import Source
from postfilter.video.writing.copied import keyed_metadata
from postfilter.video.writing.encoded import SEGMENT_FRAMES, EncodedTrack
from postfilter.video.writing.encoder import EncoderSettings, twin_encoder
from postfilter.video.writing.file_sink import NO_ROOM, FileSink, open_container
from postfilter.video.writing.journal import Journal, input_identity, sync_file
from postfilter.video.writing.partial import partial_name, write_partial
from postfilter.video.writing.sink import NOTHING
from postfilter.video.writing.work_folder import WorkFolder

__all__ = ["ResumableSink"]

_log = logging.getLogger(__name__)


class ResumableSink(FileSink):
    """A file that is made in a work folder beside the target, and moved to its name at the end.

    The encoded track is kept there a second time, in segments that are on the disk for good: see `EncodedTrack`. What
    is copied is copied again by a run that goes on.

    Args:
        target: the file to be; its suffix names the container.
        source: what is copied from.
        settings: the encoder and its quality.
        warnings: gathers what cannot be carried over.
        made_with: what else decides how frames look: a dict of plain values for each topic, such as `engine`.
        resume: whether to go on where an earlier run ended; where there was none, this is the first.
        threads: of the encoder; x264's output depends on it. None: as the earlier run, or as the cores suggest.
        segment_frames: see `EncodedTrack`.

    Raises:
        OutputError: the container is unknown or cannot hold a track, the folder cannot be written to, the encoder
            refuses the clip, another run writes the same target, or what is there was made with something else.
    """

    def __init__(
        self,
        target: Path,
        *,
        source: Source,
        settings: EncoderSettings,
        warnings: list[str],
        made_with: Mapping[str, Any] = NOTHING,
        resume: bool = False,
        threads: int | None = None,
        segment_frames: int = SEGMENT_FRAMES,
    ) -> None:
        self._source, self._settings = source, settings
        self._encoded: EncodedTrack | None = None
        self._ended = False
        self._folder = WorkFolder(target)
        found = self._folder.found()
        known = found.made_with.get("encoder", {}).get("threads") if found is not None and resume else None
        self._threads = threads or known or _threads(settings.codec)
        super().__init__(target, source=source, settings=settings, warnings=warnings)
        try:
            # Only now, when nothing else can be refused, an earlier run's work may have to go.
            self._enter(found, {**made_with, **self._made_with(segment_frames)}, resume=resume)
        except BaseException as error:
            self.discard(keep=True)
            if isinstance(error, OSError):
                raise self._error(error) from error
            raise
        self.frames_done = self._folder.journal.frames
        self._encoded = EncodedTrack(self._folder, new_encoder=self._new_encoder, segment_frames=segment_frames)
        self._replay: Iterator[Packet[VideoStream]] = self._encoded.replay()

    @property
    def counts(self) -> Mapping[str, float]:
        """Sums of what was counted in the frames, by earlier runs too."""
        return self._track.counts

    def write_frame(self, frame: VideoFrame, counts: Mapping[str, float] = NOTHING) -> None:
        """Encode a frame; write what the encoder gives back, and the copied packets up to that time.

        Args:
            frame: the one after the last; the first is number `frames_done`.
            counts: what was counted in it, kept with the segment that it becomes part of.

        Raises:
            OutputError: the encoder or the file fails.
        """
        frame = self._prepared(frame)
        try:
            self._write(self._replay)
            self._write(self._track.encode(frame, counts))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error

    def write_packet(self, packet: Packet[Any]) -> None:
        """Take a packet of a copied track; it is written once the video has come as far.

        Raises:
            OutputError: the file cannot be written.
        """
        # What an earlier run encoded is written along with what is copied, so that both lie beside each other.
        at = packet.dts if packet.dts is not None else packet.pts
        try:
            if at is not None and packet.stream.index in self._copied:
                self._write(
                    self._replay, until=float((at - self._copied[packet.stream.index].offset_ticks) * packet.time_base)
                )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error
        super().write_packet(packet)

    def finish(self, *, partial: bool = False) -> None:
        """As `FileSink`."""
        try:
            self._write(self._replay)
            self._write(self._track.finish())
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error
        self._sent = self._track.frames_in
        self._video_seconds = max(self._video_seconds, self._track.end * float(self._stream.codec_context.time_base))
        super().finish(partial=partial)

    def commit(self) -> None:
        """Give the finished file its name, once the disk has all of it.

        Raises:
            OutputError: it cannot be renamed.
        """
        try:
            sync_file(self._folder.container)
            self._folder.container.replace(self.target)
        except OSError as error:
            raise self._error(error) from error
        self._folder.sync()
        partial = self._folder.partial()
        if partial is not None:
            partial.unlink(missing_ok=True)
        self._end(keep=False)

    def commit_partial(self) -> Path | None:
        """Leave the finished file as a part of what it was to be, marked so in its name and metadata.

        Complete segments stay for a run that goes on.

        Returns:
            Where it is; None where no frame was written.

        Raises:
            OutputError: it cannot be renamed.
        """
        if not self.frames_written:
            self._end(keep=True)
            return None
        target = Path(self.target)
        free = (name for number in count(1) if not (name := partial_name(target, number)).exists())
        path = self._folder.partial() or next(free)
        total = self._source.info.frames or "an unknown number of"
        try:
            write_partial(
                self._folder.container, path, note=f"partial: the first {self.frames_written} of {total} frames"
            )
            self._folder.note_partial(path)
        except OSError as error:
            raise self._error(error) from error
        self._end(keep=True)
        return path

    def discard(self, *, keep: bool = False) -> None:
        """Close and delete the unfinished file. Doing so twice, or after `commit`, does nothing.

        Args:
            keep: whether complete segments stay, for another run to go on. What an earlier run left stays as well
                where this one was refused.
        """
        if self._ended:
            return
        # The end of an unfinished container may not be writable; the file goes anyway.
        with suppress(Exception):
            self._container.close()
        if self._encoded is not None:
            self._encoded.abandon()
        self._end(keep=keep)

    @property
    def _track(self) -> EncodedTrack:
        assert self._encoded is not None
        return self._encoded

    def _end(self, *, keep: bool) -> None:
        self._ended = True
        frames = self._folder.journal.frames
        self._folder.leave(keep=keep)
        if keep and frames:
            _log.warning(
                "%d frames of %s are kept; the same command with --resume goes on from there", frames, self.target
            )

    def _enter(self, found: Journal | None, made_with: Mapping[str, Any], *, resume: bool) -> None:
        if found is not None and resume:
            dropped = self._folder.resume(found, made_with)
            if dropped:
                self.warnings.append(f"{dropped} segments of the unfinished run were damaged, and were made again")
            return
        if found is not None:
            self.warnings.append(
                f"an unfinished run had {found.frames} frames of {self.target}; this one began afresh, as --resume was "
                "not given"
            )
        self._folder.begin(made_with)

    def _made_with(self, segment_frames: int) -> dict[str, Any]:
        """What of input, encoder and libraries decides what the packets are."""
        return {
            "input": input_identity(self._source.path),
            "encoder": {
                **dataclasses.asdict(self._settings),
                "pixel_format": self._format,
                "threads": self._threads,
                "segment_frames": segment_frames,
            },
            "version": {
                "postfilter": __version__,
                "av": av.__version__,
                "libavcodec": ".".join(str(each) for each in av.library_versions["libavcodec"]),
            },
        }

    def _open(self, source: Source) -> Any:
        try:
            return open_container(self._folder.container, Path(self.target), keyed_metadata(source.container))
        except OutputError:
            self.discard(keep=True)
            raise

    def _add_tracks(self, source: Source, settings: EncoderSettings) -> None:
        super()._add_tracks(source, settings)
        # Never used to encode, but what it writes into the header is what the segments' encoders go by.
        self._stream.codec_context.thread_count = self._threads

    def _new_encoder(self) -> VideoCodecContext:
        return twin_encoder(self._stream, self._settings, self._source.info, self._source.first)

    def _write(self, packets: Iterable[Packet[VideoStream]], *, until: float = float("inf")) -> None:
        """Write packets of the encoded track, and copied ones beside them, until it has come to `until` (seconds)."""
        if self._video_seconds >= until:
            return
        for packet in packets:
            packet.stream, packet.time_base = self._stream, self._stream.codec_context.time_base
            self._mux(packet)
            if self._video_seconds >= until:
                return
            self._release()

    def _error(self, cause: Exception) -> OutputError:
        if getattr(cause, "errno", None) in NO_ROOM and self._folder.journal.segments:
            return OutputError(
                f"cannot write {self.target} ({reason(cause)}); make room on the disk, then go on with --resume"
            )
        return super()._error(cause)


def _threads(codec: str) -> int:
    """As many as x264 and x265 choose by themselves: fixed, since what they write depends on the number."""
    cores = usable_cores()
    return min(6, 1 + cores // 4) if codec == "libx265" else min(16, max(1, cores * 3 // 2))
