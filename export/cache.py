"""The user's cache of engines, and whether the engine in a folder is the one that would be built now.

A folder's name is the model, size, precision and backend, and the beginning of the key over all parts. So two weights,
two machines with one home folder or two versions of a backend have engines beside each other. Of those that differ in
the key alone, the few used last are kept: the cache does not grow with updates and trainings.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postfilter.errors import ArtefactError
from postfilter.export.key import Change, build_key, differences, engine_parts
from postfilter.runtime.manifest import MANIFEST, read_manifest
from postfilter.runtime.sealed import user_cache

__all__ = ["KEPT", "Standing", "cache_folder", "cached_folder", "cached_standing", "standing", "tidy", "used"]

KEPT = 4
"""Engines of one model, size, precision and backend that are kept."""

_TOLD = 3
"""Changes that are told in one line."""

_LEFT_BEHIND_SECONDS = 24 * 3600
"""An unfinished folder this old was left by a build that was killed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What stands in a folder, against what would be built now."""

    engine: Path
    """The folder."""
    exists: bool
    """Whether there is an engine."""
    changes: tuple[Change, ...] = ()
    """Why it would be built again; empty where it is current, and where there is none."""

    @property
    def current(self) -> bool:
        """Whether building would make the same engine again."""
        return self.exists and not self.changes

    @property
    def reason(self) -> str:
        """What would be the reason to build, in one line: that there is none, or the first of what changed."""
        if not self.exists:
            return "there is none yet"
        told = [str(change) for change in self.changes[:_TOLD]]
        more = len(self.changes) - len(told)
        return ", ".join(told) + (f", and {more} more" if more else "")

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes."""
        return {
            "engine": str(self.engine),
            "exists": self.exists,
            "current": self.current,
            "changes": [change.as_json() for change in self.changes],
        }


def standing(folder: Path, parts: Mapping[str, Any]) -> Standing:
    """Compare the engine in a folder with what would be built now; its files are verified.

    Args:
        folder: which may hold an engine or not.
        parts: of `key.request_parts`.
    """
    if not (folder / MANIFEST).is_file():
        return Standing(engine=folder, exists=False)
    try:
        manifest = read_manifest(folder)
    except ArtefactError as error:
        _log.warning("%s", error)
        return Standing(engine=folder, exists=True, changes=(Change(part="files", was="unusable", now="whole"),))
    made_with = engine_parts(manifest)
    changes = differences(made_with, parts)
    key = build_key(made_with)
    if not changes and manifest.build_key != key:
        # Somebody edited a part that a request does not tell, or the key.
        changes = [Change(part="build_key", was=manifest.build_key, now=key)]
    return Standing(engine=folder, exists=True, changes=tuple(changes))


def cached_standing(parts: Mapping[str, Any]) -> Standing:
    """Compare the cache with what would be built now: the engine of just these parts, else the one most like it."""
    folder = cached_folder(parts)
    if (folder / MANIFEST).is_file():
        return standing(folder, parts)
    # The newest of those that differ least.
    others = [standing(each, parts) for each in _alike(folder)]
    return min(others, key=lambda each: len(each.changes), default=Standing(engine=folder, exists=False))


def cache_folder() -> Path:
    """Return where engines are kept: `postfilter/engines` in `XDG_CACHE_HOME`, else in `~/.cache`."""
    return user_cache() / "engines"


def cached_folder(parts: Mapping[str, Any]) -> Path:
    """Return where the cache keeps the engine of these parts."""
    size = parts["size"]
    label = "dynamic" if size is None else f"{size[0]}x{size[1]}"
    name = f"{parts['model']}-{label}-{parts['precision']}-{parts['backend']}"
    return cache_folder() / f"{name}-{build_key(parts)[:16]}"


def used(folder: Path) -> None:
    """Note that a cached engine is in use, by its manifest's time; a cache that cannot be written to stays as it is."""
    with suppress(OSError):
        os.utime(folder / MANIFEST)


def tidy(folder: Path) -> None:
    """Remove from the cache, of the engines that differ from `folder` in the key alone, all but the `KEPT` used last.

    What a killed build of them left behind goes as well. Files that the system does not let go of stay.
    """
    for old in _alike(folder)[KEPT - 1 :]:
        _log.info("removing %s from the cache: %d others were used since", old.name, KEPT)
        shutil.rmtree(old, ignore_errors=True)
    name = folder.name.rpartition("-")[0]
    for pattern in (f".{name}-*.partial", f".{name}-*.old"):
        for each in folder.parent.glob(pattern):
            with suppress(OSError):
                if time.time() - each.stat().st_mtime > _LEFT_BEHIND_SECONDS:
                    shutil.rmtree(each, ignore_errors=True)


def _alike(folder: Path) -> list[Path]:
    """The other cached engines of the same model, size, precision and backend, last used first."""
    name = folder.name.rpartition("-")[0]
    found = {}
    for each in folder.parent.glob(f"{name}-*"):
        with suppress(OSError):
            if each != folder and re.fullmatch(r"[0-9a-f]{16}", each.name.removeprefix(f"{name}-")):
                found[each] = (each / MANIFEST).stat().st_mtime
    return sorted(found, key=lambda each: -found[each])
