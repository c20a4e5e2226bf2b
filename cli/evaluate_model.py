"""evaluate-model: what a model or an engine gains, on pictures coded as JPEG or on clips coded as video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.command import Command, Reporter
from postfilter.cli.options import add_build_options, add_device_options, open_engine

if TYPE_CHECKING:
    from rich.console import Console

    from postfilter.runtime import Engine

__all__ = ["COMMAND", "main"]

_SUMMARY = """Measure what a model or an engine gains: PSNR, SSIM and PSNR-B on pictures, ΔPSNR on clips.

examples:
  evaluate-model fastarcnn --images photos/ --jpeg-quality 10 20 30 40
  evaluate-model fastarcnn-luma --clips clean/ --codec hevc --qp 37
  evaluate-model engines/fastarcnn-luma-dynamic-fp16-openvino --clips clean/*.mkv --codec h264 --qp 32 --frames 60

The pictures and clips are the clean ones: they are coded here, decoded, filtered, and both are compared with them.
RGB models are judged on the three channels of pictures, luma models on the luma plane of pictures and clips."""

_JPEG_QUALITIES = (10, 20, 30, 40)
_QP = 37


def main() -> int:
    """Run the command; return its exit status."""
    return COMMAND.main()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL|ENGINE", help="a model's name, evaluated in fp32 unless asked otherwise, or an engine"
    )
    material = parser.add_mutually_exclusive_group(required=True)
    material.add_argument("--images", type=Path, metavar="DIR", help="clean pictures, to be coded as JPEG")
    material.add_argument(
        "--clips", type=Path, nargs="+", metavar="CLIP", help="clean clips or folders of them, 8-bit 4:2:0"
    )
    parser.add_argument(
        "--jpeg-quality",
        type=int,
        nargs="+",
        metavar="Q",
        help=f"OpenCV's JPEG qualities (default: {' '.join(map(str, _JPEG_QUALITIES))})",
    )
    parser.add_argument("--codec", choices=("h264", "hevc"), help="x264 or x265, for --clips (default: hevc)")
    parser.add_argument("--qp", type=int, metavar="N", help=f"the encoder's constant QP (default: {_QP})")
    parser.add_argument("--frames", type=int, metavar="N", help="only the first N frames of each clip (default: all)")
    parser.add_argument("--preset", metavar="NAME", help="the encoder's (default: medium)")
    add_build_options(parser)
    add_device_options(parser)


def _run(arguments: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    _check(arguments)
    with open_engine(arguments.model, arguments, bit_depth=8, on_step=reporter.note) as engine:
        result = _on_images(arguments, engine, reporter) if arguments.images else _on_clips(arguments, engine, reporter)
        manifest = engine.manifest
        about = {"model": manifest.model, "precision": manifest.precision, "backend": manifest.backend}
        return result | {"engine": about}


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what makes no sense, and missing inputs, before an engine is built."""
    from postfilter.errors import InputError
    from postfilter.export import names_model
    from postfilter.models import card
    from postfilter.quality import check_coding, check_qualities, clip_files, image_files

    for_clips = ("codec", "qp", "frames", "preset")
    unused, other = (for_clips, "--clips") if arguments.images else (("jpeg_quality",), "--images")
    given = [f"--{name.replace('_', '-')}" for name in unused if getattr(arguments, name) is not None]
    if given:
        raise InputError(f"{', '.join(given)} belongs to {other}; leave it out or give {other}")
    if arguments.images:
        check_qualities(arguments.jpeg_quality or _JPEG_QUALITIES)
        image_files(arguments.images)
    else:
        check_coding(**_coding(arguments))
        if names_model(arguments.model):
            _require_luma(arguments.model, card(arguments.model).layout)
        clip_files(arguments.clips)


def _coding(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "codec": arguments.codec or "hevc",
        "qp": _QP if arguments.qp is None else arguments.qp,
        "frames": arguments.frames,
        "preset": arguments.preset or "medium",
    }


def _require_luma(model: str, layout: str) -> None:
    from postfilter.errors import InputError

    if layout != "luma":
        raise InputError(
            f"{model} takes RGB, and clips are measured on luma alone; give a luma model such as fastarcnn-luma, or "
            "run filter-video with --reference, which converts"
        )


def _on_images(arguments: argparse.Namespace, engine: Engine, reporter: Reporter) -> dict[str, Any]:
    from postfilter.quality import evaluate_images

    with reporter.progress(arguments.images.name) as update:
        rows = evaluate_images(
            arguments.images,
            engine,
            layout=engine.layout,
            method=engine.manifest.model,
            qualities=arguments.jpeg_quality or _JPEG_QUALITIES,
            on_progress=update,
        )
    return {"rows": rows}


def _on_clips(arguments: argparse.Namespace, engine: Engine, reporter: Reporter) -> dict[str, Any]:
    from postfilter.quality import evaluate_clips

    _require_luma(engine.manifest.model, engine.layout)
    with reporter.progress("clips") as update:
        return evaluate_clips(
            arguments.clips,
            engine,
            method=engine.manifest.model,
            **_coding(arguments),
            on_progress=update,
        )


def _render(result: dict[str, Any], console: Console) -> None:
    about = result["engine"]
    title = f"{about['model']}, {about['precision']}, {about['backend']}"
    (_render_clips if "average" in result else _render_images)(result, console, title)


def _render_images(result: dict[str, Any], console: Console, title: str) -> None:
    from rich import box
    from rich.table import Table

    rows = result["rows"]
    caption = f"PSNR in dB, JPEG of {rows[0]['dataset']}, {rows[0]['images']} pictures, {rows[0]['plane']}"
    table = Table(title=f"{title}: {caption}", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("quality", "method", "PSNR", "ΔPSNR", "SSIM", "PSNR-B", "ΔPSNR-B"):
        table.add_column(column, justify="left" if column == "method" else "right")
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


def _render_clips(result: dict[str, Any], console: Console, title: str) -> None:
    from rich import box
    from rich.table import Table

    first, average = result["rows"][0], result["average"]
    title = f"{title}: luma PSNR in dB, {first['codec']} at QP {first['qp']}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("clip", overflow="fold")
    for column in ("frames", "kbit/s", "decoded", "filtered", "ΔPSNR", "worst"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result["rows"]:
        worst = f"{row['worst_frame_delta_psnr']:+.2f}"
        table.add_row(row["clip"], str(row["frames"]), f"{row['kbps']:.0f}", *_decibels(row), worst)
    table.add_section()
    table.add_row("average", "", "", *_decibels(average), "", style="bold")
    console.print(table)


def _decibels(row: dict[str, Any]) -> tuple[str, str, str]:
    return f"{row['psnr_decoded']:.2f}", f"{row['psnr_filtered']:.2f}", f"{row['delta_psnr']:+.2f}"


COMMAND = Command(name="evaluate-model", summary=_SUMMARY, add_arguments=_add_arguments, run=_run, render=_render)
