"""docs/quality.md from what was measured: every figure on it comes from `results` or from published_quality.json."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from postfilter import __version__

Row = dict[str, Any]
PUBLISHED = Path(__file__).with_name("published_quality.json")
DATASETS = {"live1": "LIVE1", "bsds500": "BSDS500, test"}


def page(results: Row, *, command: str) -> str:
    """The page as Markdown; parts without results are left out."""
    published = json.loads(PUBLISHED.read_text())
    parts = [
        _head(command),
        *([_images(results["images"], published)] if results["images"] else []),
        *([_video(results["video"], published)] if results["video"] else []),
        *([_pareto(results["pareto"])] if results["pareto"] else []),
        *([_sources(published, results)] if results["images"] or results["video"] else []),
    ]
    return "\n\n".join(parts) + "\n"


def _head(command: str) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("openvino", "av", "opencv-python-headless"))
    return f"""# Quality

Written by `{command}` on {datetime.date.today().isoformat()} (postfilter {__version__}, {libraries}). Every
figure is measured, the published rows apart, whose sources stand at the end. No model was trained on what it is
measured on. Figures are `evaluate-model`'s; those of one row were measured on the date in it, where there is one."""


def _images(rows: Sequence[Row], published: Row) -> str:
    texts = [
        """## Pictures coded as JPEG, in colour

PSNR / SSIM / PSNR-B over R, G and B: JPEG by OpenCV with its default 4:2:0, SSIM with an 11x11 Gaussian, PSNR-B with
the blocking of luma."""
    ]
    qualities = sorted({row["quality"] for row in rows})
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == dataset]
        others = [row for row in published["images"] if row["dataset"] == dataset]
        lines: dict[tuple[str, str], dict[int, Row]] = {}
        for row in own:
            key = ("JPEG", "measured") if row["method"] == "jpeg" else (f"`{row['method']}`", f"measured {row['date']}")
            lines.setdefault(key, {})[row["quality"]] = row
        for row in others:
            lines.setdefault((row["method"], row["source"]), {})[row["quality"]] = row
        table = [[name, origin, *(_triple(cells.get(q)) for q in qualities)] for (name, origin), cells in lines.items()]
        pictures = own[0]["images"]
        heads = ["", "from", *(f"quality {q}" for q in qualities)]
        texts.append(f"### {DATASETS.get(dataset, dataset)}, {pictures} pictures\n\n{_table(heads, table, left=2)}")
    return "\n\n".join([*texts, f"Left out, since no source was at hand: {published['images_not_sourced']}."])


def _video(video: Row, published: Row) -> str:
    rows = video["rows"]
    clips = list(dict.fromkeys(row["clip"] for row in rows))
    frames = {row["clip"]: row["frames"] for row in rows}
    texts = [
        f"""## Clips coded as video, luma

x264 and x265, preset medium, inter-coded at a constant QP with their in-loop filters; {len(clips)} clips:
{", ".join(f"{clip} ({frames[clip]} frames)" for clip in clips)}. ΔPSNR is the mean over frames, then over clips. A
model that reads the QP is told that of each frame by the bitstream, and stands here blind too."""
    ]
    for codec in dict.fromkeys(row["codec"] for row in rows):
        averages = [each for each in video["averages"] if each["codec"] == codec]
        bd = {each["method"]: each for each in video["bd"] or () if each["codec"] == codec and each["clip"] is None}
        texts.append(f"### {codec.upper()}: ΔPSNR in dB\n\n{_gains(averages, bd)}")
        texts.append(f"The same in detail:\n\n{_details(averages)}")
        own = [row for row in rows if row["codec"] == codec]
        texts.append(f"ΔPSNR of each clip:\n\n{_by_clip(own, clips)}")
    literature = [
        [each["method"], each["source"], f"{each['delta_psnr']:+.3f}", f"{each['bd_rate_percent']:+.2f}"]
        for each in published["video"]
    ]
    heads = ["", "from", "ΔPSNR, dB", "BD-rate, %"]
    table = _table(heads, literature, left=2)
    texts.append(f"### Published\n\n{published['video_setting']}.\n\n{table}")
    texts.append(_WORDS)
    return "\n\n".join(texts)


_WORDS = """SD is the standard deviation of a clip's frame PSNRs, averaged over clips: the fluctuation of MFQE 2.0.
XPSNR is FFmpeg's (Helmrich et al., ICASSP 2020), VMAF libvmaf's vmaf_v0.6.1, on luma without scaling. Flicker is the
measure of Yang, Boyce and Stein (ICIP 2008), in code values: what a frame differs from the one before it, along the
motion of the source, beyond what the source does; less is better. BD-rate and BD-PSNR are those of PSNR against bit
rate, by the library `bjontegaard` (Akima)."""


def _gains(averages: Sequence[Row], bd: dict[str, Row]) -> str:
    qps = sorted({each["qp"] for each in averages})
    table = []
    for method in dict.fromkeys(each["method"] for each in averages):
        gains = {each["qp"]: each for each in averages if each["method"] == method}
        worst = min((each["worst_clip"]["delta_psnr"], each["worst_clip"]["clip"], qp) for qp, each in gains.items())
        measures = bd.get(method, {"bd_rate_percent": None, "bd_psnr_db": None})
        table.append(
            [
                f"`{method}`",
                *(f"{gains[qp]['delta_psnr']:+.3f}" if qp in gains else "" for qp in qps),
                _signed(measures["bd_rate_percent"], 2),
                _signed(measures["bd_psnr_db"], 3),
                f"{worst[0]:+.3f} ({worst[1]}, QP {worst[2]})",
            ]
        )
    return _table(["", *(f"QP {qp}" for qp in qps), "BD-rate, %", "BD-PSNR, dB", "worst clip"], table)


def _details(averages: Sequence[Row]) -> str:
    metrics = [key for key in ("ssim", "xpsnr", "vmaf", "flicker") if f"delta_{key}" in averages[0]]
    titles = {"ssim": "ΔSSIM", "xpsnr": "ΔXPSNR, dB", "vmaf": "ΔVMAF", "flicker": "flicker"}
    table = []
    for each in sorted(averages, key=lambda each: (each["qp"], each["method"])):
        worst = each["worst_frame"]
        cells = {
            "ssim": lambda each=each: f"{each['delta_ssim']:+.4f}",
            "xpsnr": lambda each=each: f"{each['delta_xpsnr']:+.3f}",
            "vmaf": lambda each=each: f"{each['delta_vmaf']:+.2f}",
            "flicker": lambda each=each: f"{each['flicker_decoded']:.3f} → {each['flicker_filtered']:.3f}",
        }
        table.append(
            [
                str(each["qp"]),
                f"`{each['method']}`",
                f"{each['kbps']:.0f}",
                f"{each['psnr_decoded']:.2f} → {each['psnr_filtered']:.2f}",
                *(cells[key]() for key in metrics),
                f"{each['psnr_sd_decoded']:.3f} → {each['psnr_sd_filtered']:.3f}",
                f"{worst['delta_psnr']:+.3f} ({worst['clip']}, {worst['frame']})",
            ]
        )
    heads = ["QP", "", "kbit/s", "PSNR, dB", *(titles[key] for key in metrics), "SD, dB", "worst frame"]
    return _table(heads, table, left=2)


def _by_clip(rows: Sequence[Row], clips: Sequence[str]) -> str:
    cells = {(row["method"], row["qp"], row["clip"]): f"{row['delta_psnr']:+.3f}" for row in rows}
    lines = sorted({(qp, method) for method, qp, _ in cells})
    table = [[str(qp), f"`{method}`", *(cells.get((method, qp, clip), "") for clip in clips)] for qp, method in lines]
    return _table(["QP", "", *clips], table, left=2)


def _pareto(rows: Sequence[Row]) -> str:
    first = rows[0]
    whole = {row["model"]: row["delta_psnr"] for row in rows if row["precision"] == "fp32"}
    table = [
        [
            f"`{row['model']}`",
            row["precision"],
            f"{row['kmac_per_px']:.1f}",
            f"{row['fps']:.1f}",
            f"{row['delta_psnr']:+.3f}",
            _share(row["delta_psnr"], whole.get(row["model"])),
            row["date"],
        ]
        for row in sorted(rows, key=lambda row: -row["fps"])
    ]
    heads = ["", "precision", "kMAC/px", "frames a second", "ΔPSNR, dB", "of fp32", "timed"]
    return f"""## Gain against speed

{first["machine"]}, {first["width"]}x{first["height"]}, the engine alone (`Engine.stream`, OpenVINO, all cores); ΔPSNR
is that of the clips above at HEVC QP 37. No published point stands here: none was measured on this processor and on
these clips.

![ΔPSNR against frames a second](pareto.svg)

{_table(heads, table, left=2)}"""


def _sources(published: Row, results: Row) -> str:
    kinds = [kind for kind in ("images", "video") if results[kind]]
    used = dict.fromkeys(row["source"] for kind in kinds for row in published[kind])
    lines = "\n".join(f"- {name}: {published['sources'][name]}." for name in used)
    return f"## Sources of the published rows\n\n{lines}"


def _triple(row: Row | None) -> str:
    if row is None:
        return ""
    digits = {"psnr": 2, "ssim": 3, "psnr_b": 2}
    return " / ".join("-" if row[key] is None else f"{row[key]:.{n}f}" for key, n in digits.items())


def _share(gain: float, whole: float | None) -> str:
    return f"{gain / whole:.1%}" if whole and whole > 0 else "-"


def _signed(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    rule = ["---" if column < left else "---:" for column in range(len(heads))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *rows))
