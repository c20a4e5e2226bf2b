"""Which inputs and outputs are refused before any work is done."""

from __future__ import annotations

from pathlib import Path

from postfilter.errors import InputError, OutputError

__all__ = ["check_source", "check_target"]


def check_source(source: Path, *, wanted: str) -> None:
    """Refuse an input that is no file; `wanted` says what to give instead.

    Raises:
        InputError: it is absent, a folder, or something that cannot be read twice, such as a pipe.
    """
    if source.is_file():
        return
    state = "is a folder" if source.is_dir() else "is no plain file" if source.exists() else "does not exist"
    raise InputError(f"{source} {state}; give {wanted}")


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
