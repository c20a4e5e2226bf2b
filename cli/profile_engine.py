"""profile-engine: how fast an engine is and why, or the slides' table with true and measured figures beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.command import Command, Reporter
from postfilter.cli.options import (
    add_backend,
    add_device_options,
    add_precision,
    add_weights,
    build_options_given,
    chosen_folder,
    parse_size,
)

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["COMMAND", "main"]

_SUMMARY = """Measure an engine on this machine: latency, frames a second, achieved TFLOPS, memory, time of each layer.

examples:
  profile-engine engines/fastarcnn-luma-dynamic-fp16-openvino
  profile-engine fastarcnn-luma --fp16 --size 1080p --seconds 10
  profile-engine --slides

A model's name builds its engine, or takes it from the cache. --slides prints the slides' figures of both models at
three sizes, and beside them the true multiply count and the memory and speed measured here."""

_LAYERS_SHOWN = 12
_SLIDES_TITLES = {"arcnn": "ARCNN", "fastarcnn": "Fast ARCNN"}


def main() -> int:
    """Run the command; return its exit status."""
    return COMMAND.main()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("engine", nargs="?", metavar="ENGINE|MODEL", help="an engine's folder, or a model's name")
    parser.add_argument("--slides", action="store_true", help="print the slides' table instead of measuring one engine")
    parser.add_argument(
        "--no-measure", action="store_true", help="with --slides: computed figures only, nothing is built or run"
    )
    parser.add_argument(
        "--size",
        type=parse_size,
        metavar="480p|720p|1080p|WxH",
        help="frame size to measure at (default: the engine's own, 480p where it takes any)",
    )
    duration = parser.add_mutually_exclusive_group()
    duration.add_argument("--seconds", type=float, default=5.0, metavar="N", help="time frames that long (default: 5)")
    duration.add_argument("--frames", type=int, metavar="N", help="time N frames alone and N in a stream instead")
    add_precision(parser)
    add_backend(parser)
    add_weights(parser)
    add_device_options(parser)


def _run(arguments: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    _check(arguments)
    return _slides(arguments, reporter) if arguments.slides else _profile(arguments, reporter)


def _check(arguments: argparse.Namespace) -> None:
    from postfilter.errors import InputError

    if arguments.slides == (arguments.engine is not None):
        raise InputError("give an engine or a model to measure, or --slides, one of the two")
    if arguments.no_measure and not arguments.slides:
        raise InputError("--no-measure belongs to --slides; leave it out")
    if not 0 < arguments.seconds < float("inf") or (arguments.frames is not None and arguments.frames < 1):
        raise InputError("--seconds and --frames must be numbers above 0")
    # The slides are of two models at three sizes, in fp32.
    unused = [*_build_options(arguments), *(["--size"] if arguments.size else [])]
    if arguments.slides and unused:
        raise InputError(f"--slides has its own models and sizes: leave {', '.join(unused)} out")


def _build_options(arguments: argparse.Namespace) -> list[str]:
    return [option for option in build_options_given(arguments) if option != "--size"]


def _profile(arguments: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    from postfilter.runtime import profile_engine

    with reporter.progress("measuring") as update:
        return profile_engine(
            chosen_folder(arguments.engine, arguments, size_builds=False, on_step=reporter.note),
            size=arguments.size,
            seconds=arguments.seconds,
            frames=arguments.frames,
            device=arguments.device,
            threads=arguments.threads,
            requests=arguments.requests,
            on_step=reporter.note,
            on_progress=update,
        ).as_json()


def _slides(arguments: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    from postfilter.export import slides_rows

    rows = slides_rows()
    engines = {} if arguments.no_measure else _slides_engines({row["model"] for row in rows}, reporter)
    with reporter.progress("measuring") as update:
        for done, row in enumerate(rows):
            memory = fps = None
            if row["model"] in engines:
                memory, fps = _measure(engines[row["model"]], row, arguments, reporter)
            row |= {"measured_memory_mb": memory, "measured_fps": fps}
            update(done + 1, len(rows))
    return {"rows": rows}


def _slides_engines(models: set[str], reporter: Reporter) -> dict[str, Path]:
    """Return the cached fp32 engines of the slides' models, less those that cannot be built here."""
    from postfilter.errors import PostfilterError
    from postfilter.export import cached_engine

    engines = {}
    for model in sorted(models):
        try:
            engines[model] = cached_engine(model, on_step=reporter.note)
        except PostfilterError as error:
            # The computed figures do not depend on it.
            reporter.warn(f"{model} is not measured: {error}")
    return engines


def _measure(
    engine: Path, row: dict[str, Any], arguments: argparse.Namespace, reporter: Reporter
) -> tuple[float | None, float | None]:
    """Return peak memory in MiB and frames a second of an engine at a row's size; None where it cannot be run."""
    from postfilter.errors import PostfilterError
    from postfilter.runtime import measure_memory

    reporter.note(f"running {row['model']} at {row['input']}")
    try:
        use = measure_memory(
            engine, width=row["width"], height=row["height"], device=arguments.device, threads=arguments.threads
        )
    except PostfilterError as error:
        reporter.warn(f"{row['model']} at {row['input']} is not measured: {error}")
        return None, None
    return use.peak_mb, 1000 / use.ms


def _render(result: dict[str, Any], console: Console) -> None:
    if "rows" in result:
        _render_slides(result["rows"], console)
    else:
        _render_profile(result, console)


def _render_slides(rows: list[dict[str, Any]], console: Console) -> None:
    # The slides' 3.255026 reads 3.25 and their 2.056534 reads 2.06: they are rounded to three places, then to two.
    as_printed = [row | {"tflops": round(round(row["tflops"], 3), 2)} for row in rows]
    _grid(
        console,
        as_printed,
        title="The slides' figures",
        caption="TFLOPS counts one multiply-add as one and, in the transposed convolution, every sample of the full "
        "plane; Mem is what training would keep. MB is 2^20 bytes.",
        columns={"params": "{:,}", "tflops": "{:.2f}", "mem_mb": "{:.2f}"},
        headings=("params", "TFLOPS", "Mem (MB)"),
    )
    _grid(
        console,
        rows,
        title="True and measured, inference in fp32 on this machine",
        caption="TFLOPS counts the true multiply-adds at 30 fps, two FLOP each. Mem is the growth of a process of its "
        "own above idle, fps that of one frame at a time.",
        columns={"true_tflops": "{:.2f}", "measured_memory_mb": "{:.1f}", "measured_fps": "{:.1f}"},
        headings=("TFLOPS", "Mem (MB)", "fps"),
    )


def _grid(
    console: Console,
    rows: list[dict[str, Any]],
    *,
    title: str,
    caption: str,
    columns: dict[str, str],
    headings: tuple[str, ...],
) -> None:
    """Print one line an input, with the same columns for each model, as the slides have it."""
    from rich.table import Table

    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column("input")
    models = list(dict.fromkeys(row["model"] for row in rows))
    for model in models:
        for heading in headings:
            table.add_column(f"{_SLIDES_TITLES.get(model, model)}\n{heading}", justify="right")
    for label in dict.fromkeys(row["input"] for row in rows):
        line = [
            "-" if row[key] is None else form.format(row[key])
            for model in models
            for row in rows
            if (row["model"], row["input"]) == (model, label)
            for key, form in columns.items()
        ]
        table.add_row(label, *line)
    console.print(table)


def _render_profile(result: dict[str, Any], console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    latency, limit = result["latency_ms"], result["limit"]
    overhead = f"{result['overhead_ms']:.2f} ms of a call ({result['overhead_share']:.1%}) outside the backend"
    inexact = "" if result["peak_memory_exact"] else ", sampled"
    summary = Table(show_header=False, box=None)
    for name, value in (
        ("engine", result["engine"]),
        ("runs on", f"{result['backend']} {result['backend_version']}, {result['device_name']}"),
        ("with", f"{result['threads']} threads, {result['requests']} frames in flight"),
        ("precision", f"{result['precision']}, run as {result['precision_run']}"),
        ("frame", f"{result['width']}x{result['height']}, {result['kmac_per_px']:.2f} kMAC a luma sample"),
        ("latency", f"{latency['p50']:.1f} ms median, {latency['p95']:.1f} p95, {latency['p99']:.1f} p99"),
        ("speed", f"{result['fps']:.1f} fps in a stream"),
        ("overhead", overhead),
        ("arithmetic", f"{result['tflops']:.3f} TFLOPS (2 FLOP a MAC)"),
        ("memory", f"{result['peak_memory_mb']:.0f} MB above the idle process{inexact}"),
        *_power(result["power"], result["power_sensors"]),
        ("limit", _limit(limit)),
    ):
        summary.add_row(name, value)
    console.print(summary)
    if limit["share"] is not None:
        console.print(
            f"this engine runs at {100 * limit['share']:.0f} % of what this machine can do in {limit['precision']}; "
            f"bound: {limit['bound']}",
            style="bold",
            highlight=False,
        )
    else:
        console.print("how near this engine is to what this machine can do is not known: no rate could be measured")

    layers = sorted(result["layers"], key=lambda layer: -layer["ms"])
    total = sum(layer["ms"] for layer in layers)
    table = Table(
        title="Slowest layers",
        box=SIMPLE_HEAD,
        caption=f"{len(layers)} layers, {total:.1f} ms",
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("layer", "type", "precision"):
        table.add_column(heading)
    for heading in ("ms", "of all", "MMAC", "TFLOPS", "of limit"):
        table.add_column(heading, justify="right")
    table.add_column("bound")
    for layer in layers[:_LAYERS_SHOWN]:
        multiplies = layer["mmac"] > 0
        table.add_row(
            layer["name"],
            layer["type"],
            layer["precision"],
            f"{layer['ms']:.2f}",
            f"{layer['ms'] / total if total else 0.0:.0%}",
            f"{layer['mmac']:.1f}" if multiplies else "",
            f"{layer['tflops']:.3f}" if multiplies else "",
            "" if layer["share"] is None else f"{layer['share']:.0%}",
            layer["bound"],
        )
    console.print(table)


def _limit(limit: dict[str, Any]) -> str:
    rates = ", ".join(f"{rate:.3g} in {name}" for name, rate in limit["compute_tflops_by_precision"].items())
    speed = f"{limit['bandwidth_gbs']:.0f} GB/s" if limit["bandwidth_gbs"] else "memory not measured"
    return f"TFLOPS: {rates or 'not measured'}; {speed}; no frame under {limit['bound_ms']:.1f} ms"


def _power(use: dict[str, Any] | None, sensors: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Say what was measured; where nothing was, which sensors are absent and why."""
    if use is not None:
        covers = f"{use['covers']}, by {use['sensor']}, idle power included"
        return [("power", f"{use['watts']:.1f} W, {use['mj_per_frame']:.1f} mJ a frame ({covers})")]
    absent = [("", f"{each['name']}: {each['reason']}") for each in sensors]
    return [("power", "not measured, for want of a sensor:"), *absent]


COMMAND = Command(name="profile-engine", summary=_SUMMARY, add_arguments=_add_arguments, run=_run, render=_render)
