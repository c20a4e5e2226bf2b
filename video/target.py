"""Which outputs are refused before any work is done."""

from __future__ import annotations

from pathlib import Path

from postfilter.errors import OutputError

__all__ = ["check_target"]


def check_target(target: Path, *, source: Path, overwrite: bool) -> None:
    """Refuse a target that would destroy something, before any work is done.

    Raises:
        OutputError: it is the input itself, exists (and `overwrite` is false), is a folder, or its folder is absent.
    """
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; make it first")
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give a file's name, such as {target / source.name}")
    if not target.exists():
        return
    if source.exists() and source.samefile(target):
        raise OutputError(f"{target} is the input itself; give another name")
    if not overwrite:
        raise OutputError(f"{target} exists; give another name, or --overwrite")
