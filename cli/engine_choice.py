"""`--engine DIR` or `--model NAME`: which engine the filtering commands run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter.cli.options import Options, add_build_options, add_device_options, open_engine

if TYPE_CHECKING:
    from postfilter.cli.command import Reporter
    from postfilter.runtime import Engine

__all__ = [
    "DEFAULT_FILTER",
    "FILTER_PRECISION",
    "add_engine_choice",
    "add_guard",
    "open_chosen_engine",
    "open_reference_engine",
]

DEFAULT_FILTER = "fastarcnn-luma"
"""Runs in real time on two cores at 480p, and leaves colour bit for bit."""
FILTER_PRECISION = "fp16"
"""What filters fastest; export-engine verifies that it stays the same filter."""


def add_engine_choice(parser: Options, *, default: str | None = None) -> None:
    """Add `--engine` and `--model`, of which one may be given, and what a model's engine is built and run with.

    Args:
        parser: of the command.
        default: what is done without either, for the help; `open_chosen_engine` takes `DEFAULT_FILTER`.
    """
    told = default or f"{DEFAULT_FILTER}, in {FILTER_PRECISION} unless another precision is asked for"
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--engine", type=Path, metavar="DIR", help="an engine that export-engine made")
    choice.add_argument(
        "--model",
        metavar="NAME",
        help=f"a model whose engine is built now and kept in the cache (default: {told})",
    )
    add_build_options(parser)
    add_device_options(parser)


def add_guard(parser: Options) -> None:
    """Add `--guard`; sets `guard` to a mode of `video.filtering.guard`."""
    parser.add_argument(
        "--guard",
        choices=("redo", "pass", "warn", "off"),
        default="redo",
        help="what is done where a frame came out black, flat, shifted, clipped or changed by more than filtering can: "
        "filter it again in fp32 (default), pass it through, only tell of it, or do not look",
    )


def open_chosen_engine(arguments: argparse.Namespace, reporter: Reporter, *, bit_depth: int) -> Engine:
    """Return the engine that the user chose, for samples of `bit_depth`.

    Raises:
        InputError: build options beside `--engine`.
        PostfilterError: whatever loading or building finds wrong.
    """
    if arguments.engine is not None:
        return open_engine(arguments.engine, arguments, bit_depth=bit_depth, on_step=reporter.note)
    arguments.precision = arguments.precision or FILTER_PRECISION
    return open_engine(arguments.model or DEFAULT_FILTER, arguments, bit_depth=bit_depth, on_step=reporter.note)


def open_reference_engine(engine: Engine, arguments: argparse.Namespace, reporter: Reporter) -> Engine:
    """Return the same model as `engine` in fp32, for the same samples: from the cache, or built where torch is there.

    Raises:
        InputError: the engine is of no model that is known here, or of other weights.
        PostfilterError: whatever loading or building finds wrong.
    """
    from postfilter.errors import InputError
    from postfilter.export import cached_engine, names_model
    from postfilter.runtime import load_engine

    manifest = engine.manifest
    if not names_model(manifest.model):
        raise InputError(f"{manifest.model!r} is no model that could be built in fp32; give one of the known models")
    # OpenVINO runs on every machine's CPU, where fp32 is fp32.
    folder = cached_engine(
        manifest.model,
        precision="fp32",
        backend="openvino",
        weights=arguments.weights,
        residual=manifest.key_parts.get("residual"),
        on_step=reporter.note,
    )
    reference = load_engine(folder, bit_depth=engine.bit_depth, threads=arguments.threads)
    if reference.manifest.weights_sha256 != manifest.weights_sha256:
        reference.close()
        raise InputError(
            f"the engine of {manifest.model} has other weights than the model here; filter with --model and --weights, "
            "then its fp32 engine can be built"
        )
    return reference
