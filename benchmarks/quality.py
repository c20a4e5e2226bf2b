"""Measure the shipped models on data that they never saw; write the figures into their cards; print the README's table.

  python benchmarks/quality.py --images LIVE1 --clips CLIP [CLIP …]

RGB models are measured on the pictures at JPEG quality 10 to 40, luma models on the clips through x264 and x265; every
figure is `evaluate-model`'s, on the fp32 OpenVINO engine.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

from postfilter import models
from postfilter.export import engine_from
from postfilter.quality import evaluate_clips, evaluate_images

JPEG_QUALITIES = (10, 20, 30, 40)
CODED_AT = (("hevc", 37), ("hevc", 32), ("hevc", 27), ("h264", 37), ("h264", 27))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="clean clips, or folders")
    parser.add_argument("--models", nargs="+", default=models.names(shipped=True), choices=models.names())
    arguments = parser.parse_args()
    for name in arguments.models:
        engine = engine_from(name)
        if engine.layout == "rgb":
            results = images_results(engine, name, arguments.images)
        else:
            results = clips_results(engine, name, arguments.clips)
        write_results(name, results)
        print(readme_row(name, engine.manifest.cost, results), flush=True)


def images_results(engine: Any, name: str, folder: Path) -> dict[str, Any]:
    rows = evaluate_images(folder, engine, layout="rgb", method=name, qualities=JPEG_QUALITIES)
    command = f"evaluate-model {name} --images {folder.name} --jpeg-quality {' '.join(map(str, JPEG_QUALITIES))}"
    keys = ("quality", "method", "psnr", "ssim", "psnr_b")
    table = [{key: rounded(row[key]) for key in keys} for row in rows]
    return {"command": command, "dataset": folder.name, "pictures": rows[0]["images"], "rows": table}


def clips_results(engine: Any, name: str, clips: list[Path]) -> dict[str, Any]:
    table = []
    for codec, qp in CODED_AT:
        measured = evaluate_clips(clips, engine, method=name, codec=codec, qp=qp)
        gains = {row["clip"]: rounded(row["delta_psnr"]) for row in measured["rows"]}
        table.append(
            {"codec": codec, "qp": qp, "delta_psnr": rounded(measured["average"]["delta_psnr"]), "by_clip": gains}
        )
    return {"command": f"evaluate-model {name} --clips … --codec CODEC --qp QP", "rows": table}


def write_results(name: str, results: dict[str, Any]) -> None:
    path = models.card(name).weights_path.with_suffix(".json")
    card = json.loads(path.read_text())
    card["results"] = {"date": datetime.date.today().isoformat(), **results}
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def readme_row(name: str, cost: dict[str, Any], results: dict[str, Any]) -> str:
    rows = results["rows"]
    if "dataset" in results:
        jpeg, filtered = (row for row in rows if row["quality"] == 10)
        gain = (
            f"{results['dataset']}, JPEG quality 10: PSNR {jpeg['psnr']:.2f} → {filtered['psnr']:.2f} dB, "
            f"PSNR-B {jpeg['psnr_b']:.2f} → {filtered['psnr_b']:.2f} dB"
        )
    else:
        gains = (f"{row['codec'].upper()} QP 37 {row['delta_psnr']:+.2f} dB" for row in rows if row["qp"] == 37)
        gain = f"{len(rows[0]['by_clip'])} clips, ΔPSNR: {', '.join(gains)}"
    layout = models.card(name).layout
    return f"| `{name}` | {layout} | {cost['params']:,} | {cost['kmac_per_px']:.1f} | {gain} |"


def rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
