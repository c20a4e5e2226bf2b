"""`export-engine --auto`: search for the fastest engine that passes, or take the one that was found before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.options import size_label
from postfilter.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from postfilter.cli.command import Reporter
    from postfilter.export.search.auto import Request
    from postfilter.export.search.candidates import Candidate

__all__ = ["AUTO", "refuse_beside_auto", "render_auto", "search_engine"]

AUTO = "auto"
"""What `--auto` sets in the place of a precision."""


def refuse_beside_auto(arguments: argparse.Namespace) -> None:
    """Refuse options that leave nothing to choose, or that are of one precision.

    Raises:
        InputError: one was given.
    """
    given = {
        "--no-rewrite": not arguments.rewrite,
        "--explain": arguments.explain,
        "--sensitivity": arguments.sensitivity,
        "--int8-layers": arguments.int8_layers,
        "--force": arguments.force,
    }
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise InputError(f"--auto does not go with {', '.join(wrong)}: leave it out, or name a precision instead")
    if (arguments.device or arguments.dla is not None) and not arguments.backend:
        raise InputError("a device is one backend's: name it with --backend, or leave the device out")


def search_engine(arguments: argparse.Namespace, how: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Return what export-engine returns, and `auto`, the table.

    Args:
        arguments: as parsed by export-engine.
        how: what `build_engine` takes.
        reporter: of the command.
    """
    from postfilter.export.search.auto import Request, build_fastest, read_table, standing_choice
    from postfilter.runtime import BACKENDS, read_manifest

    names = ("size", "weights", "residual", "device", "plan_options", "quantize_options")
    request = Request(
        model=arguments.model,
        backends=(arguments.backend,) if arguments.backend else tuple(BACKENDS),
        **{name: how[name] for name in names},
    )
    label = f"{arguments.model}-{size_label(arguments.size)}"
    found = standing_choice(request, _folders(request, arguments.output, label))
    if arguments.why_rebuild:
        if arguments.verify_with is not None:
            raise InputError("--verify-with always builds, so there is no other reason to tell; leave it out")
        return found.as_json()
    if found.current and not (arguments.rebuild or arguments.verify_with):
        reporter.note(f"the engine in {found.engine} is the one found before; --rebuild searches again")
        return {
            "engine": str(found.engine),
            "manifest": read_manifest(found.engine).as_json(),
            "build_seconds": 0.0,
            "reused": True,
            "steps": [],
            "auto": read_table(found.engine),
        }
    if found.exists:
        reporter.note(f"searching again: {found.reason}")

    def place(candidate: Candidate) -> Path:
        return arguments.output or Path("engines") / f"{label}-{candidate.precision}-{candidate.backend}"

    result, rows = build_fastest(request, place, verify_with=arguments.verify_with, on_step=reporter.note)
    return {
        "engine": str(result.engine),
        "manifest": result.manifest.as_json(),
        "build_seconds": round(result.build_seconds, 3),
        "reused": False,
        "steps": list(result.steps),
        "auto": [row.as_json() for row in rows],
    }


def render_auto(rows: list[dict[str, Any]], engine: str, console: Console) -> None:
    """Print the rows as a table, with the reasons of what is refused and what cannot be had below it.

    Args:
        rows: as JSON has them.
        engine: the engine's folder, in which they are drawn.
        console: to print on.
    """
    from rich.table import Table

    from postfilter.export.search.auto import PICTURE

    table = Table(title="tried here, the fastest first", title_justify="left", box=None, pad_edge=False)
    table.add_column("engine")
    for heading in ("piece", "frames", "ms", "fps", "ΔPSNR", "kept", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    reasons = []
    for row in rows:
        name = f"{row['backend']} {row['precision'] or ''}".strip()
        verdict, _, reason = row["verdict"].partition(": ")
        if reason:
            more = f" with {', '.join(row['passes'])}" if row["passes"] and row["fps"] is None else ""
            reasons.append(f"{name}{more}: {verdict}, {reason}")
        if row["fps"] is not None:
            figures = [
                "{}x{}".format(*row["piece"]) if row["piece"] else "whole",
                str(row["requests"]),
                f"{row['ms_p50']:.1f}",
                f"{row['fps']:.1f}",
                f"{row['delta_psnr']:+.3f}",
                f"{row['kept']:.1%}",
                "" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f}",
            ]
            table.add_row(_engine(name, row), *figures, verdict, style="bold" if verdict == "chosen" else None)
    console.print(table, highlight=False, markup=False)
    legend = "frames: in flight; ms: one alone; ΔPSNR in dB, and kept of fp32's; MB: memory, of the last few alone"
    console.print(legend, highlight=False, markup=False, style="dim")
    for reason in reasons:
        console.print(reason, highlight=False, markup=False, soft_wrap=True, style="dim")
    console.print(f"drawn in {Path(engine) / PICTURE}\n", highlight=False, markup=False, soft_wrap=True)


def _folders(request: Request, output: Path | None, label: str) -> list[Path]:
    """Where the engine of an earlier search may be."""
    from postfilter.export.search.auto import was_chosen

    if output is not None:
        return [output]
    places = sorted(Path("engines").glob(f"{label}-*-*"))
    return [each for each in places if was_chosen(each)] or [Path("engines") / f"{label}-{AUTO}"]


def _engine(name: str, row: dict[str, Any]) -> str:
    """The first cell: the engine, and where it is not what its name says."""
    from postfilter.export.search.candidates import unusual_passes

    words = [name]
    if row["precision_run"] not in (row["precision"], "unknown"):
        words.append(f"({row['precision_run']})")
    words += [f"+ {each}" for each in unusual_passes(row["backend"], row["passes"])]
    words += [f"{len(row['int8_layers'])} layers"] if row["int8_layers"] is not None else []
    words += [f"{row['threads']} threads"] if row["threads"] else []
    return " ".join(words)
