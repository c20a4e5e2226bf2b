"""The picture of a run: validation gain by codec and quality, and training loss, against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw_curve"]


def draw_curve(history: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Draw a panel for each codec with a line for each quality, and one for the loss.

    Args:
        history: rows of the log, with `seconds`, `loss`, `gain_db` and `gains_db`, the gain by `codec quality`.
        target: PNG file.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    groups: dict[str, list[str]] = {}
    for name in {name: None for row in history for name in row.get("gains_db", ())}:
        groups.setdefault(name.split()[0], []).append(name)
    minutes = [row["seconds"] / 60 for row in history]
    size = (7, 2.4 * (len(groups) + 1))
    figure, axes = pyplot.subplots(len(groups) + 1, 1, sharex=True, figsize=size, layout="constrained", squeeze=False)
    for axis, (codec, names) in zip(axes[:, 0], groups.items(), strict=False):
        names = sorted(names, key=lambda name: float(name.split()[-1]))
        for name, colour in zip(names, pyplot.get_cmap("viridis")(_evenly(len(names))), strict=True):
            gains = [row.get("gains_db", {}).get(name, float("nan")) for row in history]
            axis.plot(minutes, gains, color=colour, linewidth=1, label=name)
        axis.plot(minutes, [row["gain_db"] for row in history], color="black", linewidth=1.5, label="mean of all")
        axis.axhline(0, color="grey", linewidth=0.6)
        axis.legend(fontsize="x-small", ncols=2)
        axis.set_ylabel(f"{codec}: ΔPSNR (dB)")
    axes[-1, 0].plot(minutes, [row["loss"] for row in history])
    axes[-1, 0].set_ylabel("training loss")
    axes[-1, 0].set_xlabel("minutes")
    for axis in axes[:, 0]:
        axis.grid(visible=True, alpha=0.3)
    figure.savefig(target, dpi=120)
    pyplot.close(figure)


def _evenly(count: int) -> list[float]:
    """Places on a colour scale, short of its pale end."""
    return [0.9 * number / max(count - 1, 1) for number in range(count)]
