"""The picture of gain against speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

MARKERS = {"fp32": "o", "fp16": "s", "bf16": "D", "int8": "^"}


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write an SVG: one line for each model through its precisions, and the front of what nothing beats in both."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator

    mpl.rcParams["svg.hashsalt"] = "postfilter"  # the same file for the same figures
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for number, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
        own = sorted((row for row in rows if row["model"] == model), key=lambda row: row["fps"])
        colour = f"C{number}"
        axes.plot([row["fps"] for row in own], [row["delta_psnr"] for row in own], color=colour, linewidth=1, alpha=0.5)
        for row in own:
            axes.plot(row["fps"], row["delta_psnr"], MARKERS[row["precision"]], color=colour, markersize=7)
        last = own[-1]
        place = (last["fps"], last["delta_psnr"])
        axes.annotate(model, place, xytext=(8, 4), textcoords="offset points", color=colour)
    front = pareto_front(rows)
    axes.plot(
        [row["fps"] for row in front], [row["delta_psnr"] for row in front], "--", color="grey", linewidth=1, zorder=0
    )
    axes.axvline(30, color="lightgrey", linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.12)
    axes.set_xlabel(f"frames a second at {rows[0]['width']}x{rows[0]['height']}, {rows[0]['machine']}")
    axes.set_ylabel("ΔPSNR in dB, HEVC QP 37, luma")
    used = dict.fromkeys(row["precision"] for row in rows)
    legend = [Line2D([], [], marker=MARKERS[name], color="grey", linestyle="", label=name) for name in used]
    axes.legend(handles=legend, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def pareto_front(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that no other beats in both frames a second and gain, the fastest first."""
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (-row["fps"], -row["delta_psnr"])):
        if not front or row["delta_psnr"] > front[-1]["delta_psnr"]:
            front.append(row)
    return front
