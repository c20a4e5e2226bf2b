"""What was found out about this machine, kept in the user's cache from run to run."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from postfilter.runtime.sealed import user_cache

__all__ = ["Kept"]

_AT_MOST = 200
"""Entries of a section; the oldest make room."""


class Kept:
    """Sections of named values in one JSON file, `choices.json` in postfilter's cache.

    A damaged file is taken for an empty one, and one that cannot be written costs the same work again, no more.
    """

    def __init__(self) -> None:
        self.path: Path = user_cache() / "choices.json"

    def get(self, section: str, key: str) -> Any:
        """Return what was put there; None where nothing was."""
        return self._read().get(section, {}).get(key)

    def put(self, section: str, key: str, value: Any) -> None:
        """Keep a value that JSON can hold."""
        content = self._read()
        entries = content.setdefault(section, {})
        entries.pop(key, None)
        entries[key] = value
        content[section] = dict(list(entries.items())[-_AT_MOST:])
        temporary = self.path.with_suffix(f".{os.getpid()}.partial")
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
            temporary.replace(self.path)

    def _read(self) -> dict[str, dict[str, Any]]:
        with suppress(OSError, ValueError):
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(content, dict) and all(isinstance(each, dict) for each in content.values()):
                return content
        return {}
