"""An engine folder appears whole or not at all: it is made under a temporary name beside its place and renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postfilter.errors import OutputError
from postfilter.runtime.manifest import MANIFEST

__all__ = ["check_replaceable", "staging_folder"]


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """Yield a new folder beside `output`; at the end it becomes `output`, after an error it is removed.

    An engine that is there already is replaced: it is renamed away, the new one renamed into its place, and the old one
    then deleted; if that fails, it is put back.

    Raises:
        OutputError: `output` is something else than an engine, or cannot be written.
    """
    check_replaceable(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".partial", dir=output.parent))
    except OSError as error:
        raise _unwritable(output, error) from error
    try:
        yield staging
        try:
            _open_to_others(staging)
            _put_in_place(staging, output)
        except OutputError:
            raise
        except OSError as error:
            raise _unwritable(output, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_replaceable(output: Path) -> None:
    """Refuse to overwrite what is no engine.

    Raises:
        OutputError: `output` is a file, or a folder with something in it but no `engine.json`.
    """
    try:
        if not output.exists():
            return
        if not output.is_dir():
            raise OutputError(f"{output} is a file; give a folder for the engine with --output")
        if any(output.iterdir()) and not (output / MANIFEST).is_file():
            raise OutputError(
                f"{output} holds files and is no engine, so it is not replaced; give another folder with --output"
            )
    except PermissionError as error:
        raise _unwritable(output, error) from error


def _put_in_place(staging: Path, output: Path) -> None:
    if not output.exists():
        staging.rename(output)
        return
    # Somebody may have put other things there during the build.
    check_replaceable(output)
    old = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".old", dir=output.parent))
    try:
        # A folder can be renamed onto an empty one.
        output.rename(old)
        try:
            staging.rename(output)
        except OSError:
            old.rename(output)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _open_to_others(folder: Path) -> None:
    """Give a folder made by `mkdtemp`, which is for its owner alone, the rights that any new folder gets."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)


def _unwritable(output: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write the engine to {output} ({error}); give a folder that can be written to with --output"
    )
