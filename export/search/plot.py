"""Quality against speed: a picture of what `export-engine --auto` tried."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from postfilter.errors import MissingDependencyError, OutputError
from postfilter.export.judgement import KEPT_AT_LEAST
from postfilter.export.search.candidates import CHOSEN, PASSES_GATE, AutoRow, unusual_passes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_choice"]

_COLOURS = {"openvino": "tab:blue", "onnxruntime": "tab:orange", "torch": "tab:red", "tensorrt": "tab:green"}
_OFFSETS = [
    (x, y)
    for reach in (9, 18, 30, 44, 60)
    for x, y in ((reach, 0), (reach, reach), (reach, -reach), (-reach, reach), (-reach, -reach), (-reach, 0))
]
"""Where a label may stand from its point, in typographic points, the nearest first."""
_ROOM = 9
"""Half the side of what a mark covers, in dots."""

_Point: TypeAlias = tuple[AutoRow, tuple[float, float]]
"""A row, its frames a second and its ΔPSNR."""


def draw_choice(rows: Sequence[AutoRow], path: Path, *, title: str, fp32_db: float) -> None:
    """Draw every candidate that was timed: frames a second to the right, ΔPSNR upwards; write the picture to a file.

    Of one engine that was run in several ways the fastest is drawn, and the chosen one. Those refused are hollow.

    Args:
        rows: the table.
        path: of the picture; its suffix says the format.
        title: above it.
        fp32_db: what the model itself gains, in dB.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullLocator
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "drawing", "export", error) from error
    shown = _shown(rows)
    figure = Figure(figsize=(9, 5.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for row, (speed, gain) in shown:
        refused = row.verdict not in (CHOSEN, PASSES_GATE)
        colour = _COLOURS.get(row.backend, "tab:gray")
        axes.plot(
            speed,
            gain,
            marker="*" if row.verdict == CHOSEN else "o",
            markersize=16 if row.verdict == CHOSEN else 8,
            markerfacecolor="none" if refused else colour,
            markeredgecolor=colour,
            linestyle="none",
            zorder=3,
        )
    axes.axhline(fp32_db, color="black", linewidth=0.8, label="the model in fp32")
    if fp32_db > 0:
        least = KEPT_AT_LEAST * fp32_db
        axes.axhline(least, color="black", linewidth=0.8, linestyle="--", label=f"{KEPT_AT_LEAST:.0%} of it")
        # So that differences which do not matter look it.
        values = [least, fp32_db, *(gain for _, (_, gain) in shown)]
        spread = max(max(values) - min(values), 0.1 * fp32_db)
        axes.set_ylim(min(values) - 0.15 * spread, max(values) + 0.2 * spread)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    speeds = [speed for _, (speed, _) in shown] or [1.0]
    axes.set_xlim(min(speeds) / 1.3, max(speeds) * 1.7)
    axes.set_xlabel("frames a second (logarithmic)")
    axes.set_ylabel("ΔPSNR (dB)")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    _add_legend(axes, shown)
    figure.draw_without_rendering()
    _add_labels(axes, shown)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write the picture {path} ({error}); give another folder") from error


def _shown(rows: Sequence[AutoRow]) -> list[_Point]:
    """The chosen row, and the fastest of each engine, with where they stand."""
    found: dict[object, _Point] = {}
    for row in rows:
        if row.fps is None or row.delta_psnr is None:
            continue
        engine = (row.backend, row.device, row.precision, row.passes, row.int8_layers)
        best = found.get(engine)
        if best is None or (row.verdict == CHOSEN, row.fps) > (best[0].verdict == CHOSEN, best[1][0]):
            found[engine] = row, (row.fps, row.delta_psnr)
    return list(found.values())


def _add_legend(axes: Axes, shown: Sequence[_Point]) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, colour: str, **style: Any) -> Line2D:
        return Line2D([], [], color=colour, linestyle="none", label=label, **{"marker": "o", "markersize": 8, **style})

    marks = [mark(name, colour) for name, colour in _COLOURS.items() if any(row.backend == name for row, _ in shown)]
    marks.append(mark("chosen", "tab:gray", marker="*", markersize=14))
    if any(row.verdict not in (CHOSEN, PASSES_GATE) for row, _ in shown):
        marks.append(mark("refused", "tab:gray", markerfacecolor="none"))
    lines = [each for each in axes.get_lines() if not str(each.get_label()).startswith("_")]
    axes.figure.legend(handles=[*marks, *lines], loc="outside lower center", ncols=4, frameon=False)


def _add_labels(axes: Axes, shown: Sequence[_Point]) -> None:
    """Write beside each point what it is, where nothing else stands yet."""
    from matplotlib.text import Text

    places = [axes.transData.transform(place) for _, place in shown]
    taken = [(x - _ROOM, y - _ROOM, x + _ROOM, y + _ROOM) for x, y in places]
    frame = axes.get_window_extent()
    for row, point in sorted(shown, key=lambda each: -each[1][0]):
        for offset in _OFFSETS:
            far = abs(offset[1]) > _OFFSETS[0][0]
            text = axes.annotate(
                _label(row),
                point,
                offset,
                textcoords="offset points",
                ha="left" if offset[0] > 0 else "right",
                va="center",
                fontsize=9,
                zorder=2.5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                arrowprops={"arrowstyle": "-", "color": "gray", "linewidth": 0.6, "shrinkB": 5} if far else None,
            )
            text.get_window_extent()  # puts it in its place
            # Of the words alone, without the line that leads to them.
            x0, y0, x1, y1 = Text.get_window_extent(text).extents
            inside = frame.x0 <= x0 and x1 <= frame.x1 and frame.y0 <= y0 and y1 <= frame.y1
            free = not any(x0 < c and a < x1 and y0 < d and b < y1 for a, b, c, d in taken)
            if (inside and free) or offset == _OFFSETS[-1]:
                taken.append((x0, y0, x1, y1))
                break
            text.remove()


def _label(row: AutoRow) -> str:
    words = [row.precision or "?"]
    if row.precision_run and row.precision_run not in (row.precision, "unknown"):
        words.append(f"as {row.precision_run}")
    if row.int8_layers is not None:
        words.append("mixed")
    words += [f"+ {name}" for name in unusual_passes(row.backend, row.passes)]
    speed = f", {row.fps:.0f} fps" if row.verdict == CHOSEN else ""
    return " ".join(words) + speed
