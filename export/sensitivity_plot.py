"""A picture of what each layer costs and gives in int8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter.errors import MissingDependencyError, OutputError

if TYPE_CHECKING:
    from postfilter.export.quantization import Sensitivity

__all__ = ["draw_sensitivities"]


def draw_sensitivities(rows: Sequence[Sensitivity], path: Path, *, title: str) -> None:
    """Draw, layer by layer, the share of fp32's gain that is lost and the time that is saved; write it to a file.

    Args:
        rows: of `Quantizer.sensitivities`.
        path: of the picture; its suffix says the format.
        title: above it.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "drawing", "export", error) from error
    figure = Figure(figsize=(9, 1.6 + 0.45 * len(rows)), layout="constrained")
    lost, saved = figure.subplots(1, 2, sharey=True)
    names = [row.layer for row in rows]
    for axes, values, colour, label in (
        (lost, [100 * (1 - row.kept) for row in rows], "tab:red", "% of fp32's ΔPSNR lost"),
        (saved, [row.saved_ms for row in rows], "tab:blue", "ms a frame saved"),
    ):
        bars = axes.barh(names, values, color=colour)
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlabel(label)
        axes.margins(x=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    lost.invert_yaxis()
    figure.suptitle(title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write the picture {path} ({error}); give a file that ends in .png") from error
