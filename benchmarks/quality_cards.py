"""The figures of benchmarks/quality.py in the models' cards, and as rows of the README."""

from __future__ import annotations

import datetime
import json
from typing import Any

from postfilter import models

Row = dict[str, Any]


def write_card(name: str, results: Row) -> Row | None:
    """Put what was measured of a model into its card; return the card, or None where nothing was."""
    measured = _of_images(name, results["images"]) or _of_clips(name, results["video"])
    if measured is None:
        return None
    path = models.card(name).weights_path.with_suffix(".json")
    card: Row = json.loads(path.read_text())
    card["results"] = {"date": datetime.date.today().isoformat(), **measured}
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return card


def readme_row(name: str, card: Row) -> str:
    """The row of a model in the README's table, from its card."""
    from postfilter.export import engine_from

    with engine_from(name) as engine:
        cost, layout = engine.manifest.cost, engine.layout
    rows = card["results"]["rows"]
    if "dataset" in card["results"]:
        jpeg, filtered = (row for row in rows if row["quality"] == 10)
        gain = (
            f"{card['results']['dataset']}, JPEG quality 10: PSNR {jpeg['psnr']:.2f} → {filtered['psnr']:.2f} dB, "
            f"PSNR-B {jpeg['psnr_b']:.2f} → {filtered['psnr_b']:.2f} dB"
        )
    else:
        gains = (f"{row['codec'].upper()} QP 37 {row['delta_psnr']:+.2f} dB" for row in rows if row["qp"] == 37)
        gain = f"{len(rows[0]['by_clip'])} clips, ΔPSNR: {', '.join(gains)}"
    return f"| `{name}` | {layout} | {cost['params']:,} | {cost['kmac_per_px']:.1f} | {gain} |"


def _of_images(name: str, rows: list[Row]) -> Row | None:
    """Of LIVE1: the rows of JPEG and of the model, by quality."""
    own = [row for row in rows if row["dataset"] == "live1"]
    pairs = [(jpeg, row) for jpeg, row in zip(own[::2], own[1::2], strict=True) if row["method"] == name]
    if not pairs:
        return None
    qualities = " ".join(str(row["quality"]) for _, row in pairs)
    keys = ("quality", "method", "psnr", "ssim", "psnr_b")
    return {
        "command": f"evaluate-model {name} --images live1 --jpeg-quality {qualities}",
        "dataset": "live1",
        "pictures": pairs[0][1]["images"],
        "rows": [{key: _rounded(row[key]) for key in keys} for pair in pairs for row in pair],
    }


def _of_clips(name: str, video: Row | None) -> Row | None:
    averages = [each for each in (video or {"averages": []})["averages"] if each["method"] == name]
    if not averages or video is None:
        return None
    rows = []
    for each in averages:
        same = [row for row in video["rows"] if all(row[key] == each[key] for key in ("method", "codec", "qp"))]
        gains = {row["clip"]: _rounded(row["delta_psnr"]) for row in same}
        gain = {"codec": each["codec"], "qp": each["qp"], "delta_psnr": _rounded(each["delta_psnr"])}
        rows.append(gain | {"by_clip": gains})
    codecs, qps = (" ".join(str(value) for value in dict.fromkeys(row[key] for row in rows)) for key in ("codec", "qp"))
    return {"command": f"evaluate-model {name} --clips … --codec {codecs} --qp {qps}", "rows": rows}


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
