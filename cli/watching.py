"""Options of a command that let a person see what filtering does: a report afterwards, a preview meanwhile."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postfilter.runtime import EngineManifest
    from postfilter.video import Observer, VideoResult
    from postfilter.video.preview import Preview
    from postfilter.video.report import ReportObserver

__all__ = ["Watch", "add_watching", "watching"]


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Add `--report`, `--preview` and `--preview-host`; the first two set None where they are not given."""
    group = parser.add_argument_group("for the eyes")
    group.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write one self-contained page: before and after, curves of all frames, figures, settings",
    )
    group.add_argument(
        "--preview",
        type=_port,
        nargs="?",
        const=0,
        metavar="PORT",
        help="show input and output side by side in a browser while the job runs; its address is told on stderr "
        "(default port: a free one)",
    )
    group.add_argument(
        "--preview-host",
        default="127.0.0.1",
        metavar="HOST",
        help="address to serve the preview at; any but the default lets others see the video (default: 127.0.0.1, "
        "this machine alone)",
    )


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What looks at a clip while it is filtered."""

    report: ReportObserver | None
    report_path: Path | None
    preview: Preview | None

    @property
    def observers(self) -> list[Observer]:
        """For `filter_video`."""
        seeing: list[Observer | None] = [self.report, self.preview]
        return [each for each in seeing if each is not None]

    def progress(self, update: Callable[..., None], manifest: EngineManifest) -> Callable[..., None]:
        """Return what `filter_video` and `play_video` call as their work goes on.

        Args:
            update: the progress bar's, as `Reporter.progress` yields it.
            manifest: of the engine, of which the preview tells.
        """
        if self.preview is not None:
            self.preview.state(subtitle=manifest.label)

        def tell(done: int, total: int | None, **figures: Any) -> None:
            # A bar has room for plain figures alone.
            update(done, total, **{name: each for name, each in figures.items() if not isinstance(each, dict)})
            if self.preview is not None:
                self.preview.state(done=done, total=total, **figures)

        return tell

    def finish(self, result: VideoResult, manifest: EngineManifest) -> None:
        """Write the report, where one is wanted.

        Raises:
            OutputError: it cannot be written.
        """
        if self.report is not None and self.report_path is not None:
            from postfilter.video.report import write_report

            command = [Path(sys.argv[0]).name, *sys.argv[1:]]
            write_report(self.report_path, self.report, result, manifest=manifest, command=command)


@contextmanager
def watching(arguments: argparse.Namespace) -> Iterator[Watch]:
    """Start what the user asked for and yield it; enter it before long work, which it may refuse.

    Raises:
        OutputError: the report exists (without `--overwrite`) or cannot be written.
        MissingDependencyError: a package that the report needs is not installed.
        InputError: the preview's port is taken, or its host is none of this machine.
    """
    with ExitStack() as stack:
        report = preview = None
        if arguments.report is not None:
            from postfilter.video.report import ReportObserver, check_report

            check_report(arguments.report, source=arguments.input, overwrite=arguments.overwrite)
            report = ReportObserver()
        if arguments.preview is not None:
            from postfilter.video.preview import Preview

            title = Path(arguments.input).name
            preview = Preview(
                title=title, subtitle="making the engine ready", port=arguments.preview, host=arguments.preview_host
            )
            stack.enter_context(preview)
            # Told even with --quiet: without it a page on a free port cannot be found.
            sys.stderr.write(f"preview: {preview.url}\n")
            sys.stderr.flush()
        yield Watch(report=report, report_path=arguments.report, preview=preview)


def _port(text: str) -> int:
    """Return a port's number, for argparse."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; give a port from 1 to 65535, or put --preview alone behind INPUT and OUTPUT"
        )
    return int(text)
