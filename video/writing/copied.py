"""Tracks that are copied packet by packet: audio, subtitles, attachments, data, cover pictures, further video."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition, Stream

from postfilter.errors import OutputError

__all__ = ["CopiedTrack", "copy_metadata", "copy_track", "encoded_metadata", "holds", "keyed_metadata", "track_name"]

_OF_THE_OLD_FILE = {"encoder", "major_brand", "minor_version", "compatible_brands"}
"""Metadata that describes the file that was, not what it shows."""
_OF_THE_OLD_BITS = ("bps", "number_of_frames", "number_of_bytes", "duration", "_statistics_")
"""Matroska's statistics tags of a track: wrong for one that is encoded anew."""

_MOST_TICKS = (1 << 31) - 1
"""A second, of a movie's clock: FFmpeg's muxer counts with 31 bits."""


class CopiedTrack:
    """One track on its way from a container to another.

    Args:
        track: in the output.
        source: in the input.
        offset_ticks: subtracted from every timestamp, in ticks of the input track.
    """

    def __init__(self, track: Any, source: Stream, *, offset_ticks: int = 0) -> None:
        self.track, self.source = track, source
        self.offset_ticks = offset_ticks
        self.restamped = 0
        """Packets that left with another time than they came with."""
        self._may_stand_still = bool(track.container.format.flags & Flags.ts_nonstrict.value)
        self._last_dts: int | None = None
        self._last_duration = 0
        self._first: Packet[Any] | None = None

    def prepare(self, packet: Packet[Any]) -> Packet[Any]:
        """Direct a packet to the output's track and give it timestamps that a muxer takes.

        The output's header is written by now, so its clock is known.
        """
        dts = packet.dts if packet.dts is not None else packet.pts
        if dts is None:
            dts = 0 if self._last_dts is None else self._last_dts + self._last_duration
        else:
            dts -= self.offset_ticks
        pts = dts if packet.pts is None else packet.pts - self.offset_ticks
        if self._last_dts is not None:
            earliest = self._earliest(self._last_dts, packet.time_base)
            if dts < earliest:
                self.restamped += 1
                went_back = dts < self._last_dts
                dts = max(earliest, self._last_dts + self._last_duration) if went_back else earliest
        packet.dts, packet.pts = dts, max(pts, dts)
        self._last_dts, self._last_duration = dts, packet.duration or 0
        packet.stream = self.track
        self._first = self._first or packet
        return packet

    def is_refused(self) -> bool:
        """Whether the container cannot hold this track's packets, even alone; a muxer's error does not say whose."""
        return not holds(self.track.container.format.name, self.source, self._first)

    def _earliest(self, last: int, tick: Fraction) -> int:
        """The first time after `last` that the container tells from it, by its own, maybe coarser clock."""
        if self._may_stand_still:
            return last
        ratio = tick / self.track.time_base
        return max(last + 1, math.ceil((round(last * ratio) + 1) / ratio))


def copy_track(container: OutputContainer, source: Stream) -> Any | None:
    """Add to `container` a track as `source` is: codec, metadata, language and disposition.

    A cover picture becomes an attachment in Matroska, which is what makes it a cover there.

    Returns:
        The new track, to which no packets go where it is an attachment; None for a data track that this container has
        no place for, and for a cover without a picture.

    Raises:
        OutputError: the container cannot hold it, and it is more than data.
    """
    if source.disposition & Disposition.attached_pic and container.format.name == "matroska":
        return _attach_cover(container, source)
    if not holds(container.format.name, source):
        if source.type == "data":
            return None
        ours, theirs = container.format.name, source.container.format.name
        other = " or an .mkv" if ours != "matroska" and holds("matroska", source) else ""
        raise OutputError(
            f"{track_name(source)} has no place in a {ours} file, and nothing is dropped silently; write to a file "
            f"like the input ({theirs}){other}"
        )
    return _add(container, source)


def holds(format_name: str, source: Stream, packet: Packet[Any] | None = None) -> bool:
    """Return whether a container of this format can hold the track, and this packet of it: tried out, in memory."""
    trial = av.open(io.BytesIO(), "w", format=format_name)
    try:
        track = _add(trial, source)
        trial.start_encoding()
        if packet is not None:
            alone: Packet[Any] = Packet(bytes(packet))
            alone.stream, alone.time_base, alone.pts, alone.dts = track, packet.time_base, 0, 0
            trial.mux(alone)
        trial.close()
    except (ValueError, av.FFmpegError, OSError):
        return False
    return True


def track_name(source: Stream) -> str:
    """Return what a track is called in messages."""
    codec = source.codec_context.name if source.codec_context else "of no known codec"
    return f"track {source.index} of the input ({source.type}, {codec})"


def copy_metadata(source: InputContainer, target: OutputContainer, *, offset_seconds: Any) -> None:
    """Copy the container's metadata and chapters, these moved by `offset_seconds`."""
    target.metadata.update(
        {key: value for key, value in source.metadata.items() if key.lower() not in _OF_THE_OLD_FILE}
    )
    chapters = source.chapters()
    for chapter in chapters:
        if chapter["time_base"]:
            ticks = round(offset_seconds / chapter["time_base"])
            chapter["start"], chapter["end"] = chapter["start"] - ticks, chapter["end"] - ticks
    if chapters:
        target.set_chapters(chapters)


def encoded_metadata(source: Stream) -> dict[str, str]:
    """Return a track's metadata without what was true of its old bits alone."""
    return {
        key: value
        for key, value in source.metadata.items()
        if key.lower() != "encoder" and not key.lower().startswith(_OF_THE_OLD_BITS)
    }


def keyed_metadata(source: InputContainer) -> dict[str, str]:
    """Return the muxer options with which MP4 and QuickTime files keep an input's keys and clocks exactly.

    Keys such as `com.apple.quicktime.make` need a movie-wide option, given only where there are such keys: the plain
    ones are then written where fewer players look for them. Where tracks begin is written in ticks of the movie's own
    clock, a thousandth of a second unless told otherwise: it is made fine enough for all tracks.
    """
    options = {"movflags": "use_metadata_tags"} if any(key.startswith("com.") for key in source.metadata) else {}
    ticks = math.lcm(*(each.time_base.denominator for each in source.streams if each.time_base))
    return {**options, "movie_timescale": str(ticks)} if ticks <= _MOST_TICKS else options


def _attach_cover(container: OutputContainer, source: Stream) -> Any | None:
    kind = {"mjpeg": "jpeg"}.get(source.codec_context.name, source.codec_context.name)
    # The picture is needed before the first packet is asked for, so it is read from the file on its own.
    with av.open(source.container.name) as again:
        picture = next((bytes(each) for each in again.demux(again.streams[source.index]) if each.size), b"")
    if not picture:
        return None
    name = source.metadata.get("filename", "cover." + {"jpeg": "jpg"}.get(kind, kind))
    track = container.add_attachment(name, source.metadata.get("mimetype", f"image/{kind}"), picture)
    for key, value in source.metadata.items():
        track.metadata.setdefault(key, value)
    return track


def _add(container: OutputContainer, source: Stream) -> Any:
    track = container.add_stream_from_template(source, opaque=True)
    track.metadata.update(source.metadata)
    track.disposition = source.disposition
    return track
