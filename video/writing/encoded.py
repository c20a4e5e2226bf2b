"""The filtered track: encoded in segments, each by a fresh encoder, so that a run can go on where another stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import av
from av import Packet, VideoFrame
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from postfilter.errors import OutputError
from postfilter.video.writing.segments import SegmentWriter, presentation_times, read_segment
from postfilter.video.writing.timestamps import DecodeTimes

if TYPE_CHECKING:
    from postfilter.video.writing.work_folder import WorkFolder

__all__ = ["SEGMENT_FRAMES", "EncodedTrack"]

SEGMENT_FRAMES = 250
"""x264 and x265 begin a new group of pictures after as many frames anyway, so a fresh encoder there costs little."""


class EncodedTrack:
    """Frames in, packets with their final times out; every complete segment is kept in the work folder.

    Segments begin at fixed frame numbers with an encoder that knows nothing of what was before. What is encoded after
    an interruption is therefore what would have been without it, packet for packet.

    Args:
        folder: holds what is done already, which `replay` yields.
        new_encoder: opens the same encoder every time.
        segment_frames: in each segment but the last.
    """

    def __init__(
        self, folder: WorkFolder, *, new_encoder: Callable[[], VideoCodecContext], segment_frames: int = SEGMENT_FRAMES
    ) -> None:
        self.frames_in = folder.journal.frames
        self.packets_out = 0
        self.counts: Counter[str] = Counter(folder.journal.counts)
        """Sums over all frames, of whatever was counted."""
        self._folder, self._new_encoder, self._segment_frames = folder, new_encoder, segment_frames
        self._times = DecodeTimes()
        self._encoder: VideoCodecContext | None = None
        self._writer: SegmentWriter | None = None
        self._in_segment = 0
        self._durations: dict[int, int] = {}
        """Ticks that frames in the encoder last, by their time: some encoders do not hand them through."""
        self._last_pts = folder.journal.segments[-1].last_pts if folder.journal.segments else None
        self.end = self._last_pts or 0
        """When the last frame has been shown, in ticks of the encoder."""

    def replay(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the segments that were complete at the start; to be used up before any is encoded."""
        for index, segment in enumerate(list(self._folder.journal.segments)):
            path = self._folder.segment(index)
            self._times.add_frames(presentation_times(path, segment))
            for packet in read_segment(path, segment):
                yield from self._stamped([packet])
            yield from self._stamped([], last=True)

    def encode(self, frame: VideoFrame, counts: Mapping[str, float]) -> list[Packet[VideoStream]]:
        """Take the next frame, and what was counted in it; return the packets that are ready.

        Raises:
            OutputError: the times do not follow on those of the segments before.
            av.FFmpegError, OSError, ValueError: the encoder refuses it, or a segment cannot be written.
        """
        if self._encoder is None:
            self._encoder = self._new_encoder()
            self._writer = SegmentWriter(self._folder.segment(len(self._folder.journal.segments)))
        packets = self._encoder.encode(frame)
        # By now the frame's time is in ticks of the encoder.
        pts = frame.pts or 0
        if self._last_pts is not None and pts <= self._last_pts:
            raise OutputError(
                f"frame {self.frames_in} is shown at {pts}, not after {self._last_pts} as the one before it; please "
                "report it, and start afresh without --resume"
            )
        self._last_pts, self.end = pts, pts + frame.duration
        self._durations[pts] = frame.duration
        self._times.add_frames([pts])
        self.frames_in += 1
        self._in_segment += 1
        self.counts.update(counts)
        ready = self._taken(packets)
        if self._in_segment == self._segment_frames:
            ready += self._end_segment(keep=True)
        return ready

    def finish(self) -> list[Packet[VideoStream]]:
        """End the last segment; return the packets that were still in the encoder.

        Raises:
            as `encode`.
        """
        return self._end_segment(keep=False) if self._encoder is not None else []

    def abandon(self) -> None:
        """Delete the segment that is not complete."""
        self._encoder = None
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _end_segment(self, *, keep: bool) -> list[Packet[VideoStream]]:
        assert self._encoder is not None and self._writer is not None
        ready = self._taken(self._encoder.encode(None), last=True)
        if self._durations:
            raise OutputError(
                f"the encoder took {self.frames_in} frames and lost {len(self._durations)} of them; try another codec"
            )
        if keep:
            self._folder.add(self._writer.complete(self.counts))
        self._writer.abandon()
        self._encoder = self._writer = None
        self._in_segment = 0
        return ready

    def _taken(self, packets: list[Packet[VideoStream]], *, last: bool = False) -> list[Packet[VideoStream]]:
        assert self._writer is not None
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, packet.duration)
            self._writer.add(packet)
        return self._stamped([_bare(each) for each in packets], last=last)

    def _stamped(self, packets: list[Packet[VideoStream]], *, last: bool = False) -> list[Packet[VideoStream]]:
        ready = self._times.stamp(packets, last=last)
        self.packets_out += len(ready)
        return ready


def _bare(packet: Packet[VideoStream]) -> Packet[VideoStream]:
    """The packet as it is read back from a segment: without the encoder's statistics and hints, sharing its bytes."""
    bare: Packet[VideoStream] = av.Packet(packet)  # type: ignore[arg-type, assignment]
    bare.pts, bare.dts, bare.duration, bare.is_keyframe = packet.pts, packet.dts, packet.duration, packet.is_keyframe
    return bare
