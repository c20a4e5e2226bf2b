"""`filter-video --realtime`: its options, its run and its figures."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.command import Reporter
from postfilter.cli.engine_choice import DEFAULT_FILTER, FILTER_PRECISION
from postfilter.cli.options import chosen_folder
from postfilter.errors import InputError, OutputError, PostfilterError

if TYPE_CHECKING:
    from rich.console import Console

    from postfilter.cli.watching import Watch

__all__ = [
    "PRESET",
    "add_realtime_options",
    "check_realtime",
    "place",
    "refuse_stream_options",
    "render_realtime",
    "run_realtime",
]

PRESET = "superfast"
"""Of the encoder, where none is asked for: it shares the machine with the filter."""
_LATENCY_MS = 200.0
_TIMEOUT_SECONDS = 10.0
_FALLBACK_PRECISION = "int8"
_NOT_IN_REAL_TIME = ("reference", "report", "resume", "strict", "skip_below_qp", "hwaccel")


def add_realtime_options(parser: argparse.ArgumentParser) -> None:
    """Add `--realtime` and what goes with it."""
    group = parser.add_argument_group(
        "real time",
        "INPUT may also be - (standard input), a URL such as udp://127.0.0.1:5000 or rtsp://camera/, a named pipe or a "
        "camera such as /dev/video0; OUTPUT also - (standard output; figures then go to standard error), a URL, or "
        "window.",
    )
    group.add_argument(
        "--realtime",
        action="store_true",
        help="play or forward at the stream's own clock; where the machine falls behind, filter with a cheaper engine, "
        "luma only, half of the frames, or not, until it has room again",
    )
    group.add_argument(
        "--latency", type=float, metavar="MS", help=f"of each frame until its deadline (default: {_LATENCY_MS:g})"
    )
    group.add_argument(
        "--fallback-engine",
        action="append",
        metavar="DIR|NAME|none",
        help="a cheaper engine to step down to, or a model's name; repeat it for more, cheapest last (default with a "
        f"model: the same in {_FALLBACK_PRECISION}, and for RGB models that of luma)",
    )
    group.add_argument(
        "--input-format", metavar="NAME", help="FFmpeg's demuxer or device: v4l2, avfoundation, dshow, …"
    )
    group.add_argument(
        "--input-option",
        action="append",
        type=_option,
        metavar="KEY=VALUE",
        help="of the demuxer, device or protocol, for instance video_size=1280x720",
    )
    group.add_argument(
        "--input-timeout",
        type=float,
        metavar="SECONDS",
        help=f"of silence after which a network input has ended (default: {_TIMEOUT_SECONDS:g})",
    )
    group.add_argument(
        "--output-format",
        metavar="NAME",
        help="FFmpeg's container for - and URLs (default: matroska for -, flv for rtmp, mpegts for others)",
    )


def place(text: str) -> Path | str:
    """Return a path, or a URL as it was typed, for argparse."""
    return text if "://" in text else Path(text)


def refuse_stream_options(arguments: argparse.Namespace) -> None:
    """Refuse what needs `--realtime` where that is not given.

    Raises:
        InputError: an option or an address that needs it.
    """
    names = ("latency", "fallback_engine", "input_format", "input_option", "input_timeout", "output_format")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name) is not None]
    given += [each for each in (arguments.input, arguments.output) if isinstance(each, str)]
    if given:
        raise InputError(f"{given[0]} needs --realtime, which plays and forwards streams at their own clock; add it")


def check_realtime(arguments: argparse.Namespace) -> None:
    """Refuse what does not go with `--realtime`, before any work is done.

    Raises:
        InputError: an option, its value, or an encoder's setting.
        OutputError: no output is named.
    """
    from postfilter.video.writing.encoder import EncoderSettings

    for name in _NOT_IN_REAL_TIME:
        if getattr(arguments, name):
            option = name.replace("_", "-")
            raise InputError(f"--{option} does not go with --realtime, which has no time for it; leave one of them out")
    if arguments.output is None and arguments.sink == "file":
        raise OutputError("no output is named; give a file, -, a URL or window, or --sink null to measure only")
    EncoderSettings(codec=arguments.codec, crf=arguments.crf, preset=arguments.preset or PRESET)
    if arguments.input_timeout is not None and arguments.input_timeout <= 0:
        raise InputError(f"got --input-timeout {arguments.input_timeout:g}; give more than 0 seconds, for instance 10")


def run_realtime(arguments: argparse.Namespace, reporter: Reporter, watch: Watch) -> dict[str, Any]:
    """Do what was asked for, seen by `watch`; return what `--json` prints.

    Raises:
        PostfilterError: whatever is wrong.
    """
    from postfilter.runtime import load_engine, read_manifest
    from postfilter.video import open_stream, play_video
    from postfilter.video.filtering.qp_skip import wants_qp

    target = None if arguments.sink == "null" else arguments.output
    encoding = {"codec": arguments.codec, "crf": arguments.crf, "preset": arguments.preset or PRESET}
    if str(target) == "-":
        target = _claim_stdout()
    # Built before the stream is opened: a camera does not wait.
    folders = _engine_folders(arguments, reporter)
    source = open_stream(
        arguments.input,
        input_format=arguments.input_format,
        options=dict(arguments.input_option or ()),
        timeout_seconds=_TIMEOUT_SECONDS if arguments.input_timeout is None else arguments.input_timeout,
        qp=arguments.qp != "blind" and any(wants_qp(read_manifest(folder)) for folder in folders),
        qp_from=arguments.qp,
    )
    with ExitStack() as opened, reporter.progress(str(arguments.input)) as update:
        try:
            engines = [
                opened.enter_context(
                    load_engine(
                        folder,
                        bit_depth=source.info.bit_depth,
                        device=arguments.device,
                        threads=arguments.threads,
                        piece=arguments.piece,
                        memory_limit_mb=arguments.memory_limit,
                    )
                )
                for folder in folders
            ]
        except BaseException:
            source.close()
            raise
        result = play_video(
            source,
            target,
            engines,
            latency_ms=_LATENCY_MS if arguments.latency is None else arguments.latency,
            output_format=arguments.output_format,
            **encoding,
            guard=arguments.guard,
            overwrite=arguments.overwrite,
            observers=watch.observers,
            on_progress=watch.progress(update, engines[0].manifest),
        )
    for warning in result.warnings:
        reporter.warn(warning)
    content = result.as_json()
    content["output"] = None if target is None else str(arguments.output)
    if arguments.engine is not None:
        content["engine"] = str(arguments.engine)
    return content


def render_realtime(result: dict[str, Any], console: Console) -> None:
    """Print the figures for a person."""
    from rich.table import Table

    real, latency = result["realtime"], result["realtime"]["latency_ms"]
    table = Table(show_header=False, box=None, title=result["output"] or "nothing written", title_justify="left")
    table.add_row(
        "frames",
        f"{result['frames_out']} of {result['width']}x{result['height']} in {result['seconds']:.1f} s, "
        f"{real['frames_filtered']} filtered, {real['frames_dropped']} dropped; {real['ended']}",
    )
    table.add_row("engine", result["engine"])
    table.add_row(
        "deadline",
        f"{real['deadline_ms']:.0f} ms, missed by {real['frames_missed']} frames; {100 * real['miss_rate']:.2f} % late "
        "or dropped",
    )
    names = {"p50": "p50", "p95": "p95", "p99": "p99", "p99_9": "p99.9"}
    table.add_row("latency", "  ".join(f"{name} {latency[key]:.1f} ms" for key, name in names.items()))
    table.add_row("a frame", "  ".join(f"{name} {value:.1f} ms" for name, value in result["stages_ms"].items()))
    tiles = result["tiles"]
    if tiles["reused"]:
        table.add_row("unchanged", f"{tiles['reused'] / tiles['total']:.0%} of the filtered frames, not filtered again")
    table.add_row("steps", f"{real['steps_down']} down, {real['steps_up']} up")
    for rung in real["rungs"]:
        table.add_row(f"  {rung['name']}", f"{rung['frames']} frames, {rung['seconds']:.1f} s")
    table.add_row("memory", f"{result['peak_memory_mb']:.0f} MB at most")
    console.print(table)


def _engine_folders(arguments: argparse.Namespace, reporter: Reporter) -> list[Path]:
    """The engines of the ladder, built where need be."""
    if arguments.engine is not None:
        first = chosen_folder(arguments.engine, arguments, on_step=reporter.note)
        fallbacks: list[tuple[str, str | None]] = []
    else:
        model = arguments.model or DEFAULT_FILTER
        precision = arguments.precision or FILTER_PRECISION
        if arguments.model is None:
            reporter.note(f"{model} {precision}, or less where the machine falls behind; --model NAME to choose")
        first = chosen_folder(model, _asking(arguments, precision), on_step=reporter.note)
        fallbacks = [(name, _FALLBACK_PRECISION) for name in _cheaper(model, precision)]
    if arguments.fallback_engine is not None:
        named = [each for each in arguments.fallback_engine if each != "none"]
        return [first] + [_fallback_folder(each, arguments, reporter) for each in named]
    folders = [first]
    for name, precision in fallbacks:
        try:
            folders.append(chosen_folder(name, _asking(arguments, precision), on_step=reporter.note))
        except PostfilterError as error:
            reporter.warn(f"no {precision} engine of {name} to step down to: {error}")
    return folders


def _fallback_folder(name: str, arguments: argparse.Namespace, reporter: Reporter) -> Path:
    from postfilter.export import names_model

    if names_model(name):
        return chosen_folder(name, _asking(arguments, _FALLBACK_PRECISION), on_step=reporter.note)
    built = argparse.Namespace(precision=None, backend=None, size=None, weights=None, residual=None)
    return chosen_folder(Path(name), built, on_step=reporter.note)


def _cheaper(model: str, precision: str) -> list[str]:
    """Models whose int8 engines are cheaper than this one's in `precision`: itself, and its own for luma."""
    from postfilter.models import names

    own = [] if precision == _FALLBACK_PRECISION else [model]
    return own + [name for name in (f"{model}-luma",) if name in names()]


def _asking(arguments: argparse.Namespace, precision: str | None) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), "precision": precision})


def _claim_stdout() -> str:
    """Keep standard output for the video: whatever else is printed goes to standard error from now on."""
    sys.stdout.flush()
    video = os.dup(1)
    os.dup2(2, 1)
    return f"pipe:{video}"


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"got {text!r}; give KEY=VALUE, such as video_size=1280x720")
    return key, value
