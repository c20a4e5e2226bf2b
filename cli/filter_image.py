"""filter-image: run an engine on one picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.command import Command, Reporter
from postfilter.cli.engine_choice import add_engine_choice, add_guard, open_chosen_engine, open_reference_engine

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["COMMAND", "main"]

_SUMMARY = """Filter one picture; with --jpeg-quality, a clean one, of which the JPEG is made first and compared.

examples:
  filter-image photo.jpg out.png
  filter-image clean.png out.png --jpeg-quality 10 --model fastarcnn"""


def main() -> int:
    """Run the command; return its exit status."""
    return COMMAND.main()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT", help="a picture of 8 bits, turned as its EXIF data asks")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the suffix names the format")
    parser.add_argument(
        "--jpeg-quality",
        type=int,
        metavar="Q",
        help="the input is clean: make a JPEG of it at this quality (1 to 100), filter that and compare both",
    )
    parser.add_argument(
        "--report-quality",
        action="store_true",
        help="tell how strongly the picture was compressed, estimated from its samples, beside what its file tells",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    add_engine_choice(parser)
    add_guard(parser)


def _run(arguments: argparse.Namespace, reporter: Reporter) -> dict[str, Any]:
    from postfilter.quality import check_qualities
    from postfilter.video import filter_image
    from postfilter.video.picture import check_paths

    # What can be refused at once is refused before an engine is built.
    check_qualities([] if arguments.jpeg_quality is None else [arguments.jpeg_quality])
    check_paths(arguments.input, arguments.output, overwrite=arguments.overwrite)
    with open_chosen_engine(arguments, reporter, bit_depth=8) as engine:
        result = filter_image(
            arguments.input,
            arguments.output,
            engine,
            jpeg_quality=arguments.jpeg_quality,
            report_quality=arguments.report_quality,
            overwrite=arguments.overwrite,
            guard=arguments.guard,
            guard_engine=lambda: open_reference_engine(engine, arguments, reporter),
        )
    content = result.as_json()
    if arguments.engine is not None:
        content["engine"] = str(arguments.engine)
    return content


def _render(result: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    size = f"{result['width']}x{result['height']}"
    console.print(
        f"{result['output']}: {size} in {1000 * result['seconds']:.0f} ms, {result['engine']}", highlight=False
    )
    if (strength := result["strength"]) is not None:
        console.print(_told(strength), highlight=False)
    quality = result["quality"]
    if quality is None:
        return
    table = Table("", "PSNR", "SSIM", "PSNR-B", box=None)
    for name, key in ((f"JPEG {quality['jpeg_quality']}", "jpeg"), ("filtered", "filtered")):
        table.add_row(
            name,
            f"{quality[f'psnr_{key}']:.2f} dB",
            f"{quality[f'ssim_{key}']:.4f}",
            f"{quality[f'psnr_b_{key}']:.2f} dB",
        )
    console.print(table)


def _told(strength: dict[str, Any]) -> str:
    """Say how strongly a picture was compressed, in one line."""
    if not strength["coded"]:
        seen = "no compression is seen in the samples"
    elif strength["lattice"]:
        seen = f"JPEG quality {strength['jpeg_quality']}, from the steps that the samples lie on"
    else:
        seen = f"QP {strength['qp']:.0f} +- {strength['spread']:.0f}, as of JPEG quality {strength['jpeg_quality']}"
    told = strength["file_jpeg_quality"]
    return seen if told is None else f"{seen}; the file's quantization tables: JPEG quality {told}"


COMMAND = Command(name="filter-image", summary=_SUMMARY, add_arguments=_add_arguments, run=_run, render=_render)
