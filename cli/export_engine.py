"""export-engine: make a verified engine from a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.auto_choice import AUTO, refuse_beside_auto, render_auto, search_engine
from postfilter.cli.command import Command, Reporter
from postfilter.cli.engine_table import render_changes, render_engine
from postfilter.cli.explained import render_explained
from postfilter.cli.options import DEFAULT_BACKEND, DEFAULT_PRECISION, add_build_options, size_label
from postfilter.cli.sensitivity import measure_sensitivity, render_sensitivity
from postfilter.errors import InputError
from postfilter.models import names

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["COMMAND", "main"]

_SUMMARY = f"""Make an engine from a model, prove that it still computes what the model does, and write both down.

The engine is a folder with the graph and engine.json. It is refused where it falls below 70 dB (fp32) or 50 dB (fp16,
bf16) against PyTorch; in int8 where it keeps less than 95 % of what fp32 gains on coded pictures, or is no faster than
fp16. Without a precision it is {DEFAULT_PRECISION}.

examples:
  export-engine fastarcnn-luma --fp16
  export-engine fastarcnn-luma --auto
  export-engine fastarcnn --size 1080p --backend onnxruntime
  export-engine arcnn --weights mine.pth --output engines/mine
  export-engine fastarcnn-luma --fp16 --why-rebuild"""


def main() -> int:
    """Run the command; return its exit status."""
    return COMMAND.main()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"one of {', '.join(names())}")
    add_build_options(parser, auto=True)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="the engine's folder (default: engines/MODEL-SIZE-PRECISION-BACKEND); an engine there is replaced, unless "
        "it is just the one that would be built",
    )
    parser.add_argument(
        "--verify-with",
        type=Path,
        metavar="CLIP_OR_IMAGE",
        help="frames to verify on (default: pictures drawn here and coded as JPEG and H.264)",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--rebuild", action="store_true", help="build even where the folder holds the engine that would be built"
    )
    again.add_argument(
        "--why-rebuild",
        action="store_true",
        help="build nothing; tell which part of its key makes the engine in the folder, or in the cache, out of date",
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="the backend's name of the device to build and verify on, for instance GPU or cuda:0 (default: its CPU; "
        "TensorRT: cuda:0)",
    )
    parser.add_argument(
        "--no-rewrite",
        dest="rewrite",
        action="store_false",
        help="leave the graph as PyTorch exports it: slower, for comparisons",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="measure what each exact rewrite of the graph buys here, and print the table",
    )
    _add_quantize_options(parser)
    _add_plan_options(parser)


def _add_quantize_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("int8 alone")
    group.add_argument(
        "--calibrate",
        type=Path,
        nargs="+",
        default=[],
        metavar="CLIP_OR_FOLDER",
        help="typical decoded clips or pictures to find the ranges of the values on (default: those recorded with our "
        "weights)",
    )
    group.add_argument(
        "--judge-with",
        type=Path,
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="clips or pictures of good quality, coded here to see what the engine gains (default: drawn scenes)",
    )
    group.add_argument(
        "--int8-layers",
        nargs="+",
        metavar="NAME",
        help="the layers to quantize (default: all, or as many as keep 95 %% of what fp32 gains)",
    )
    group.add_argument(
        "--sensitivity",
        action="store_true",
        help="measure what each layer costs and gives when it alone is in int8; print it, and draw it beside the "
        "engine's folder",
    )
    group.add_argument(
        "--force", action="store_true", help="keep the engine whatever it keeps of fp32's gain, and however slow it is"
    )


def _add_plan_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("TensorRT alone")
    group.add_argument(
        "--hardware-compatible",
        choices=("same_compute_capability", "ampere_plus"),
        default="none",
        help="which other GPUs shall run the engine; slower (default: only the model of GPU that builds it)",
    )
    group.add_argument(
        "--version-compatible",
        action="store_true",
        help="let newer TensorRT versions of the same major run the engine; larger and perhaps slower",
    )
    group.add_argument(
        "--workspace-mb",
        type=int,
        metavar="N",
        help="scratch memory that a layer may ask for (default: what the GPU has)",
    )
    group.add_argument(
        "--dla",
        type=int,
        metavar="CORE",
        help="run what it takes on this core (0 or 1) of a Jetson's DLA, the rest on the GPU; --fp16 and one --size",
    )
    group.add_argument("--effort", type=int, default=3, metavar="0..5", help="how much the builder tries (default: 3)")


def _run(arguments: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    from postfilter.export import build_engine, request_parts, standing

    how = _how(arguments)
    if arguments.precision == AUTO:
        return search_engine(arguments, how, reporter)
    label = f"{arguments.model}-{size_label(arguments.size)}-{how['precision']}-{how['backend']}"
    output = arguments.output or Path("engines") / label
    parts = request_parts(arguments.model, **how)
    if arguments.why_rebuild:
        return _why(arguments, parts, output)
    measured: dict[str, Any] = {}
    if arguments.explain:
        measured["explain"] = _explained(arguments, how, reporter)
    if arguments.sensitivity:
        measured["sensitivity"] = measure_sensitivity(arguments, how, output, reporter)
    found = standing(output, parts)
    # Frames of the user's own are asked for to see what comes out of them.
    if found.current and not (arguments.rebuild or arguments.verify_with):
        reporter.note(f"the engine in {output} is current; --rebuild builds it all the same")
        return _as_it_is(output) | measured
    if found.exists:
        reporter.note(f"building the engine in {output} again: {found.reason}")
    result = build_engine(
        arguments.model, **how, output=output, verify_with=arguments.verify_with, on_step=reporter.note
    )
    return {
        "engine": str(result.engine),
        "manifest": result.manifest.as_json(),
        "build_seconds": round(result.build_seconds, 3),
        "reused": False,
        "steps": list(result.steps),
    } | measured


def _explained(arguments: argparse.Namespace, how: dict[str, Any], reporter: Reporter) -> list[dict[str, Any]]:
    from postfilter import models
    from postfilter.export import explain_rewrites

    rows = explain_rewrites(
        models.load(arguments.model, weights=how["weights"], residual=how["residual"]),
        backend=how["backend"],
        precision=how["precision"],
        size=how["size"],
        on_step=reporter.note,
    )
    return [row.as_json() for row in rows]


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return all that decides what is built, as `build_engine` and `request_parts` take it."""
    from postfilter.export import PlanOptions, QuantizeOptions

    backend = arguments.backend or DEFAULT_BACKEND
    quantized = {
        "calibrate": tuple(arguments.calibrate),
        "judge_with": tuple(arguments.judge_with),
        "layers": tuple(arguments.int8_layers) if arguments.int8_layers else None,
        "force": arguments.force,
    }
    if arguments.precision == AUTO:
        refuse_beside_auto(arguments)
    elif arguments.precision != "int8" and (any(quantized.values()) or arguments.sensitivity):
        raise InputError(
            "--calibrate, --judge-with, --int8-layers, --sensitivity and --force are for int8: add --int8, or leave "
            "them out"
        )
    if arguments.device and arguments.dla is not None:
        raise InputError(f"--dla {arguments.dla} is a device itself; leave --device {arguments.device} out")
    return {
        "precision": arguments.precision or DEFAULT_PRECISION,
        "backend": backend,
        "size": arguments.size,
        "weights": arguments.weights,
        "residual": arguments.residual,
        "device": _dla(arguments.dla, backend) or arguments.device,
        "rewrite": arguments.rewrite,
        "plan_options": PlanOptions(
            workspace_mb=arguments.workspace_mb,
            effort=arguments.effort,
            compatibility=arguments.hardware_compatible,
            version_compatible=arguments.version_compatible,
        ),
        "quantize_options": QuantizeOptions(**quantized) if arguments.precision in ("int8", AUTO) else None,
    }


def _why(arguments: argparse.Namespace, parts: dict[str, Any], output: Path) -> dict[str, Any]:
    """Tell of the engine in the folder, or of the one in the cache where no folder is named and the usual is empty."""
    from postfilter.export import cached_standing, standing

    if arguments.verify_with is not None:
        raise InputError("--verify-with always builds, so there is no other reason to tell; leave it out")
    found = standing(output, parts)
    if not found.exists and arguments.output is None:
        cached = cached_standing(parts)
        found = cached if cached.exists else found
    return found.as_json()


def _as_it_is(output: Path) -> dict[str, Any]:
    from postfilter.runtime import read_manifest

    manifest = read_manifest(output).as_json()
    return {"engine": str(output), "manifest": manifest, "build_seconds": 0.0, "reused": True, "steps": []}


def _dla(core: int | None, backend: str) -> str | None:
    """Return the device that `--dla` names, None where it is not given."""
    if core is None:
        return None
    if backend != "tensorrt" or core < 0:
        raise InputError(f"--dla {core} is not to be had with --backend {backend}: give a core from 0 and tensorrt")
    return f"dla:{core}"


def _render(result: dict[str, Any], console: Console) -> None:
    if "changes" in result:
        render_changes(result, console)
        return
    if "auto" in result:
        render_auto(result["auto"], result["engine"], console)
    if "explain" in result:
        render_explained(result["explain"], console)
    if "sensitivity" in result:
        render_sensitivity(result["sensitivity"], console)
    render_engine(result, console)


COMMAND = Command(name="export-engine", summary=_SUMMARY, add_arguments=_add_arguments, run=_run, render=_render)
