"""Over clips: how much of what a video codec took a filter gives back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality.codec import Codec, Planes, RoundTrip, planes_of
from postfilter.quality.images import PlaneFilter
from postfilter.quality.metrics import finite_psnr

__all__ = ["check_coding", "clip_files", "evaluate_clips"]

Luma: TypeAlias = NDArray[np.uint8]

_SUFFIXES = frozenset({".264", ".265", ".avi", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2ts", ".m4v", ".mkv"})
_SUFFIXES |= {".mov", ".mp4", ".mpg", ".mxf", ".nut", ".obu", ".ts", ".webm", ".y4m"}


def evaluate_clips(
    paths: Path | Sequence[Path],
    filter: PlaneFilter,  # noqa: A002 (what it is; the builtin is not used here)
    *,
    method: str,
    codec: Codec = "hevc",
    qp: int = 37,
    frames: int | None = None,
    preset: str = "medium",
    on_progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Code clips, filter what a decoder shows of them, and compare both with the source.

    The clip's own planes are coded, chroma included, inter-coded at a constant QP; luma is filtered and compared. A
    source of an odd size loses its last column or row first, since 4:2:0 coding cannot hold it.

    Args:
        paths: clips of good quality, in any container, 8-bit 4:2:0; a folder stands for the clips in it.
        filter: luma uint8 [1, 1, H, W] to the same; its `stream` is used where it has one, as engines do.
        method: what the filter is called in the rows.
        codec: `h264` (x264) or `hevc` (x265).
        qp: the encoder's quantizer, 0..51.
        frames: take only so many from the beginning of each clip.
        preset: the encoder's.
        on_progress: called as `on_progress(frames done, frames or None where unknown, delta_psnr=mean so far)`.

    Returns:
        `rows`, one a clip: `clip`, `method`, `codec`, `qp`, `width`, `height`, `frames`, `kbps`, and in dB the averages
        over its frames `psnr_decoded`, `psnr_filtered`, `delta_psnr`, and `worst_frame_delta_psnr`, the least of its
        frames; and `average`, over clips, each counting the same: `psnr_decoded`, `psnr_filtered`, `delta_psnr`. A
        frame without error counts 100 dB.

    Raises:
        InputError: no clips, one that cannot be read to its end or is not 8-bit 4:2:0, or options out of range.
    """
    check_coding(codec=codec, qp=qp, preset=preset, frames=frames)
    files = clip_files(paths)
    progress = _Progress(total=_count_frames(files, frames), call=on_progress)
    rows = []
    for file in files:
        trip = RoundTrip(codec=codec, qp=qp, fps=_frame_rate(file), preset=preset)
        try:
            clip = _run(_read(file, frames), trip, filter, progress)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
        if not clip.decoded:
            raise InputError(f"{file} holds no frames that can be decoded; give another clip")
        rows.append(
            {
                "clip": file.stem,
                "method": method,
                "codec": codec,
                "qp": qp,
                "width": clip.width,
                "height": clip.height,
                "frames": len(clip.decoded),
                "kbps": trip.kbps,
                "psnr_decoded": float(np.mean(clip.decoded)),
                "psnr_filtered": float(np.mean(clip.filtered)),
                "delta_psnr": float(np.mean(clip.deltas)),
                "worst_frame_delta_psnr": min(clip.deltas),
            }
        )
    figures = ("psnr_decoded", "psnr_filtered", "delta_psnr")
    return {"rows": rows, "average": {name: float(np.mean([row[name] for row in rows])) for name in figures}}


def check_coding(*, codec: Codec, qp: int, preset: str, frames: int | None) -> None:
    """Refuse options that no clip can be coded with, before time is spent on anything else; see `evaluate_clips`.

    Raises:
        InputError: an unknown codec or preset, a QP outside 0..51, or fewer than one frame.
    """
    if frames is not None and frames < 1:
        raise InputError(f"got {frames = }; it needs to be at least 1, or None for whole clips")
    RoundTrip(codec=codec, qp=qp, preset=preset)


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


@dataclass
class _Clip:
    """What was measured of one clip: PSNR in dB of each frame."""

    width: int = 0
    height: int = 0
    decoded: list[float] = field(default_factory=list)
    filtered: list[float] = field(default_factory=list)

    @property
    def deltas(self) -> list[float]:
        return [after - before for before, after in zip(self.decoded, self.filtered, strict=True)]


@dataclass
class _Progress:
    total: int | None
    call: Callable[..., None] | None
    done: int = 0
    gained: float = 0.0

    def step(self, delta: float) -> None:
        self.done += 1
        self.gained += delta
        if self.call:
            self.call(self.done, self.total, delta_psnr=self.gained / self.done)


def _run(source: Iterable[Planes], trip: RoundTrip, filter: PlaneFilter, progress: _Progress) -> _Clip:  # noqa: A002
    """Source, coder and filter run as one stream: what is held are the frames between them, not the clip."""
    clip = _Clip()
    sources: deque[Luma] = deque()
    pairs: deque[tuple[Luma, float]] = deque()

    def remembered() -> Iterator[Planes]:
        for planes in source:
            sources.append(planes[0])
            yield planes

    def decoded_planes() -> Iterator[Luma]:
        for frame in trip(remembered()):
            luma, wanted = planes_of(frame)[0], sources.popleft()
            pairs.append((wanted, finite_psnr(luma, wanted)))
            yield np.ascontiguousarray(luma)[None, None]

    stream: Callable[[Iterable[Luma]], Iterator[Luma]] | None = getattr(filter, "stream", None)
    results = stream(decoded_planes()) if stream else map(filter, decoded_planes())
    for result in results:
        wanted, before = pairs.popleft()
        after = finite_psnr(result[0, 0], wanted)
        clip.height, clip.width = wanted.shape
        clip.decoded.append(before)
        clip.filtered.append(after)
        progress.step(after - before)
    return clip


def _read(file: Path, limit: int | None) -> Iterator[Planes]:
    import av

    shown = 0
    with _open(file) as container:
        container.streams.video[0].thread_type = "AUTO"
        try:
            for frame in islice(container.decode(video=0), limit):
                yield planes_of(frame, crop_odd=True)
                shown += 1
        except av.FFmpegError as error:
            raise InputError(f"damaged after {shown} frames ({error}); repair it, or take fewer frames") from error


def _open(file: Path) -> Any:
    import av

    try:
        container = av.open(str(file))
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{file} cannot be opened as a video ({error}); is it complete, and a video at all?"
        ) from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{file} has no video stream; give a file that has one")
    return container


def _frame_rate(file: Path) -> Fraction:
    with _open(file) as container:
        stream = container.streams.video[0]
        return Fraction(stream.average_rate or stream.base_rate or 25)


def _count_frames(files: Sequence[Path], limit: int | None) -> int | None:
    """How many frames there are to do; None where a container does not tell."""
    total = 0
    for file in files:
        with _open(file) as container:
            stream = container.streams.video[0]
            seconds = float(container.duration or 0) / 1e6
            count = stream.frames or round(seconds * float(stream.average_rate or 0))
        if not count:
            return None
        total += min(count, limit or count)
    return total
