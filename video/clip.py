"""Filter a whole video: container in, container out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.errors import InputError, Interrupted, OutputError
from postfilter.runtime.memory import PeakMemory
from postfilter.video.filtering.guard import Guard, GuardMode, ReferenceEngine
from postfilter.video.filtering.planes import planes_for
from postfilter.video.filtering.qp_skip import QpSteering, wants_qp
from postfilter.video.filtering.stage import FrameFilter
from postfilter.video.frame import Frame
from postfilter.video.pipeline import Pipeline
from postfilter.video.reading.estimated_qp import QpFrom
from postfilter.video.reading.source import Source
from postfilter.video.record import Observer
from postfilter.video.reference import Reference
from postfilter.video.result import VideoResult, result_of
from postfilter.video.target import check_target
from postfilter.video.writing.encoded import SEGMENT_FRAMES
from postfilter.video.writing.encoder import EncoderSettings
from postfilter.video.writing.journal import input_identity
from postfilter.video.writing.resumable import ResumableSink
from postfilter.video.writing.sink import ClipSink, NullSink

if TYPE_CHECKING:
    from postfilter.runtime import Engine

__all__ = ["filter_frames", "filter_video"]

_log = logging.getLogger(__name__)

_REHEARSED = 6
"""Frames: enough to see that a picture stands still, and to try filtering parts of it."""


def filter_video(
    source: str | Path,
    target: str | Path | None,
    engine: Engine,
    *,
    codec: str = "libx264",
    crf: float = 16,
    preset: str = "veryfast",
    reference: str | Path | None = None,
    qp: QpFrom = "auto",
    skip_below_qp: float | None = None,
    tile_reuse: bool = True,
    overwrite: bool = False,
    strict: bool = False,
    hwaccel: str | None = None,
    guard: GuardMode = "redo",
    guard_engine: ReferenceEngine = None,
    resume: bool = False,
    segment_frames: int = SEGMENT_FRAMES,
    observers: Sequence[Observer] = (),
    on_progress: Callable[..., None] | None = None,
    on_interrupt: Callable[[], None] | None = None,
) -> VideoResult:
    """Filter the first video track of `source` and write it to `target` with everything else copied.

    Luma engines replace Y and leave chroma bit for bit; RGB engines work on R'G'B' made with the stream's own matrix,
    range and chroma siting, and the change they make is brought back. Audio, subtitles, attachments, cover pictures,
    further video tracks, chapters and metadata are copied; timestamps, colour tags, aspect, rotation and the number of
    frames stay. The output appears under its name only when it is complete.

    Args:
        source: a file that FFmpeg reads, 8 to 16 bits.
        target: the file to write, whose suffix names the container; None measures without encoding.
        engine: loaded for the clip's bit depth (`probe` tells it).
        codec: `libx264`, `libx265`, `libsvtav1`, `prores_ks` or `ffv1` (lossless).
        crf: quality of the first two, 0 (best) to 51.
        preset: their speed, `ultrafast` … `placebo`.
        reference: the undegraded source of the clip; its ΔPSNR is then measured.
        qp: what engines that read the QP are told: see `reading.estimated_qp.QpFrom`.
        skip_below_qp: blocks of 16x16 samples whose QP is below it leave bit for bit as they came; see
            `reading.qp.QP_CODECS` for the codecs whose QP is known. None filters all.
        tile_reuse: whether what did not change since the frame before keeps its output instead of being filtered
            again. The result is the same to the bit; screens, calls and animation gain several times.
        overwrite: whether an existing `target` may be replaced.
        strict: whether a damaged input is an error; else every frame that can be decoded is filtered, and the damage
            counted and told.
        hwaccel: the device that decodes (`cuda`, `qsv`, `vaapi`, …), see `reading.hardware`; None is the CPU.
        guard: what is done about tiles that came out black, flat, shifted in brightness, clipped or changed by more
            than a filter can justify: `redo` filters them again with `guard_engine`, and passes them through where that
            does no better or there is none; `pass` passes them through; `warn` only tells; `off` does not look.
        guard_engine: the same model in fp32, loaded for the same bit depth; or what opens it when it is needed, and
            may return None. One that it opened is closed at the end.
        resume: go on where a run that was killed, interrupted or without room on the disk ended; the output is, frame
            for frame, that of one run. Where there was none, this is the first.
        segment_frames: how many frames at most are lost then; fewer cost size and speed, see `video.writing.encoded`.
        observers: are shown each frame with its figures, see `video.record`; costs a copy of each.
        on_progress: called as on_progress(frames done, frames expected or None, fps=…, speed=…, stages_ms=…, queues=…):
            the stages as in the result so far, and of the queue before each stage what waits and its room.
        on_interrupt: called at the first Ctrl-C, after which the frames in flight are finished and what is there is
            left beside `target` as `….partial.…`; a second one stops at once.

    Raises:
        Interrupted: a first Ctrl-C, in an orderly way.
        InputError: the clip or the reference cannot be read or filtered with this engine, or its QP is not known and
            needed.
        OutputError: the target exists or cannot be written, cannot hold what the clip holds, or was begun with other
            settings than are to go on.
        UnknownNameError: an unknown codec, preset, device or mode of the guard.
        DeviceError: the device that is to decode is not there, or does not decode this codec.
    """
    source, target = Path(source), None if target is None else Path(target)
    settings = EncoderSettings(codec=codec, crf=crf, preset=preset)
    if target is not None:
        check_target(target, source=source, overwrite=overwrite)
    with ExitStack() as cleanup:
        wanted = wants_qp(engine, skip_below_qp, qp_from=qp)
        clip = cleanup.enter_context(Source(source, qp=wanted, qp_from=qp, strict=strict, hwaccel=hwaccel))
        checks = cleanup.enter_context(Guard(engine, mode=guard, reference=guard_engine))
        filtering = FrameFilter(
            engine,
            planes_for(clip.info, engine),
            steering=QpSteering(clip, engine, skip_below=skip_below_qp),
            keep_decoded=reference is not None or bool(observers),
            guard=checks,
            reuse=tile_reuse,
        )
        compared = None
        if reference is not None:
            compared = cleanup.enter_context(closing(Reference(reference, clip.info)))
        _prepare(engine, clip, filtering)
        warnings: list[str] = []
        sink: ClipSink = NullSink()
        if target is not None:
            # What decides how frames look, or what is known of those that an earlier run made.
            filter_settings = {
                "guard": guard,
                "qp": qp,
                "skip_below_qp": skip_below_qp,
                "reference": None if reference is None else input_identity(Path(reference))["ends_sha256"],
            }
            sink = ResumableSink(
                target,
                source=clip,
                settings=settings,
                warnings=warnings,
                made_with={"engine": _identity(engine), "filter": filter_settings},
                resume=resume,
                segment_frames=segment_frames,
            )
        cleanup.push(partial(_discard, sink))
        filtering.first_index = sink.frames_done
        checks.report.add(sink.counts)
        if compared is not None and sink.frames_done:
            sums = {name: sink.counts.get(name, 0.0) for name in ("psnr_decoded", "psnr_filtered")}
            compared.begin_at(sink.frames_done, **sums)
        pipeline = Pipeline(source=clip, filtering=filtering, sink=sink, reference=compared, observers=observers)
        with PeakMemory() as memory:
            pipeline.run(on_progress, on_interrupt)
        if not pipeline.read_whole:
            raise _interrupted(sink, target, clip.info.frames)
        if sink.frames_written != pipeline.frames_in:
            raise OutputError(
                f"{pipeline.frames_in} frames of {source} went in and {sink.frames_written} came out; nothing is "
                "written, please report it"
            )
        quality = None if compared is None else compared.result()
        result = result_of(
            pipeline, target=target, manifest=engine.manifest, memory=memory, quality=quality, warnings=warnings
        )
        sink.commit()
        return result


def filter_frames(
    source: str | Path,
    engine: Engine,
    *,
    qp: QpFrom = "auto",
    skip_below_qp: float | None = None,
    tile_reuse: bool = True,
    strict: bool = False,
    hwaccel: str | None = None,
    guard: GuardMode = "redo",
    guard_engine: ReferenceEngine = None,
) -> Iterator[Frame]:
    """Filter the first video track of `source` and yield its frames, in order, as `filter_video` would encode them.

    Several frames are in flight in the engine; nothing else runs beside the caller. A yielded frame belongs to the
    caller. `Frame.to_av` and `Frame.planes` give PyAV's frame and NumPy's arrays without a copy.

    Args:
        source: as for `filter_video`.
        engine: as for `filter_video`.
        qp: as for `filter_video`.
        skip_below_qp: as for `filter_video`.
        tile_reuse: as for `filter_video`.
        strict: as for `filter_video`; damage, and what else a user should know of the clip, is logged at its end.
        hwaccel: as for `filter_video`.
        guard: as for `filter_video`; what it finds is logged.
        guard_engine: as for `filter_video`.

    Raises:
        InputError: the clip cannot be read or filtered with this engine, or its QP is not known and needed; or it is
            damaged and `strict`.
        DeviceError: the device that is to decode is not there, or does not decode this codec.
    """
    wanted = wants_qp(engine, skip_below_qp, qp_from=qp)
    with (
        Source(source, qp=wanted, qp_from=qp, strict=strict, hwaccel=hwaccel) as clip,
        Guard(engine, mode=guard, reference=guard_engine) as checks,
    ):
        steering = QpSteering(clip, engine, skip_below=skip_below_qp)
        filtering = FrameFilter(
            engine, planes_for(clip.info, engine), steering=steering, guard=checks, reuse=tile_reuse
        )
        _prepare(engine, clip, filtering)
        for each in filtering.stream(map(clip.frame_of, clip.frames())):
            yield each.frame
        for warning in clip.warnings:
            _log.warning("%s: %s", source, warning)


def _discard(sink: ClipSink, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
    """Clean up; what is done is kept for another run, unless that would only fail the same way."""
    sink.discard(keep=not isinstance(error, InputError))


def _interrupted(sink: ClipSink, target: Path | None, frames: int | None) -> Interrupted:
    path = sink.commit_partial()
    if path is None:
        return Interrupted("interrupted; nothing is written")
    return Interrupted(
        f"interrupted; {path} holds the first {sink.frames_written} of {frames or 'an unknown number of'} frames, and "
        f"the same command with --resume makes {target}"
    )


def _identity(engine: Engine) -> dict[str, Any]:
    """What of an engine decides how frames look."""
    manifest = engine.manifest
    names = ("model", "graph_sha256", "weights_sha256", "precision", "precision_run", "backend", "backend_version")
    return {name: getattr(manifest, name) for name in (*names, "device", "bit_depth")}


def _prepare(engine: Engine, clip: Source, filtering: FrameFilter) -> None:
    """Do before the clock starts what is done once: compile, for the frame or its two fields, and rehearse."""
    info = clip.info
    fields = 2 if info.interlaced else 1
    engine.prepare(width=info.width, height=-(-info.height // fields), frames=fields, stream=True)
    with closing(_first_frames(clip)) as first:
        filtering.rehearse(first)


def _first_frames(clip: Source) -> Generator[Frame]:
    """Yield some frames of a clip that has been opened already; they are decoded once more, and only if asked for."""
    with Source(clip.path) as again:
        for each in islice(again.frames(), _REHEARSED):
            yield again.frame_of(each)
