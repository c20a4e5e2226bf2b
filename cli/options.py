"""Options that several commands share, each declared once: model, precision, backend, size, weights, engine."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from postfilter.errors import InputError

if TYPE_CHECKING:
    from postfilter.runtime import Engine
    from postfilter.runtime.piece_rule import Piece

__all__ = [
    "DEFAULT_BACKEND",
    "DEFAULT_PRECISION",
    "SIZES",
    "Options",
    "add_backend",
    "add_build_options",
    "add_device_options",
    "add_precision",
    "add_size",
    "add_weights",
    "build_options_given",
    "chosen_folder",
    "open_engine",
    "parse_size",
    "size_label",
]

SIZES = {"480p": (720, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
"""Names for frame sizes, (width, height): those of the slides."""

DEFAULT_PRECISION: Literal["fp32", "fp16"] = "fp32"
"""The one precision in which every backend on every machine gives the model's own output."""

DEFAULT_BACKEND = "openvino"

Options: TypeAlias = "argparse.ArgumentParser | argparse._ArgumentGroup"
"""What options are added to: a command's parser, or a group of its help."""


def add_build_options(parser: Options, *, auto: bool = False) -> None:
    """Add everything that says how an engine is made from a model: precision, backend, size and weights.

    Args:
        parser: of the command.
        auto: see `add_precision`.
    """
    add_precision(parser, auto=auto)
    add_backend(parser)
    add_size(parser)
    add_weights(parser)


def add_precision(parser: Options, *, auto: bool = False) -> None:
    """Add `--fp32`, `--fp16`, `--bf16` and `--int8`, one of which may be given; sets `precision`, else to None.

    Which one holds then is for the command to say.

    Args:
        parser: of the command.
        auto: add `--auto` to choose from as well, which sets `precision` to `auto`.
    """
    group = parser.add_mutually_exclusive_group()
    for name, text in (
        ("fp32", "single precision: the same output on every machine"),
        ("fp16", "half precision inside the network, samples and their rounding in fp32; a CPU may run it as bf16"),
        ("bf16", "the same in bfloat16"),
        ("int8", "8-bit integers where it keeps 95 %% of what fp32 gains, and is faster than fp16"),
    ):
        group.add_argument(f"--{name}", dest="precision", action="store_const", const=name, help=text)
    if auto:
        group.add_argument(
            "--auto",
            dest="precision",
            action="store_const",
            const="auto",
            help="try all that runs here (backends, precisions, rewrites, pieces, frames in flight), take the fastest "
            "that passes, and tell of all; takes a minute or more",
        )


def add_backend(parser: Options) -> None:
    """Add `--backend`; sets `backend`, None where it is not given."""
    from postfilter.runtime import BACKENDS

    parser.add_argument("--backend", choices=tuple(BACKENDS), help=f"what runs the engine (default: {DEFAULT_BACKEND})")


def add_size(parser: Options) -> None:
    """Add `--size`; sets `size` to (width, height), or to None for an engine that takes any size."""
    parser.add_argument(
        "--size",
        type=parse_size,
        default=None,
        metavar="480p|720p|1080p|WxH|dynamic",
        help="the one frame size the engine takes, or dynamic for any (default: dynamic)",
    )


def add_weights(parser: Options) -> None:
    """Add `--weights` and `--residual`; set `weights` to a path or None, `residual` to a truth value or None."""
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="your own weights: safetensors, or a state dict of torch.save"
    )
    parser.add_argument(
        "--residual",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether the network's output is added to its input; for --weights of other makers, whose files do not say"
        " (default: what the file says, else no)",
    )


def add_device_options(parser: Options) -> None:
    """Add what says how an engine is run.

    `--device`, `--threads` and `--requests`, None where the backend shall choose; `--piece` and `--memory-limit`, which
    set `piece` and `memory_limit` as `runtime.load_engine` takes them.
    """
    parser.add_argument("--device", metavar="NAME", help="the backend's name of a device, for instance CPU or GPU")
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads for the engine (default: all)")
    parser.add_argument("--requests", type=_positive, metavar="N", help="frames in flight (default: the backend's own)")
    parser.add_argument(
        "--piece",
        type=_piece,
        default="auto",
        metavar="WxH|whole|auto",
        help="filter frames in overlapping pieces of this size, with the same output and less memory; auto (default): "
        "as the engine was made, whole frames otherwise, or as --memory-limit asks",
    )
    parser.add_argument(
        "--memory-limit",
        type=_megabytes,
        metavar="MB",
        help="memory above the idle process that filtering may take; chooses the pieces",
    )


def parse_size(text: str) -> tuple[int, int] | None:
    """Return (width, height) of a size as typed, None for `dynamic`.

    Raises:
        argparse.ArgumentTypeError: it is neither a known name nor two positive numbers.
    """
    if text == "dynamic":
        return None
    if text in SIZES:
        return SIZES[text]
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"got {text!r}; give {', '.join(SIZES)}, WxH such as 854x480, or dynamic")
    return int(match[1]), int(match[2])


def size_label(size: tuple[int, int] | None) -> str:
    """Return the name of a size for a person or a folder: `dynamic`, `480p`, …, or `WxH`."""
    if size is None:
        return "dynamic"
    names = {value: name for name, value in SIZES.items()}
    return names.get(size, f"{size[0]}x{size[1]}")


def build_options_given(arguments: argparse.Namespace) -> list[str]:
    """Return the build options that the user typed, such as `--fp16`; a finished engine takes none of them."""
    given = [f"--{arguments.precision}"] if arguments.precision else []
    return given + [
        f"--{name}" for name in ("backend", "size", "weights", "residual") if getattr(arguments, name) is not None
    ]


def open_engine(
    model_or_engine: str | Path,
    arguments: argparse.Namespace,
    *,
    bit_depth: int | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Engine:
    """Return an engine ready to run, from what the user typed.

    Args:
        model_or_engine: an engine's folder, which is loaded; or a model's name, whose engine is built with the build
            options and kept in the user's cache.
        arguments: parsed with `add_build_options`, and with `add_device_options` where the command offers those.
        bit_depth: of the samples the engine will be given; None for what the engine was made for.
        on_step: told what goes on while an engine is built.

    Raises:
        InputError: build options were given for an engine that is already built.
        PostfilterError: whatever loading or building finds wrong.
    """
    from postfilter.runtime import load_engine

    return load_engine(
        chosen_folder(model_or_engine, arguments, on_step=on_step),
        bit_depth=bit_depth,
        device=getattr(arguments, "device", None),
        threads=getattr(arguments, "threads", None),
        requests=getattr(arguments, "requests", None),
        piece=getattr(arguments, "piece", "auto"),
        memory_limit_mb=getattr(arguments, "memory_limit", None),
    )


def chosen_folder(
    model_or_engine: str | Path,
    arguments: argparse.Namespace,
    *,
    size_builds: bool = True,
    on_step: Callable[[str], None] | None = None,
) -> Path:
    """Return the folder of the engine that the user chose; see `export.engine_folder`, and `open_engine`.

    Args:
        model_or_engine: as for `open_engine`.
        arguments: as for `open_engine`.
        size_builds: whether `--size` is of the engine to be built; False where it means something else.
        on_step: told what goes on while an engine is built.

    Raises:
        InputError: build options were given for an engine that is already built, or there is no such engine.
        PostfilterError: whatever building finds wrong.
    """
    from postfilter.export import engine_folder, names_model

    given = [option for option in build_options_given(arguments) if size_builds or option != "--size"]
    if given and not names_model(model_or_engine) and Path(model_or_engine).exists():
        raise InputError(
            f"{model_or_engine} is an engine and stays as it was built: {', '.join(given)} cannot change it; "
            "leave the option out, or give a model's name"
        )
    return engine_folder(
        model_or_engine,
        precision=arguments.precision or DEFAULT_PRECISION,
        backend=arguments.backend or DEFAULT_BACKEND,
        size=arguments.size if size_builds else None,
        weights=arguments.weights,
        residual=arguments.residual,
        on_step=on_step,
    )


def _piece(text: str) -> Piece:
    """Return what `runtime.load_engine` takes as `piece`, for argparse."""
    if text == "auto":
        return "auto"
    if text == "whole":
        return "whole"
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"got {text!r}; give WxH such as 640x360, whole or auto")
    return int(match[1]), int(match[2])


def _megabytes(text: str) -> float:
    """Return a number above zero, for argparse."""
    try:
        megabytes = float(text)
    except ValueError:
        megabytes = 0.0
    if not 0 < megabytes < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}; give a number of MB above zero, such as 100")
    return megabytes


def _positive(text: str) -> int:
    """Return a whole number above zero, for argparse."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"got {text!r}; give a whole number above zero")
    return int(text)
