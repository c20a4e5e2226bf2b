"""What evaluate-model prints for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["render"]

Row: TypeAlias = dict[str, Any]


def render(result: dict[str, Any], console: Console) -> None:
    """Print the result as tables: of clips one for each codec and QP, and averages and BD-rate of several.

    Args:
        result: as `--json` prints it.
        console: where to.
    """
    (_render_clips if "average" in result else _render_images)(result, console)


def _title(result: dict[str, Any]) -> str:
    return "; ".join(f"{each['model']}, {each['precision']}, {each['backend']}" for each in result["engines"])


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        left = column in ("clip", "method", "codec")
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    return table


def _render_images(result: dict[str, Any], console: Console) -> None:
    rows = result["rows"]
    caption = f"PSNR in dB, JPEG of {rows[0]['dataset']}, {rows[0]['images']} pictures, {rows[0]['plane']}"
    columns = ("quality", "method", "PSNR", "ΔPSNR", "SSIM", "PSNR-B", "ΔPSNR-B")
    table = _table(f"{_title(result)}: {caption}", *columns)
    for jpeg, filtered in zip(rows[::2], rows[1::2], strict=True):
        for row in (jpeg, filtered):
            gains = [f"{row[key] - jpeg[key]:+.2f}" if row is filtered else "" for key in ("psnr", "psnr_b")]
            table.add_row(
                str(row["quality"]) if row is jpeg else "",
                row["method"],
                f"{row['psnr']:.2f}",
                gains[0],
                f"{row['ssim']:.3f}",
                f"{row['psnr_b']:.2f}",
                gains[1],
                end_section=row is filtered,
            )
    console.print(table)


def _render_clips(result: dict[str, Any], console: Console) -> None:
    several = len(result["engines"]) > 1
    further = [key for key in ("delta_ssim", "delta_xpsnr", "delta_flicker") if key in result["average"]]
    names = [f"Δ{key.removeprefix('delta_').replace('ssim', 'SSIM').replace('xpsnr', 'XPSNR')}" for key in further]
    for group in result["averages"]:
        rows = [row for row in result["rows"] if all(row[key] == group[key] for key in ("method", "codec", "qp"))]
        title = (
            f"{group['method'] if several else _title(result)}: luma PSNR in dB, {group['codec']} at QP {group['qp']}"
        )
        table = _table(title, "clip", "frames", "kbit/s", "decoded", "filtered", "ΔPSNR", "worst", "SD", *names)
        for row in rows:
            spread = f"{row['psnr_sd_decoded']:.2f} → {row['psnr_sd_filtered']:.2f}"
            worst = f"{row['worst_frame_delta_psnr']:+.2f}"
            cells = (row["clip"], str(row["frames"]), f"{row['kbps']:.0f}", *_decibels(row), worst, spread)
            table.add_row(*cells, *_signed(row, further))
        table.add_section()
        worst = f"{group['worst_frame']['delta_psnr']:+.2f}"
        spread = f"{group['psnr_sd_decoded']:.2f} → {group['psnr_sd_filtered']:.2f}"
        cells = ("average", "", f"{group['kbps']:.0f}", *_decibels(group), worst, spread)
        table.add_row(*cells, *_signed(group, further), style="bold")
        console.print(table)
    if len(result["averages"]) > 1:
        _render_averages(result, console)


def _render_averages(result: dict[str, Any], console: Console) -> None:
    table = _table("averages over clips", "method", "codec", "QP", "ΔPSNR", "worst clip", "worst frame")
    for each in result["averages"]:
        figures = [each["delta_psnr"], each["worst_clip"]["delta_psnr"], each["worst_frame"]["delta_psnr"]]
        table.add_row(each["method"], each["codec"], str(each["qp"]), *(f"{figure:+.3f}" for figure in figures))
    console.print(table)
    means = [each for each in result["bd"] or () if each["clip"] is None]
    if means:
        table = _table("over all QPs", "method", "codec", "BD-rate %", "BD-PSNR dB")
        for each in means:
            figures = [each["bd_rate_percent"], each["bd_psnr_db"]]
            table.add_row(
                each["method"], each["codec"], *("-" if figure is None else f"{figure:+.2f}" for figure in figures)
            )
        console.print(table)


def _decibels(row: Row) -> tuple[str, str, str]:
    return f"{row['psnr_decoded']:.2f}", f"{row['psnr_filtered']:.2f}", f"{row['delta_psnr']:+.2f}"


def _signed(row: Row, keys: list[str]) -> list[str]:
    return [f"{row[key]:+.4f}" if key == "delta_ssim" else f"{row[key]:+.2f}" for key in keys]
