"""Play or forward a stream at its own clock, filtered as well as the machine can."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter.errors import InputError
from postfilter.runtime.memory import PeakMemory
from postfilter.runtime.tile_reuse import TileUse
from postfilter.video.filtering.guard import GuardMode, GuardReport
from postfilter.video.filtering.qp_skip import check_inputs, wants_qp
from postfilter.video.reading.estimated_qp import QpFrom
from postfilter.video.reading.live import LiveSource, is_live
from postfilter.video.reading.source import Source
from postfilter.video.realtime.clock import StreamClock
from postfilter.video.realtime.ladder import Ladder, LadderSettings
from postfilter.video.realtime.output import StreamSink, is_stream
from postfilter.video.realtime.player import Player
from postfilter.video.realtime.result import RealtimeResult, RungUse
from postfilter.video.realtime.rungs import Work, build_rungs
from postfilter.video.record import Observer
from postfilter.video.target import check_target
from postfilter.video.writing.encoder import EncoderSettings
from postfilter.video.writing.file_sink import FileSink
from postfilter.video.writing.sink import NullSink, Sink

if TYPE_CHECKING:
    from postfilter.runtime import Engine

__all__ = ["open_stream", "play_video"]

_PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}
_WARM_UPS = 3
_LONG_SECONDS = 0.5
"""A frame that takes longer is timed once: the ladder will not stay there anyway."""


def open_stream(
    source: str | Path,
    *,
    input_format: str | None = None,
    options: dict[str, str] | None = None,
    timeout_seconds: float = 10.0,
    qp: bool = False,
    qp_from: QpFrom = "auto",
) -> Source:
    """Open a file, `-` for standard input, a URL, a named pipe or a camera, for `play_video`.

    Args:
        source: what PyAV opens.
        input_format: FFmpeg's name of a demuxer or device, such as `v4l2`, `avfoundation`, `dshow`, `mpegts`.
        options: of the demuxer, device or protocol.
        timeout_seconds: after which a silent network address counts as absent, or as ended.
        qp: whether the QP of its frames is wanted, for engines that read it.
        qp_from: where that is to come from, as for `filter_video`.

    Raises:
        InputError: it cannot be opened or filtered.
    """
    if is_live(source, input_format=input_format):
        return LiveSource(
            source, input_format=input_format, options=options, timeout_seconds=timeout_seconds, qp=qp, qp_from=qp_from
        )
    return Source(source, qp=qp, qp_from=qp_from)


def play_video(
    source: str | Path | Source,
    target: str | Path | None,
    engines: Sequence[Engine],
    *,
    latency_ms: float = 200.0,
    output_format: str | None = None,
    codec: str = "libx264",
    crf: float = 16,
    preset: str = "superfast",
    guard: GuardMode = "pass",
    overwrite: bool = False,
    settings: LadderSettings | None = None,
    observers: Sequence[Observer] = (),
    on_progress: Callable[..., None] | None = None,
) -> RealtimeResult:
    """Play or forward `source` at its own clock, each frame at most `latency_ms` after its time.

    Where the machine falls behind, frames are treated on a lower rung: the next engine, luma only (for RGB engines),
    half of the frames, none; and on a higher one again once there is head-room. Every frame that is received is
    forwarded; frames are dropped, and counted, only where even that is too much. Audio and other tracks are copied.

    A live stream (anything but a file) ends with Ctrl-C as with its own end: the output is finished and kept.

    Args:
        source: a file, `-`, a URL, a named pipe, a camera; or what `open_stream` opened, with `qp` where an engine
            reads that; it is closed.
        target: a file; `-` (standard output, which nothing else may use then), `pipe:N` or a URL; `window`; None
            measures without output.
        engines: from the best to the cheapest, loaded for the stream's bit depth.
        latency_ms: between a frame's time and its deadline: the buffer against jitter.
        output_format: FFmpeg's name of the container for pipes and URLs; where None, Matroska for pipes, FLV for RTMP,
            MPEG-TS for other protocols.
        codec: as for `filter_video`.
        crf: as for `filter_video`.
        preset: as for `filter_video`; every frame leaves the encoder at once (`tune=zerolatency`).
        guard: as for `filter_video`, but there is no time to filter again: `redo` passes through.
        overwrite: whether an existing file may be replaced.
        settings: how eager the ladder is.
        observers: are shown each frame, see `video.record`; costs a copy of each.
        on_progress: called as on_progress(frames written, frames expected or None, fps=…, missed=…, rung=…,
            stages_ms=…, queues=…).

    Raises:
        InputError: the stream cannot be read or filtered, or an engine reads what is not known of its frames; where it
            breaks off, the output is finished before.
        OutputError: the target exists or cannot be written or reached, or cannot hold what the stream holds.
        MissingDependencyError: a window is asked for and pygame-ce is not installed.
        KeyboardInterrupt: a file was played and Ctrl-C came; an unfinished output file is removed.
    """
    if not engines:
        raise InputError("no engine is given; give one or more, from the best to the cheapest")
    if not 0 < latency_ms <= 60_000:
        raise InputError(f"got a latency of {latency_ms:g} ms; give more than 0 and at most 60000, for instance 200")
    encoding = EncoderSettings(codec=codec, crf=crf, preset=preset, low_latency=True)
    warnings: list[str] = []
    with ExitStack() as cleanup:
        clip = source if isinstance(source, Source) else open_stream(source, qp=any(map(wants_qp, engines)))
        cleanup.callback(clip.close)
        name = clip.name if isinstance(clip, LiveSource) else str(clip.path)
        live = isinstance(clip, LiveSource)
        for engine in engines:
            check_inputs(clip, engine)
        rungs, works = build_rungs(clip.info, engines, guard=guard)
        ladder = Ladder(
            rungs,
            interval_seconds=float(1 / clip.info.frame_rate),
            latency_seconds=latency_ms / 1000,
            settings=settings,
        )
        _warm_up(works, clip, ladder)
        sink, on_idle = _open_sink(target, clip, encoding, warnings, output_format, overwrite)
        cleanup.callback(sink.discard)
        clock = StreamClock(
            latency_seconds=latency_ms / 1000, paced=not isinstance(clip, LiveSource) or clip.paced, follows=live
        )
        player = Player(
            source=clip,
            works=works,
            ladder=ladder,
            clock=clock,
            sink=sink,
            shows=on_idle is not None,
            observers=observers,
        )
        with PeakMemory() as memory:
            try:
                player.run(on_progress, on_idle=on_idle)
            finally:
                if player.left_behind:
                    cleanup.pop_all()
        if live or (player.interrupt is None and player.input_failure is None):
            sink.commit()
        if player.interrupt is not None and not (live and isinstance(player.interrupt, KeyboardInterrupt)):
            raise player.interrupt
        if player.input_failure is not None:
            raise player.input_failure
        return _result(name, target, clip, works, ladder, clock, player, memory, warnings)


def _warm_up(works: Sequence[Work], clip: Source, ladder: Ladder) -> None:
    """Compile every engine, and let the ladder know what each costs before the clock starts."""
    frame = clip.frame_of(clip.first)
    for index, work in enumerate(works):
        work(frame.copy())
        for _ in range(_WARM_UPS):
            started = time.perf_counter()
            work(frame.copy())
            took = time.perf_counter() - started
            ladder.learn(index, took)
            if took > _LONG_SECONDS:
                break


def _open_sink(
    target: str | Path | None,
    clip: Source,
    encoding: EncoderSettings,
    warnings: list[str],
    output_format: str | None,
    overwrite: bool,
) -> tuple[Sink, Callable[[], bool] | None]:
    """Return the sink, and what the calling thread must run where it is a window."""
    if target is None:
        return NullSink(), None
    if str(target) == "window":
        from postfilter.video.realtime.window import WindowSink

        window = WindowSink(clip, warnings)
        return window, window.refresh
    if is_stream(target):
        return StreamSink(
            str(target), source=clip, settings=encoding, warnings=warnings, output_format=output_format
        ), None
    check_target(Path(target), source=clip.path, overwrite=overwrite)
    return FileSink(Path(target), source=clip, settings=encoding, warnings=warnings), None


def _result(
    name: str,
    target: str | Path | None,
    clip: Source,
    works: Sequence[Work],
    ladder: Ladder,
    clock: StreamClock,
    player: Player,
    memory: PeakMemory,
    warnings: list[str],
) -> RealtimeResult:
    info = clip.info
    guard = _merged([each.guard.report for each in works])
    if (warning := guard.warning()) is not None:
        warnings.append(warning)
    if clock.moves:
        warnings.append(f"the source stalled {clock.moves} times; its clock was set anew")
    costs = [(each.engine.manifest.cost.get("kmac_per_px"), each.frames) for each in works]
    kmac = None if any(cost is None for cost, _ in costs) else sum((cost or 0.0) * frames for cost, frames in costs)
    fps = player.frames_out / player.seconds
    return RealtimeResult(
        input=name,
        output=None if target is None else str(target),
        engines=tuple(dict.fromkeys(each.engine.manifest.label for each in works)),
        frames_in=player.frames_in,
        frames_out=player.frames_out,
        frames_dropped=player.frames_dropped,
        frames_missed=player.frames_missed,
        frames_filtered=sum(each.frames for each in works),
        tiles=sum((each.tiles for each in works), TileUse()),
        guard=guard,
        width=info.width,
        height=info.height,
        seconds=player.seconds,
        fps=fps,
        speed_x=fps / float(info.frame_rate),
        deadline_ms=1000 * clock.latency_seconds,
        latency_ms={key: 1000 * player.latency.percentile(q) for key, q in _PERCENTILES.items()},
        stages_ms={key: 1000 * each / max(1, player.frames_in) for key, each in player.busy_seconds.items()},
        rungs=tuple(
            RungUse(name=rung.name, frames=frames, seconds=seconds)
            for rung, frames, seconds in zip(ladder.rungs, ladder.frames, ladder.seconds, strict=True)
        ),
        steps_down=ladder.steps_down,
        steps_up=ladder.steps_up,
        clock_moves=clock.moves,
        restarts=clip.jumps if isinstance(clip, LiveSource) else 0,
        damage=clip.damage,
        ended=_ending(clip, player),
        tflops=None if kmac is None else 2e3 * kmac * info.width * info.height / player.seconds / 1e12,
        peak_memory_mb=memory.idle_mb + memory.peak_mb,
        warnings=[*clip.warnings, *warnings],
    )


def _merged(reports: Sequence[GuardReport]) -> GuardReport:
    """The reports of all engines as one, its events in the order of the frames."""
    total = GuardReport(events=sorted((event for each in reports for event in each.events), key=lambda e: e.frame))
    for each in reports:
        total.add(each.counts())
    return total


def _ending(clip: Source, player: Player) -> str:
    if player.interrupt is not None:
        return "interrupt"
    if player.closed:
        return "window closed"
    return "silence" if isinstance(clip, LiveSource) and clip.timed_out else "end of stream"
