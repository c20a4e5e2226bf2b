"""The file that an interrupted run leaves for viewing: marked as a part in its name and in its metadata."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import av

from postfilter.errors import OutputError
from postfilter.video.writing.copied import CopiedTrack, copy_metadata, copy_track, keyed_metadata
from postfilter.video.writing.journal import sync_file

__all__ = ["partial_name", "write_partial"]


def partial_name(target: Path, number: int = 1) -> Path:
    """Return a name that is not the target's: `out.partial.mp4`, and `out.partial-2.mp4` where `number` is 2."""
    return target.with_name(f"{target.stem}.partial{f'-{number}' if number > 1 else ''}{target.suffix}")


def write_partial(finished: Path, path: Path, *, note: str) -> None:
    """Move a finished file to `path`, with `note` in its comment.

    Containers write their metadata first, when nobody knew that this would be a part; so all packets are copied once
    more. Where there is no room for that, or the container has no comment, the name alone tells.

    Raises:
        OSError: it cannot be moved.
    """
    marked = finished.with_name(f"{finished.stem}.marked{finished.suffix}")
    try:
        _copy(finished, marked, note)
        sync_file(marked)
    except (av.FFmpegError, OutputError, OSError, ValueError):
        with suppress(OSError):
            marked.unlink(missing_ok=True)
        marked = finished
        sync_file(marked)
    marked.replace(path)
    finished.unlink(missing_ok=True)


def _copy(old: Path, new: Path, note: str) -> None:
    with (
        av.open(str(old), metadata_errors="replace") as source,
        av.open(str(new), "w", container_options=keyed_metadata(source)) as target,
    ):
        copy_metadata(source, target, offset_seconds=0)
        target.metadata["comment"] = " | ".join(each for each in (source.metadata.get("comment"), note) if each)
        tracks = {}
        for each in source.streams:
            track = copy_track(target, each)
            if track is not None and track.type != "attachment":
                tracks[each.index] = CopiedTrack(track, each)
        for packet in source.demux():
            if packet.stream.index in tracks and (packet.size or packet.dts is not None):
                target.mux(tracks[packet.stream.index].prepare(packet))
