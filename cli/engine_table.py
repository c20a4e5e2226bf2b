"""What `export-engine` prints of an engine: its table, or why it would be built again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from postfilter.cli.options import size_label

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["render_changes", "render_engine"]


def render_engine(result: dict[str, Any], console: Console) -> None:
    """Print an engine's manifest as a table, and what to do next.

    Args:
        result: `engine`, `manifest`, `build_seconds` and `reused`, as JSON has them.
        console: where to.
    """
    from rich.table import Table

    manifest = result["manifest"]
    cost, verified = manifest["cost"], manifest["verification"]
    size = manifest["size"]
    label = size_label(tuple(size) if size else None)
    ran = manifest["precision_run"]
    half = "" if ran in (manifest["precision"], "unknown", "") else f", run here as {ran}"
    agreement = f"{verified['psnr_db']:.1f} dB" if verified["max_abs_diff"] else "identical"
    when = "before" if result["reused"] else f"in {result['build_seconds']:.1f} s"
    rows = {
        "model": f"{manifest['model']} ({manifest['layout']}), {cost['params']:,} parameters",
        "backend": f"{manifest['backend']} {manifest['backend_version']} on {manifest['device']}",
        "precision": f"{manifest['precision']}{half}",
        "size": f"{label}, {manifest['bit_depth']} bits",
        "verified": f"{agreement} to PyTorch on {verified['frames']} frames ({verified['source']}), largest difference "
        f"{verified['max_abs_diff']} code values",
        **_judged(manifest["quantization"]),
        "cost": f"{cost['kmac_per_px']:.1f} kMAC/px; at {cost['width']}x{cost['height']}, {cost['fps']} fps "
        f"{cost['true_tflops']:.2f} TFLOPS (2 a MAC), by the slides' count {cost['slides']['tflops']:.2f} and "
        f"{cost['slides']['mem_mb']:.2f} MB",
        "built": f"{when}: {result['engine']}",
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table, highlight=False, markup=False)
    usual = "filter-video in.mp4 out.mp4" if manifest["layout"] == "luma" else "filter-image in.jpg out.png"
    # Not wrapped, so that it can be copied whole.
    console.print(f"\nnext: {usual} --engine {result['engine']}", highlight=False, markup=False, soft_wrap=True)


def render_changes(result: dict[str, Any], console: Console) -> None:
    """Print the answer to `--why-rebuild`: `engine`, `exists`, `current` and `changes`."""
    from postfilter.export import Change

    if result["current"]:
        lines = [f"nothing: the engine in {result['engine']} is current"]
    elif not result["exists"]:
        lines = [f"there is none yet at {result['engine']}"]
    else:
        lines = [f"the engine in {result['engine']} would be built again, since these changed:"]
        lines += [f"  {Change(**change)}" for change in result["changes"]]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _judged(quantization: dict[str, Any]) -> dict[str, str]:
    """What an int8 engine's manifest says of it, for the table; nothing for other precisions."""
    if not quantization:
        return {}
    found = quantization["judgement"]
    return {
        "judged": f"keeps {found['kept']:.1%} of what fp32 gains ({found['delta_psnr']:+.3f} of "
        f"{found['delta_psnr_fp32']:+.3f} dB on {found['frames']} frames, {found['source']}), and takes "
        f"{found['ms']:.1f} ms where {found['higher']} takes {found['higher_ms']:.1f}",
        "in int8": ", ".join(quantization["layers"]),
    }
