"""The journal of an unfinished file: what it is made from and with, and which segments of it are complete.

What is listed here is on the disk, since the journal is written after it; so a run that is killed at any moment leaves
a journal that is right.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postfilter.video.writing.segments import Segment

__all__ = ["Journal", "differences", "input_identity", "read_journal", "sync_file", "sync_folder", "write_journal"]

SCHEMA_VERSION = 1
_ENDS_BYTES = 1 << 20


@dataclass(kw_only=True)
class Journal:
    """The content of `journal.json`; field for field its keys."""

    schema_version: int = SCHEMA_VERSION
    made_with: dict[str, Any]
    """All that decides what the encoded track is: dicts of plain values, one for each topic (input, engine, …)."""
    segments: list[Segment] = field(default_factory=list)
    """Complete ones, in order."""
    partial: dict[str, Any] | None = None
    """name, size and mtime_ns of the file that an interrupted run left for viewing, if one did."""

    @property
    def frames(self) -> int:
        """In complete segments."""
        return sum(each.frames for each in self.segments)

    @property
    def counts(self) -> dict[str, float]:
        """Sums over the frames of complete segments, of whatever was counted."""
        return dict(self.segments[-1].counts) if self.segments else {}


def read_journal(path: Path) -> Journal | None:
    """Return the journal; None where there is none, or none that this version understands."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            return None
        content["segments"] = [Segment(**each) for each in content["segments"]]
        return Journal(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_journal(journal: Journal, path: Path) -> None:
    """Write the journal so that the disk holds either the old one or the new one, whenever the power fails.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(journal), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """See to it that the disk has a file that another library wrote.

    Raises:
        OSError: it could not be written.
    """
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """See to it that the disk has the names of a folder's files, where the system can be asked for that."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError:
        pass  # some network file systems refuse it, and are no worse than without
    finally:
        os.close(number)


def input_identity(path: Path) -> dict[str, Any]:
    """Return what tells an input from another: size, time of change, and the SHA-256 of its first and last MiB.

    Raises:
        OSError: it cannot be read.
    """
    state = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_ENDS_BYTES))
        file.seek(max(file.tell(), state.st_size - _ENDS_BYTES))
        digest.update(file.read(_ENDS_BYTES))
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "ends_sha256": digest.hexdigest()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each value of `made_with` that is not as it was, such as `encoder crf: 16 before, 20 now`."""
    # What is written as JSON reads back as lists and strings.
    now = json.loads(json.dumps(now))
    found = []
    for topic in sorted(before.keys() | now.keys()):
        old, new = before.get(topic) or {}, now.get(topic) or {}
        found += [
            f"{topic} {key}: {old.get(key)} before, {new.get(key)} now"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
    return found
