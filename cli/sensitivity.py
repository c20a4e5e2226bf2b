"""`export-engine --sensitivity`: each layer alone in int8."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from postfilter.cli.command import Reporter

__all__ = ["measure_sensitivity", "render_sensitivity"]


def measure_sensitivity(
    arguments: argparse.Namespace, how: dict[str, Any], output: Path, reporter: Reporter
) -> dict[str, Any]:
    """Return `rows` and `plot`, the path of a picture beside the engine's folder.

    Args:
        arguments: as parsed by export-engine.
        how: what `build_engine` takes.
        output: the engine's folder.
        reporter: of the command.

    Raises:
        InputError: a backend that does not run the graph as it stands.
    """
    if how["backend"] not in ("openvino", "onnxruntime"):
        raise InputError(
            f"layers are measured on openvino and onnxruntime, which run the graph itself, not on {how['backend']}; "
            "choose one of the two, or leave --sensitivity out"
        )
    from postfilter.export.preparation import prepare
    from postfilter.export.quantization import Quantizer
    from postfilter.export.quantize_options import QuantizeOptions
    from postfilter.export.sensitivity_plot import draw_sensitivities

    names = ("backend", "size", "weights", "residual", "device", "rewrite")
    prepared = prepare(arguments.model, **{name: how[name] for name in names}, on_step=reporter.note)
    quantizer = Quantizer(
        prepared=prepared, options=how["quantize_options"] or QuantizeOptions(), on_step=reporter.note
    )
    rows = quantizer.sensitivities()
    picture = output.with_name(f"{output.name}-sensitivity.png")
    draw_sensitivities(rows, picture, title=f"{arguments.model} on {how['backend']}: each layer alone in int8")
    return {"rows": [row.as_json() for row in rows], "plot": str(picture)}


def render_sensitivity(found: dict[str, Any], console: Console) -> None:
    """Print the rows as a table."""
    from rich.table import Table

    table = Table(title="each layer alone in int8", title_justify="left")
    table.add_column("layer")
    for heading in ("ΔPSNR dB", "of fp32's", "ms saved"):
        table.add_column(heading, justify="right")
    for row in found["rows"]:
        table.add_row(row["layer"], f"{row['delta_psnr']:+.3f}", f"{row['kept']:.1%}", f"{row['saved_ms']:+.2f}")
    console.print(table, highlight=False, markup=False)
    console.print(f"drawn in {found['plot']}\n", highlight=False, markup=False, soft_wrap=True)
