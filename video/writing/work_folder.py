"""The folder beside a target in which it is made: its lock, its journal, complete segments and the growing file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from postfilter.errors import OutputError
from postfilter.video.writing.journal import Journal, differences, read_journal, sync_folder, write_journal
from postfilter.video.writing.lock import Lock
from postfilter.video.writing.segments import Segment, is_whole

__all__ = ["WorkFolder", "work_folder_of"]

_JOURNAL = "journal.json"
_LOCK = "lock"
_OURS = (_JOURNAL, _LOCK, "*.segment", "container.*", f"{_JOURNAL}.new")


def work_folder_of(target: Path) -> Path:
    """Return where a target is made."""
    return target.with_name(f".{target.name}.postfilter")


class WorkFolder:
    """The work on one target, which one process at a time may do.

    Until `begin` or `resume` nothing of an earlier run is touched but its growing file, which is of no use.

    Args:
        target: the file to be.

    Raises:
        OutputError: another run is making this target, or its folder cannot be written to.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = work_folder_of(target)
        self.container = self.path / f"container{target.suffix}"
        """The whole output, until it is complete."""
        self.journal = Journal(made_with={})
        """What is done; empty before `resume`."""
        self._ours = False
        try:
            self._lock = self._enter()
            self._sweep("container.*")
        except BlockingIOError as error:
            raise OutputError(
                f"another run is writing {target} at this moment; wait for it, or give another name"
            ) from error
        except OSError as error:
            raise OutputError(
                f"cannot write to the folder {target.parent} ({error.strerror}); give another one"
            ) from error

    def found(self) -> Journal | None:
        """Return the journal that an earlier run left with complete segments in it, if one did."""
        journal = read_journal(self.path / _JOURNAL)
        return journal if journal is not None and journal.segments else None

    def begin(self, made_with: Mapping[str, Any]) -> None:
        """Begin anew: whatever an earlier run left goes.

        Raises:
            OSError: the folder cannot be written to.
        """
        before = read_journal(self.path / _JOURNAL)
        self.journal = Journal(made_with=dict(made_with), partial=before.partial if before is not None else None)
        write_journal(self.journal, self.path / _JOURNAL)
        self._ours = True
        self._sweep("*.segment")

    def resume(self, found: Journal, made_with: Mapping[str, Any]) -> int:
        """Take over what an earlier run left; return how many damaged segments had to be dropped.

        Raises:
            OutputError: it was made from or with something else.
            OSError: the folder cannot be written to.
        """
        changed = differences(found.made_with, made_with)
        if changed:
            raise OutputError(
                f"the unfinished {self.target} was made with something else, and would not be of one piece ("
                f"{'; '.join(changed)}); run the same command as then, or leave out --resume to start afresh"
            )
        listed = len(found.segments)
        whole = next((i for i, each in enumerate(found.segments) if not is_whole(self.segment(i), each)), listed)
        del found.segments[whole:]
        write_journal(found, self.path / _JOURNAL)
        self.journal, self._ours = found, True
        self._sweep("*.segment")
        return listed - whole

    def segment(self, index: int) -> Path:
        """Return the file of a segment, numbered from 0."""
        return self.path / f"{index:06d}.segment"

    def add(self, segment: Segment) -> None:
        """Write down that the next segment is complete.

        Raises:
            OSError: the journal cannot be written.
        """
        self.journal.segments.append(segment)
        write_journal(self.journal, self.path / _JOURNAL)

    def note_partial(self, path: Path) -> None:
        """Write down which file an interrupted run leaves for viewing.

        Raises:
            OSError: the journal cannot be written.
        """
        state = path.stat()
        self.journal.partial = {"name": path.name, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
        write_journal(self.journal, self.path / _JOURNAL)

    def partial(self) -> Path | None:
        """Return the file that an interrupted run left, if it is there and unchanged since."""
        noted = self.journal.partial
        if noted is None:
            return None
        path = self.target.with_name(noted["name"])
        try:
            state = path.stat()
        except OSError:
            return None
        return path if (noted["size"], noted["mtime_ns"]) == (state.st_size, state.st_mtime_ns) else None

    def leave(self, *, keep: bool) -> None:
        """End the work: delete the growing file, and all else unless complete segments are to be kept.

        What an earlier run left stays where this one has not come to `begin` or `resume`.
        """
        with suppress(OSError):
            self._sweep("container.*")
        if not (keep and self.journal.segments) and (self._ours or self.found() is None):
            self.journal.segments.clear()
            for pattern in _OURS:
                for file in self.path.glob(pattern):
                    with suppress(OSError):
                        file.unlink()
            with suppress(OSError):
                self.path.rmdir()  # what somebody else has put there stays
        self._lock.release()

    def sync(self) -> None:
        """See to it that the disk has the target's name."""
        with suppress(OSError):
            sync_folder(self.target.parent)

    def _enter(self) -> Lock:
        for _ in range(100):
            self.path.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # deleted between the two by the run before
                return Lock(self.path / _LOCK)
        raise OSError(0, "the work folder vanishes again and again")

    def _sweep(self, pattern: str) -> None:
        """Delete what the journal does not list: the growing file of a run that was killed, segments begun or lost."""
        listed = {self.segment(i) for i in range(len(self.journal.segments))}
        for file in self.path.glob(pattern):
            if file not in listed:
                file.unlink()
