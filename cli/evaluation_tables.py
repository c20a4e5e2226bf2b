"""What evaluate-model prints for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["render"]

Row: TypeAlias = dict[str, Any]
_FURTHER = {"ssim": "SSIM", "xpsnr": "XPSNR in dB", "vmaf": "VMAF", "flicker": "flicker in code values"}


def render(result: dict[str, Any], console: Console) -> None:
    """Print the result as tables: of clips one for each codec and QP, and averages and BD-rate of several.

    Args:
        result: as `--json` prints it.
        console: where to.
    """
    (_render_clips if "average" in result else _render_images)(result, console)


def _title(result: dict[str, Any], method: str) -> str:
    about = next(each for each in result["engines"] if each["method"] == method)
    name = about["model"] if len(result["engines"]) == 1 else method
    return f"{name}, {about['precision']}, {about['backend']}"


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        left = column in ("clip", "method", "codec")
        table.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    return table


def _render_images(result: dict[str, Any], console: Console) -> None:
    pairs = list(zip(result["rows"][::2], result["rows"][1::2], strict=True))
    for method in dict.fromkeys(filtered["method"] for _, filtered in pairs):
        own = [pair for pair in pairs if pair[1]["method"] == method]
        first = own[0][0]
        caption = f"PSNR in dB, JPEG of {first['dataset']}, {first['images']} pictures, {first['plane']}"
        columns = ("quality", "method", "PSNR", "ΔPSNR", "SSIM", "PSNR-B", "ΔPSNR-B")
        table = _table(f"{_title(result, method)}: {caption}", *columns)
        for jpeg, filtered in own:
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
    further = {key: title for key, title in _FURTHER.items() if f"delta_{key}" in result["average"]}
    for group in result["averages"]:
        rows = [row for row in result["rows"] if all(row[key] == group[key] for key in ("method", "codec", "qp"))]
        coding = f"{group['codec']} at QP {group['qp']}"
        table = _table(
            f"{_title(result, group['method'])}: luma PSNR in dB, {coding}",
            *("clip", "frames", "kbit/s", "decoded", "filtered", "ΔPSNR", "worst"),
        )
        for row in rows:
            worst = f"{row['worst_frame_delta_psnr']:+.2f}"
            table.add_row(row["clip"], str(row["frames"]), f"{row['kbps']:.0f}", *_decibels(row), worst)
        table.add_section()
        table.add_row("average", "", "", *_decibels(group), "", style="bold")
        console.print(table)
        table = _table(f"{coding}, decoded → filtered", "clip", "SD of PSNR", *further.values())
        for row in (*rows, group):
            table.add_row(
                row.get("clip", "average"),
                f"{row['psnr_sd_decoded']:.2f} → {row['psnr_sd_filtered']:.2f}",
                *(_pair(row, key) for key in further),
                style=None if "clip" in row else "bold",
            )
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


def _pair(row: Row, key: str) -> str:
    digits = 2 if key in ("xpsnr", "vmaf") else 4
    return f"{row[f'{key}_decoded']:.{digits}f} → {row[f'{key}_filtered']:.{digits}f}"
