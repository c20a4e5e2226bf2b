"""Clips on disk: which there are, and their frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from postfilter.errors import InputError
from postfilter.quality.codec import Planes, planes_of

__all__ = ["clip_files", "count_frames", "frame_rate", "open_clip", "read_clip"]

_SUFFIXES = frozenset({".264", ".265", ".avi", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2ts", ".m4v", ".mkv"})
_SUFFIXES |= {".mov", ".mp4", ".mpg", ".mxf", ".nut", ".obu", ".ts", ".webm", ".y4m", ".yuv"}
_SIZE_IN_NAME = re.compile(r"_(\d+)x(\d+)_(\d+)")


def clip_files(paths: Path | Sequence[Path]) -> list[Path]:
    """The clips that paths stand for: files as they are, folders by the video files in them, sorted by name.

    Raises:
        InputError: a path that does not exist, or no clips at all.
    """
    files: list[Path] = []
    for path in [paths] if isinstance(paths, Path) else paths:
        if path.is_dir():
            files += sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{path} does not exist; give video files, or folders that hold some")
    if not files:
        raise InputError(f"got no clips in {paths}; folders are searched for {', '.join(sorted(_SUFFIXES))}")
    return files


def read_clip(file: Path, limit: int | None) -> Iterator[Planes]:
    """Yield the planes of a clip's first frames, or of all; an odd size loses its last column or row.

    Raises:
        InputError: it cannot be read to its end, or is not 8-bit 4:2:0.
    """
    import av

    shown = 0
    with open_clip(file) as container:
        container.streams.video[0].thread_type = "AUTO"
        try:
            for frame in islice(container.decode(video=0), limit):
                yield planes_of(frame, crop_odd=True)
                shown += 1
        except av.FFmpegError as error:
            raise InputError(f"damaged after {shown} frames ({error}); repair it, or take fewer frames") from error


def open_clip(file: Path) -> Any:
    """Return a clip's container. Raw `.yuv` is 8-bit 4:2:0 and tells its size and rate as `name_1920x1080_30.yuv`.

    Raises:
        InputError: it is no video, or raw and its name tells no size.
    """
    import av

    raw: dict[str, Any] = {}
    if file.suffix.lower() == ".yuv":
        found = _SIZE_IN_NAME.search(file.stem)
        if found is None:
            raise InputError(f"{file} is raw and its name tells no size; call it name_WIDTHxHEIGHT_RATE.yuv")
        size = {"video_size": f"{found[1]}x{found[2]}", "framerate": found[3], "pixel_format": "yuv420p"}
        raw = {"format": "rawvideo", "options": size}
    try:
        container = av.open(str(file), **raw)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{file} cannot be opened as a video ({error}); is it complete, and a video at all?"
        ) from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{file} has no video stream; give a file that has one")
    return container


def frame_rate(file: Path) -> Fraction:
    """Frames a second; 25 where the clip does not tell."""
    with open_clip(file) as container:
        stream = container.streams.video[0]
        return Fraction(stream.average_rate or stream.base_rate or 25)


def count_frames(files: Sequence[Path], limit: int | None) -> int | None:
    """How many frames there are to do; None where a container does not tell."""
    total = 0
    for file in files:
        with open_clip(file) as container:
            stream = container.streams.video[0]
            seconds = float(container.duration or 0) / 1e6
            count = stream.frames or round(seconds * float(stream.average_rate or 0))
        if not count:
            return None
        total += min(count, limit or count)
    return total
