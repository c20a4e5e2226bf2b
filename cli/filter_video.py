"""filter-video: run an engine on every frame of a video, and keep everything else."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.command import Command, Reporter, another_interrupt_ends
from postfilter.cli.engine_choice import (
    DEFAULT_FILTER,
    add_engine_choice,
    add_guard,
    open_chosen_engine,
    open_reference_engine,
)
from postfilter.cli.model_choice import choose_by_speed
from postfilter.cli.realtime import (
    PRESET,
    add_realtime_options,
    check_realtime,
    place,
    refuse_stream_options,
    render_realtime,
    run_realtime,
)
from postfilter.cli.watching import add_watching, watching

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["COMMAND", "main"]

_SUMMARY = """Filter every frame of a video; audio, subtitles, chapters, timestamps and colour stay as they are.

examples:
  filter-video in.mp4 out.mp4
  filter-video in.mkv out.mkv --model fastarcnn --fp32 --codec libx265 --crf 20
  filter-video in.mp4 out.mp4 --engine engines/fastarcnn-luma-dynamic-fp16-openvino --reference source.mkv
  filter-video in.mp4 out.mp4 --resume     go on after Ctrl-C, a crash or a full disk; same options as before
  filter-video in.mp4 - --sink null        measure without encoding
  filter-video rtsp://camera/ out.mkv --realtime        record until Ctrl-C"""
_PRESET = "veryfast"
_CHOSEN = f"the best that this machine runs in real time for the clip; with --realtime {DEFAULT_FILTER}"


def main() -> int:
    """Run the command; return its exit status."""
    return COMMAND.main()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=place, metavar="INPUT", help="a video, 8 to 16 bits a sample")
    parser.add_argument("output", type=place, metavar="OUTPUT", nargs="?", help="the suffix names the container")
    add_engine_choice(parser.add_argument_group("engine"), default=_CHOSEN)
    filtering = parser.add_argument_group("what is filtered")
    filtering.add_argument(
        "--qp",
        type=_qp_from,
        default="auto",
        metavar="auto|estimated|blind|N",
        help="what engines that read the QP are told: what the bitstream tells, or else an estimate from the samples "
        "(auto); always an estimate; nothing; or N of 0 to 51 for all frames",
    )
    filtering.add_argument(
        "--skip-below-qp",
        type=float,
        metavar="N",
        help="blocks of 16x16 samples coded at a lower QP leave as they came (H.264, HEVC, MPEG-1, -2, -4)",
    )
    filtering.add_argument(
        "--no-tile-reuse",
        dest="tile_reuse",
        action="store_false",
        help="filter again what did not change since the frame before; the output is the same, only later",
    )
    filtering.add_argument("--reference", type=Path, metavar="SOURCE", help="the undegraded source: tells the ΔPSNR")
    encoding = parser.add_argument_group("decoding and encoding")
    encoding.add_argument(
        "--hwaccel", metavar="DEVICE", help="decode on a device: cuda, qsv, vaapi, … or cuda:1 (default: the CPU)"
    )
    encoding.add_argument(
        "--codec",
        default="libx264",
        metavar="NAME",
        help="libx264 (default), libx265, libsvtav1, prores_ks (.mov), ffv1 (lossless, .mkv)",
    )
    encoding.add_argument("--crf", type=float, default=16, metavar="N", help="0 (best) to 51 (default: 16)")
    encoding.add_argument(
        "--preset", metavar="NAME", help=f"of the encoder (default: {_PRESET}; {PRESET} in real time)"
    )
    encoding.add_argument(
        "--sink", choices=("file", "null"), default="file", help="null: decode and filter only, write nothing"
    )
    safety = parser.add_argument_group("safety")
    add_guard(safety)
    safety.add_argument(
        "--strict", action="store_true", help="stop at the first damage (default: filter every frame that is there)"
    )
    safety.add_argument("--overwrite", action="store_true", help="replace an existing output")
    safety.add_argument(
        "--resume", action="store_true", help="go on where a run ended that was killed, interrupted or short of disk"
    )
    add_realtime_options(parser)
    add_watching(parser)


def _run(arguments: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    from postfilter.errors import OutputError
    from postfilter.video import filter_video, probe
    from postfilter.video.target import check_target
    from postfilter.video.writing.encoder import EncoderSettings

    if arguments.realtime:
        check_realtime(arguments)
        with watching(arguments) as watch:
            return run_realtime(arguments, reporter, watch)
    refuse_stream_options(arguments)
    target = None if arguments.sink == "null" else arguments.output
    # What can be refused at once is refused before an engine is built.
    encoding = {"codec": arguments.codec, "crf": arguments.crf, "preset": arguments.preset or _PRESET}
    settings = EncoderSettings(**encoding)
    clip = probe(arguments.input)
    if target is not None:
        check_target(target, source=arguments.input, overwrite=arguments.overwrite)
    elif arguments.sink == "file":
        raise OutputError("no output is named; give one, or --sink null to measure only")
    with watching(arguments) as watch:
        # Watched already: it may build engines.
        choice = choose_by_speed(arguments, clip, reporter, encoding=None if target is None else settings)
        with (
            open_chosen_engine(arguments, reporter, bit_depth=clip.bit_depth) as engine,
            reporter.progress(arguments.input.name) as update,
        ):
            result = filter_video(
                arguments.input,
                target,
                engine,
                **encoding,
                reference=arguments.reference,
                qp=arguments.qp,
                skip_below_qp=arguments.skip_below_qp,
                tile_reuse=arguments.tile_reuse,
                hwaccel=arguments.hwaccel,
                overwrite=arguments.overwrite,
                strict=arguments.strict,
                guard=arguments.guard,
                guard_engine=lambda: open_reference_engine(engine, arguments, reporter),
                resume=arguments.resume,
                observers=watch.observers,
                on_progress=watch.progress(update, engine.manifest),
                on_interrupt=lambda: _finish_first(reporter),
            )
            watch.finish(result, engine.manifest)
    for warning in result.warnings:
        reporter.warn(warning)
    content = result.as_json()
    content["choice"] = choice
    if arguments.engine is not None:
        content["engine"] = str(arguments.engine)
    return content


def _qp_from(text: str) -> Any:
    """Return a word as it is and a number as one, for argparse."""
    from postfilter.errors import InputError
    from postfilter.video.reading.estimated_qp import check_qp_from

    value: Any = text
    with suppress(ValueError):
        value = float(text)
    try:
        check_qp_from(value)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return value


def _finish_first(reporter: Reporter) -> None:
    reporter.note("finishing the frames under way; Ctrl-C again stops at once")
    another_interrupt_ends()


def _render(result: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    if "realtime" in result:
        render_realtime(result, console)
        return
    table = Table(show_header=False, box=None, title=result["output"] or "nothing written", title_justify="left")
    stages, latency = result["stages_ms"], result["latency_ms"]
    resumed = f", {result['frames_resumed']} of them by an earlier run" if result["frames_resumed"] else ""
    table.add_row("frames", f"{result['frames_out']} of {result['width']}x{result['height']}{resumed}")
    table.add_row("engine", result["engine"])
    table.add_row("speed", f"{result['fps']:.1f} fps, {result['speed_x']:.2f} x real time, {result['seconds']:.1f} s")
    table.add_row("a frame", "  ".join(f"{name} {value:.1f} ms" for name, value in stages.items()))
    table.add_row("latency", "  ".join(f"{name} {value:.0f} ms" for name, value in latency.items()))
    if (limits := result["limits"]) is not None:
        slowest = limits["slowest"]
        what = f"the CPU ({limits['cores']} cores)" if slowest == "cpu" else f"the {slowest} thread"
        reached = f"{limits['share']:.0%} of the {limits[f'{slowest}_fps']:.0f} fps it allows"
        table.add_row("held back by", f"{what}: {reached}")
    tiles = result["tiles"]
    if tiles["reused"]:
        table.add_row("unchanged", f"{tiles['reused'] / tiles['total']:.0%} of the picture, not filtered again")
    if result["tflops"] is not None:
        table.add_row("achieved", f"{result['tflops']:.3f} TFLOPS (a multiply-accumulate is two)")
    table.add_row("memory", f"{result['peak_memory_mb']:.0f} MB at most")
    if result["qp"] is not None and result["qp"]["mean"] is not None:
        qp = result["qp"]
        skipped = f"; {qp['share']:.0%} of the blocks left as they came" if qp["blocks_skipped"] else ""
        name = "QP since" if resumed else "QP"
        table.add_row(name, f"{qp['mean']:.1f} ({qp['min']:.0f} to {qp['max']:.0f}, {qp['source']}){skipped}")
    if result["quality"] is not None:
        quality = result["quality"]
        table.add_row(
            "luma PSNR",
            f"{quality['psnr_decoded']:.2f} -> {quality['psnr_filtered']:.2f} dB, {quality['delta_psnr']:+.2f} dB",
        )
    console.print(table)


COMMAND = Command(name="filter-video", summary=_SUMMARY, add_arguments=_add_arguments, run=_run, render=_render)
