"""What every command shares: `--json`, `--quiet`, `--version`, exit statuses, progress, and how errors are told."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postfilter import __version__
from postfilter.errors import PostfilterError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Command", "Reporter", "another_interrupt_ends"]

Result = dict[str, Any]


class Reporter:
    """Tells a person, on standard error, how long work goes. Standard output is for results alone.

    Args:
        quiet: show neither progress nor warnings.
    """

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet)
        self._progress: Progress | None = None

    def note(self, text: str) -> None:
        """Print one line of what is going on."""
        self.console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print one line that the user should not miss."""
        self.console.print(f"warning: {text}", style="yellow", highlight=False, markup=False)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[..., None]]:
        """Show a bar with the rate and the time left; yield `update(done, total, **figures)`.

        `total` may be None where it is unknown; `figures` are shown as `name value` behind the bar. On something that
        is no terminal nothing moves: the bar is left out.
        """
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as TimeLeftColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(show_speed=False),
            TimeElapsedColumn(),
            TimeLeftColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        hidden = self.quiet or not self.console.is_terminal
        with Progress(*columns, console=self.console, disable=hidden, transient=True) as bar:
            task = bar.add_task(title, total=None, figures="")

            def update(done: float, total: float | None = None, **figures: float | str) -> None:
                text = "  ".join(
                    f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in figures.items()
                )
                bar.update(task, completed=done, total=total, figures=text)

            yield update


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: what it is called, what it takes, what it does and how its result reads."""

    name: str
    """As typed, for instance `export-engine`."""
    summary: str
    """One sentence for `--help`; may hold examples after a blank line."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Reporter], Result]
    """Does the work by calling a room; returns what `--json` prints."""
    render: Callable[[Result, Console], None]
    """Prints the same result for a person."""

    def main(self) -> int:
        """Parse `sys.argv`, run, print; return the exit status: 0 done, 1 a user's mistake, 130 interrupted.

        Wrong usage leaves through argparse with status 2, SIGTERM and SIGHUP through `SystemExit` with 128 and their
        number.
        """
        parser = argparse.ArgumentParser(
            prog=self.name, description=self.summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, nothing else")
        parser.add_argument("--quiet", action="store_true", help="no progress and no warnings on stderr")
        parser.add_argument("--version", action="version", version=_versions())
        arguments = parser.parse_args()
        reporter = Reporter(quiet=arguments.quiet)
        logging.basicConfig(level=logging.ERROR if arguments.quiet else logging.WARNING, format="%(message)s")
        _clean_up_when_ended()
        try:
            result = self.run(arguments, reporter)
        except PostfilterError as error:
            sys.stderr.write(f"{self.name}: error: {error}\n")
            return 1
        except OSError as error:
            # A path of the user's that cannot even be looked at, which no room asks about everywhere.
            if error.filename is None:
                raise
            sys.stderr.write(
                f"{self.name}: error: cannot use {error.filename} ({error.strerror}); look at its name, and at the "
                "rights of the file and of the folders on the way to it\n"
            )
            return 1
        except KeyboardInterrupt as error:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left that one more could end
            sys.stderr.write(f"{self.name}: {error}\n" if error.args else f"{self.name}: interrupted\n")
            return 130
        if arguments.json:
            sys.stdout.write(json.dumps(result) + "\n")
        else:
            from rich.console import Console

            self.render(result, Console())
        return 0


def _clean_up_when_ended() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP unwind the stack once, so that no half-written output stays behind.

    What comes after the first of a kind is ignored: it would cut the clean-up short.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # Python allows handlers there only
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the last is not on Windows
        number = getattr(signal, name, None)
        # Ignored, as nohup has it, stays ignored.
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def another_interrupt_ends() -> None:
    """Let Ctrl-C interrupt once more: for work that took the first as a wish to come to an end."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _versions() -> str:
    """The versions of postfilter and of the libraries below it, without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    parts = [f"postfilter {__version__}"]
    for library in ("openvino", "onnxruntime", "tensorrt", "torch", "onnx", "av"):
        try:
            parts.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return "\n".join(parts)
