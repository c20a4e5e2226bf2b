"""The curves of the report, drawn by matplotlib as an SVG that takes fonts and colours from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from postfilter.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from postfilter.video.report.curve import Curve

__all__ = ["draw_curves"]

_ROWS = (
    ("delta_psnr_db", "ΔPSNR", "dB"),
    ("change", "change", "code values"),
    ("filter_ms", "filter time", "ms"),
    ("latency_ms", "latency", "ms"),
    ("qp", "QP", ""),
    ("reused_percent", "tiles reused", "%"),
    ("skipped_percent", "tiles skipped", "%"),
)
"""Name, title and unit, from the top."""

_COLOURS = {"#010201": "ink", "#010202": "soft", "#010203": "rule", "#010204": "filtered", "#010205": "decoded"}
"""Colours that stand for the page's own, which follow light and dark."""
_INK, _SOFT, _RULE, _LINE, _MARK = _COLOURS
_INCHES = (10.4, 1.35)
"""Width, and height a row."""


def draw_curves(curves: Mapping[str, Curve], *, marks: Mapping[int, str]) -> str:
    """Return one `<svg>` with a row for each curve over the frames' numbers.

    Shares that are zero all over are left out. Where several frames share a point, the line is their mean and the band
    reaches from the least to the largest.

    Args:
        curves: by the names of `ReportObserver.curves`.
        marks: frame -> the fragment it links to; drawn as dots on the first row.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "--report", "report", error) from error
    rows = [row for row in _ROWS if row[0] in curves and (row[2] != "%" or curves[row[0]].points().high.any())]
    if not rows:
        return ""
    look: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "postfilter",
        "font.size": 9,
        "text.color": _INK,
        "axes.edgecolor": _RULE,
        "axes.labelcolor": _SOFT,
        "xtick.color": _SOFT,
        "ytick.color": _SOFT,
        "path.simplify": True,
    }
    with mpl.rc_context(look):
        figure = Figure(figsize=(_INCHES[0], _INCHES[1] * len(rows) + 0.5), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        for number, (each, (name, title, unit)) in enumerate(zip(axes, rows, strict=True)):
            _draw_row(each, curves[name], title, unit)
            if number == 0:
                _draw_marks(each, curves[name], marks)
        axes[-1].set_xlabel("frame")
        return _as_part_of_the_page(figure)


def _draw_row(axes: Axes, curve: Curve, title: str, unit: str) -> None:
    from matplotlib.ticker import MaxNLocator

    points = curve.points()
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color=_RULE, linewidth=0.6)
    axes.tick_params(length=0, pad=6)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_title(f"{title}, {unit}" if unit else title, loc="left", fontsize=9, color=_INK, fontweight="bold", pad=6)
    centre = points.frames + (points.frames_per_point - 1) / 2
    if points.frames_per_point > 1:
        axes.fill_between(centre, points.low, points.high, color=_LINE, alpha=0.22, linewidth=0)
    axes.plot(centre, points.mean, color=_LINE, linewidth=1.2, solid_joinstyle="round")
    axes.margins(x=0.01, y=0.15)
    low, high = points.low.min(), points.high.max()
    if high - low < 1e-9:  # a flat curve lies in the middle, and its scale does not magnify nothing
        axes.set_ylim(low - max(1.0, abs(low) / 10), high + max(1.0, abs(high) / 10))
    elif title != "QP":  # how large a figure is shows only from zero
        axes.set_ylim(bottom=min(0, low * 1.1), top=max(0, high) * 1.1)


def _draw_marks(axes: Axes, curve: Curve, marks: Mapping[int, str]) -> None:
    import numpy as np

    points = curve.points()
    for frame, link in marks.items():
        at = int(np.searchsorted(points.frames, frame, side="right")) - 1
        dot = axes.scatter([frame], [points.high[at]], s=34, color=_MARK, edgecolor="none", zorder=3)
        dot.set_urls([link])


def _as_part_of_the_page(figure: object) -> str:
    """Save as SVG; strip what only a file of its own needs, and hand fonts and colours over to the page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})  # type: ignore[attr-defined]
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    for stand_in, name in _COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg.replace("<svg ", '<svg role="img" aria-label="Curves over the frames" ', 1)
