"""Options of a command that let a person see what filtering does: a report afterwards, a preview meanwhile."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postfilter.cli.command import Reporter
    from postfilter.runtime import EngineManifest
    from postfilter.video import Observer, VideoResult
    from postfilter.video.report import ReportObserver

__all__ = ["Watch", "add_watching", "check_watching", "watching"]


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Add `--report`, which sets `report` to a path or None."""
    group = parser.add_argument_group("for the eyes")
    group.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write one self-contained page: before and after, curves of all frames, figures, settings",
    )


def check_watching(arguments: argparse.Namespace) -> None:
    """Refuse what could not be shown, before any work is done.

    Raises:
        OutputError: the report exists (without `--overwrite`) or cannot be written.
        MissingDependencyError: a package that the report needs is not installed.
    """
    if arguments.report is not None:
        from postfilter.video.report import check_report

        check_report(arguments.report, source=arguments.input, overwrite=arguments.overwrite)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What looks at a clip while it is filtered."""

    on_progress: Callable[..., None]
    """For `filter_video`."""
    observers: list[Observer] = field(default_factory=list)
    """For `filter_video`."""
    report: ReportObserver | None = None
    report_path: Path | None = None

    def finish(self, result: VideoResult, manifest: EngineManifest) -> None:
        """Write the report, where one is wanted."""
        if self.report is not None and self.report_path is not None:
            from postfilter.video.report import write_report

            command = [Path(sys.argv[0]).name, *sys.argv[1:]]
            write_report(self.report_path, self.report, result, manifest=manifest, command=command)


@contextmanager
def watching(arguments: argparse.Namespace, reporter: Reporter, update: Callable[..., None]) -> Iterator[Watch]:
    """Start what the user asked for and yield it; `update` is the progress bar's, as `Reporter.progress` yields it."""
    with ExitStack():
        observers: list[Observer] = []
        report = None
        if arguments.report is not None:
            from postfilter.video.report import ReportObserver

            report = ReportObserver()
            observers.append(report)

        def tell(done: int, total: int | None, *, fps: float, speed: float, **state: Any) -> None:
            update(done, total, fps=fps, speed=speed)

        yield Watch(on_progress=tell, observers=observers, report=report, report_path=arguments.report)
