"""Over clips that codecs coded: how much of what was lost filters give back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.quality.clips import clip_files, count_frames, frame_rate, read_clip
from postfilter.quality.codec import Codec, Planes, RoundTrip, Watcher, planes_of
from postfilter.quality.images import PlaneFilter
from postfilter.quality.meters import ClipMeter, Metric, SourceMotion, check_metrics, figures_of
from postfilter.quality.store import CodedStore
from postfilter.quality.summary import summary

if TYPE_CHECKING:
    import av

__all__ = ["CodedJob", "Coding", "Method", "check_coding", "evaluate_clips", "evaluate_coded", "evaluate_methods"]

Luma: TypeAlias = NDArray[np.uint8]
Inputs: TypeAlias = "Mapping[str, NDArray[Any]]"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A filter under evaluation."""

    name: str
    """What it is called in the rows."""
    filter: PlaneFilter
    """Luma uint8 [1, 1, H, W] to the same; its `stream` is used where it has one, as engines do."""
    reads_qp: bool = False
    """Whether it is told the QP of each frame as `inputs={"qp": float32 [1, ceil(H / 16), ceil(W / 16)]}`, where the
    bitstream tells it; without, a filter that could read it runs blind."""
    around: Callable[[Iterable[tuple[Luma, Inputs]]], Iterable[tuple[Luma, Inputs]]] | None = None
    """Adds to the inputs of each frame what the frames around it tell; for filters that look at several."""
    item: Callable[[Luma, Inputs], Any] | None = None
    """Makes what the filter's `stream` takes of planes and inputs. A filter without a `stream` is called as
    `filter(planes, inputs=…)`."""


class Coding(Protocol):
    """One clip, coded in one way; `RoundTrip` is one."""

    @property
    def codec(self) -> str:
        """What it is coded with."""

    @property
    def qp(self) -> int:
        """How coarsely."""

    @property
    def kbps(self) -> float:
        """Known when all frames were yielded."""

    def __call__(self, frames: Iterator[Planes], /) -> Iterator[av.VideoFrame]:
        """Yield each frame as a decoder shows it; each is preceded by taking at least its source from `frames`."""

    def qp_of(self, frame: av.VideoFrame) -> NDArray[np.float32] | None:
        """Return the QP of a frame that was just yielded, where it is known."""


@dataclass(frozen=True, kw_only=True)
class CodedJob:
    """A clip to evaluate on."""

    clip: str
    source: Path
    coding: Coding


def evaluate_methods(
    paths: Path | Sequence[Path],
    methods: Sequence[Method],
    *,
    codecs: Sequence[Codec] = ("hevc",),
    qps: Sequence[int] = (37,),
    frames: int | None = None,
    preset: str = "medium",
    metrics: Sequence[Metric] = ("psnr",),
    watch: Watcher | None = None,
    store: CodedStore | None = None,
    on_progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Code clips, filter what a decoder shows of them by each method, and compare all with the source.

    Every clip is coded once for all methods. Its own planes are coded, chroma included, inter-coded at a constant QP;
    luma is filtered and compared. A source of an odd size loses its last column or row first, since 4:2:0 coding cannot
    hold it.

    Args:
        paths: clips of good quality, in any container, 8-bit 4:2:0; a folder stands for the clips in it.
        methods: what filters them, each under another name.
        codecs: `h264` (x264), `hevc` (x265), or both.
        qps: the encoder's quantizers, each 0..51.
        frames: take only so many from the beginning of each clip.
        preset: the encoder's.
        metrics: see `meters`; PSNR is measured in any case.
        watch: what reads the QP of frames; needed by methods that read it.
        store: where coded clips are kept for the next evaluation.
        on_progress: called as `on_progress(frames done, frames or None where unknown, delta_psnr=the first method's)`.

    Returns:
        See `summary`.

    Raises:
        InputError: no clips, one that cannot be read to its end or is not 8-bit 4:2:0, or options out of range.
        MissingDependencyError: a metric needs what is not there.
    """
    for codec in codecs:
        for qp in qps:
            check_coding(codec=codec, qp=qp, preset=preset, frames=frames)
    check_metrics(metrics)
    files = clip_files(paths)
    watch = watch if any(method.reads_qp for method in methods) else None
    jobs = (
        CodedJob(clip=file.stem, source=file, coding=_coding(file, codec, qp, preset, frames, watch, store))
        for file in files
        for codec in dict.fromkeys(codecs)
        for qp in dict.fromkeys(qps)
    )
    total = count_frames(files, frames)
    points = len(set(codecs)) * len(set(qps))
    return evaluate_coded(
        jobs, methods, frames=frames, metrics=metrics, total=total and total * points, on_progress=on_progress
    )


def evaluate_coded(
    jobs: Iterable[CodedJob],
    methods: Sequence[Method],
    *,
    frames: int | None = None,
    metrics: Sequence[Metric] = ("psnr",),
    total: int | None = None,
    on_progress: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Filter clips that are coded, or are coded on the way; all arguments and what comes back as `evaluate_methods`.

    Raises:
        InputError: two methods have one name, or a clip cannot be read or holds no frames.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"got the methods {names}; give at least one, each under another name")
    progress = _Progress(total=total, call=on_progress)
    rows: list[dict[str, Any]] = []
    for job in jobs:
        try:
            run = _run(job, methods, frames=frames, metrics=metrics, progress=progress)
        except InputError as error:
            raise InputError(f"{job.source}: {error}") from error
        if not run.decoded.series:
            raise InputError(f"{job.source} holds no frames that can be decoded; give another clip")
        about = {"codec": job.coding.codec, "qp": job.coding.qp, "width": run.width, "height": run.height}
        about |= {"frames": len(run.decoded.series["psnr"]), "kbps": job.coding.kbps}
        for name, filtered in zip(names, run.filtered, strict=True):
            rows.append({"clip": job.clip, "method": name} | about | figures_of(run.decoded, filtered))
    return summary(rows)


def evaluate_clips(
    paths: Path | Sequence[Path],
    filter: PlaneFilter,  # noqa: A002 (what it is; the builtin is not used here)
    *,
    method: str,
    codec: Codec = "hevc",
    qp: int = 37,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate one filter with one codec at one QP; see `evaluate_methods`, which takes the `options`."""
    return evaluate_methods(paths, [Method(name=method, filter=filter)], codecs=[codec], qps=[qp], **options)


def check_coding(*, codec: Codec, qp: int, preset: str, frames: int | None) -> None:
    """Refuse options that no clip can be coded with, before time is spent on anything else.

    Raises:
        InputError: an unknown codec or preset, a QP outside 0..51, or fewer than one frame.
    """
    if frames is not None and frames < 1:
        raise InputError(f"got {frames = }; it needs to be at least 1, or None for whole clips")
    RoundTrip(codec=codec, qp=qp, preset=preset)


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


@dataclass
class _Run:
    decoded: ClipMeter
    filtered: list[ClipMeter]
    width: int = 0
    height: int = 0


class _Kept:
    """A round trip whose coded clip comes from a store, or goes there."""

    def __init__(self, trip: RoundTrip, store: CodedStore, source: Path, coding: dict[str, Any]) -> None:
        self.codec, self.qp, self.qp_of = trip.codec, trip.qp, trip.qp_of
        self._trip, self._store, self._source, self._coding = trip, store, source, coding

    @property
    def kbps(self) -> float:
        return self._trip.kbps

    def __call__(self, frames: Iterator[Planes]) -> Iterator[av.VideoFrame]:
        packets = self._store.get(self._source, **self._coding)
        if packets is not None:
            return _beside(self._trip.replay(packets), frames)
        return self._coded(frames)

    def _coded(self, frames: Iterator[Planes]) -> Iterator[av.VideoFrame]:
        yield from self._trip(frames)
        self._store.put(self._source, self._trip.packets, **self._coding)


def _coding(
    file: Path,
    codec: Codec,
    qp: int,
    preset: str,
    frames: int | None,
    watch: Watcher | None,
    store: CodedStore | None,
) -> Coding:
    fps = frame_rate(file)
    trip = RoundTrip(codec=codec, qp=qp, fps=fps, preset=preset, watch=watch, keep=store is not None)
    if store is None:
        return trip
    about = {"codec": codec, "qp": qp, "preset": preset, "threads": trip.threads, "frames": frames, "fps": str(fps)}
    return _Kept(trip, store, file, about)


def _beside(shown: Iterable[av.VideoFrame], sources: Iterator[Planes]) -> Iterator[av.VideoFrame]:
    for frame in shown:
        next(sources, None)
        yield frame


def _run(
    job: CodedJob,
    methods: Sequence[Method],
    *,
    frames: int | None,
    metrics: Sequence[Metric],
    progress: _Progress,
) -> _Run:
    """Source, coder and filters run as one stream: what is held are the frames between them, not the clip."""
    fps: Fraction = frame_rate(job.source)
    run = _Run(ClipMeter(metrics, fps=fps), [ClipMeter(metrics, fps=fps) for _ in methods])
    motions = SourceMotion() if "flicker" in metrics else None
    sources: deque[Luma] = deque()
    pairs: deque[tuple[Luma, Luma]] = deque()

    def remembered() -> Iterator[Planes]:
        for planes in read_clip(job.source, frames):
            sources.append(np.ascontiguousarray(planes[0]))
            yield planes

    def decoded() -> Iterator[tuple[Luma, Inputs]]:
        for frame in job.coding(remembered()):
            qp = job.coding.qp_of(frame)
            luma = np.ascontiguousarray(planes_of(frame, crop_odd=True)[0])
            pairs.append((luma, sources.popleft()))
            yield luma[None, None], {} if qp is None else {"qp": qp[None]}

    # The filters go forward together, so that tee holds no more than the fastest one reads ahead.
    streams = [_outputs(method, items) for method, items in zip(methods, tee(decoded(), len(methods)), strict=True)]
    meters = [run.decoded, *run.filtered]
    try:
        for results in zip(*streams, strict=True):
            luma, source = pairs.popleft()
            run.height, run.width = source.shape
            motion = motions.step(source) if motions else None
            for meter, shown in zip(meters, (luma, *(result[0, 0] for result in results)), strict=True):
                meter.take(shown, source, motion)
            progress.step(run.filtered[0].series["psnr"][-1] - run.decoded.series["psnr"][-1])
        for meter in meters:
            meter.finish()
    finally:
        for meter in meters:
            meter.close()
    return run


def _outputs(method: Method, items: Iterable[tuple[Luma, Inputs]]) -> Iterator[Luma]:
    stream: Callable[[Iterable[Any]], Iterator[Luma]] | None = getattr(method.filter, "stream", None)
    run: Any = method.filter
    if not method.reads_qp:
        items = ((luma, {}) for luma, _ in items)
    if method.around:
        items = method.around(items)
    elif not method.reads_qp:
        planes = (luma for luma, _ in items)
        return stream(planes) if stream else map(run, planes)
    if stream and method.item:
        make = method.item
        return stream(make(luma, inputs) for luma, inputs in items)
    return (run(luma, inputs=inputs) for luma, inputs in items)
