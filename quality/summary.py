"""Rows of an evaluation, and what they come to: averages, the worst, and what filters are worth in bit rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from postfilter.errors import MissingDependencyError
from postfilter.quality.bd import LEAST_POINTS, bd_measures

__all__ = ["summary"]

Row: TypeAlias = dict[str, Any]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what evaluation over clips gives, as JSON can hold it.

    Args:
        rows: at least one, of each clip, codec, QP and method.

    Returns:
        `rows`, as given: `clip`, `method`, `codec`, `qp`, `width`, `height`, `frames`, `kbps`; for each metric the
        averages over frames `*_decoded`, `*_filtered` and `delta_*`, in dB, or in code values of flicker, where less is
        better; `psnr_sd_decoded` and `psnr_sd_filtered`, how PSNR goes up and down; `worst_frame`, counted from 0, and
        `worst_frame_delta_psnr`. A frame without error counts 100 dB.
        `average`: over the rows of the first method, each counting the same: `psnr_decoded`, `psnr_filtered`,
        `delta_psnr` and what else was measured.
        `averages`: the same for each method, codec and QP, with the worst clip and frame.
        `bd`: for each method, codec and clip with at least four QPs `bd_rate_percent` and `bd_psnr_db`, and their
        averages over clips where `clip` is null; a measure that the curves do not give is null. Empty where there are
        fewer QPs; null where the library is missing.
    """
    first = rows[0]["method"]
    keys = ("method", "codec", "qp")
    return {
        "rows": list(rows),
        "average": _means([row for row in rows if row["method"] == first]),
        "averages": [dict(zip(keys, group, strict=True)) | _of_group(part) for group, part in _groups(rows, keys)],
        "bd": _bd(rows),
    }


def _groups(rows: Sequence[Row], keys: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    yield from groups.items()


def _means(rows: Sequence[Row]) -> Row:
    keys = [key for key, value in rows[0].items() if isinstance(value, float) and key != "worst_frame_delta_psnr"]
    return {key: float(np.mean([row[key] for row in rows])) for key in keys}


def _of_group(rows: Sequence[Row]) -> Row:
    clip = min(rows, key=lambda row: row["delta_psnr"])
    frame = min(rows, key=lambda row: row["worst_frame_delta_psnr"])
    return (
        {"clips": len(rows)}
        | _means(rows)
        | {
            "worst_clip": {"clip": clip["clip"], "delta_psnr": clip["delta_psnr"]},
            "worst_frame": {
                "clip": frame["clip"],
                "frame": frame["worst_frame"],
                "delta_psnr": frame["worst_frame_delta_psnr"],
            },
        }
    )


def _bd(rows: Sequence[Row]) -> list[Row] | None:
    found: list[Row] = []
    for (method, codec), part in _groups(rows, ("method", "codec")):
        clips: list[Row] = []
        for (clip,), curve in _groups(part, ("clip",)):
            if len(curve) < LEAST_POINTS:
                continue
            try:
                rate, gain = bd_measures(*([row[key] for row in curve] for key in _CURVE))
            except MissingDependencyError:
                return None
            clips.append({"method": method, "codec": codec, "clip": clip, "bd_rate_percent": rate, "bd_psnr_db": gain})
        if clips:
            found += [*clips, {"method": method, "codec": codec, "clip": None} | _mean_bd(clips)]
    return found


_CURVE = ("kbps", "psnr_decoded", "psnr_filtered")


def _mean_bd(clips: Sequence[Row]) -> Row:
    columns = {key: [row[key] for row in clips] for key in ("bd_rate_percent", "bd_psnr_db")}
    return {key: None if None in values else float(np.mean(values)) for key, values in columns.items()}
