"""The report itself: everything put into one HTML file, which needs no network and no file beside it."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.errors import MissingDependencyError, OutputError
from postfilter.video.pages.assets import page_asset
from postfilter.video.pages.display import describe_conversion
from postfilter.video.report.facts import engine_tables, machine_table, number, result_tables, timestamp
from postfilter.video.report.observer import Shown
from postfilter.video.report.pictures import Pair, embed
from postfilter.video.report.plot import draw_curves
from postfilter.video.target import check_target

if TYPE_CHECKING:
    from postfilter.runtime import EngineManifest
    from postfilter.video.report.observer import ReportObserver
    from postfilter.video.result import VideoResult

__all__ = ["check_report", "write_report"]

_BUDGET_BYTES = 8 << 20
"""For all pictures of a page, as embedded."""


def check_report(path: Path, *, source: Path, overwrite: bool) -> None:
    """Refuse a report that could not be written, before any work is done.

    Raises:
        OutputError: it exists (and `overwrite` is false), is the input or a folder, or its folder is absent.
        MissingDependencyError: Jinja2 or matplotlib is not installed.
    """
    check_target(path, source=source, overwrite=overwrite)
    for package in ("jinja2", "matplotlib"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingDependencyError(package, "--report", "report", error) from error


def write_report(
    path: Path,
    observer: ReportObserver,
    result: VideoResult,
    *,
    manifest: EngineManifest,
    command: Sequence[str] | None = None,
    budget_bytes: int = _BUDGET_BYTES,
) -> None:
    """Write the report of a clip; it appears under its name only when it is complete. A file there is replaced.

    Args:
        path: of the HTML file; `check_report` asks whether it may be written.
        observer: that saw the clip while it was filtered.
        result: of `filter_video`.
        manifest: of the engine.
        command: the words of the command that was given, if it was one.
        budget_bytes: the most that the pictures may take, all together.

    Raises:
        OutputError: the file cannot be written.
        MissingDependencyError: Jinja2 or matplotlib is not installed.
    """
    page = _render(observer, result, manifest, command, budget_bytes)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write the report {path} ({error}); give a file in a folder of yours") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _render(
    observer: ReportObserver,
    result: VideoResult,
    manifest: EngineManifest,
    command: Sequence[str] | None,
    budget_bytes: int,
) -> str:
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependencyError("jinja2", "--report", "report", error) from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "timestamp": timestamp}
    shown = observer.shown()
    content = result.as_json()
    script = page_asset("slider.js")
    return environment.from_string(page_asset("report.html", package=__package__)).render(
        clip=Path(content["input"]).name,
        headline=_headline(content, observer),
        pictures=[
            {"shown": each, "record": each.kept.record, "pair": pair, "anchor": _anchor(each)}
            for each, pair in zip(shown, _embedded(shown, budget_bytes), strict=True)
        ],
        conversion=describe_conversion(shown[0].kept.decoded) if shown else "",
        curves=draw_curves(observer.curves, marks={each.kept.record.index: f"#{_anchor(each)}" for each in shown}),
        merged=max((each.points().frames_per_point for each in observer.curves.values()), default=1),
        observer=observer,
        result=content,
        tables=result_tables(content),
        settings=[*engine_tables(manifest), machine_table(manifest)],
        command=None if command is None else shlex.join(command),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        styles=page_asset("page.css") + page_asset("report.css", package=__package__),
        script=script,
        # The page's policy allows this very script and nothing from elsewhere.
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _embedded(shown: Sequence[Shown], budget_bytes: int) -> list[Pair]:
    return embed([each.kept for each in shown], budget_bytes=budget_bytes)


def _anchor(each: Shown) -> str:
    return f"frame-{each.kept.record.index}"


def _headline(result: dict[str, Any], observer: ReportObserver) -> list[dict[str, str]]:
    """The four or five figures that are looked for first."""
    figures = []
    if result.get("quality"):
        figures.append(("Luma ΔPSNR", number(result["quality"]["delta_psnr"], sign=True), "dB"))
    elif "change" in observer.curves:
        change = observer.curves["change"].points().mean.mean()
        figures.append(("Mean change", number(float(change)), "codes"))
    figures += [
        ("Speed", number(result["fps"]), "fps"),
        ("Real time", number(result["speed_x"]), "×"),  # noqa: RUF001  # the true multiplication sign
        ("Frames", number(result["frames_out"]), ""),
    ]
    latency = result.get("latency_ms") or {}
    if "p95" in latency:
        figures.append(("Latency p95", number(latency["p95"]), "ms"))
    tiles = result.get("tiles") or {}
    if tiles.get("total"):
        figures.append(("Tiles reused", number(100 * tiles["reused"] / tiles["total"]), "%"))
    return [{"name": name, "value": value, "unit": unit} for name, value, unit in figures]
