"""A folder of files that another library writes, trusted only as far as their checksums agree.

TensorRT ends the process on a damaged plan or timing cache. Ours are checked by `engine.json`; those that the TensorRT
provider of ONNX Runtime keeps by itself are checked by this.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from postfilter.runtime.manifest import sha256_of_file

__all__ = ["SEAL", "drop_untrusted", "seal", "user_cache"]

SEAL = "sha256.json"
"""The list of checksums inside a sealed folder: name -> SHA-256."""

_log = logging.getLogger(__name__)


def drop_untrusted(folder: Path) -> None:
    """Make the folder if there is none, and remove every file in it that is not as it was when `seal` was called.

    A process that was killed before it sealed what it wrote leaves files that are built anew.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed: dict[str, str] = {}
    # Whatever else stands in the list, nothing agrees with it.
    with suppress(OSError, ValueError, AttributeError):
        listed = dict(json.loads((folder / SEAL).read_text(encoding="utf-8")).items())
    for file in folder.iterdir():
        if file.name != SEAL and file.is_file() and listed.get(file.name) != sha256_of_file(file):
            _log.info("%s is not as it was left, and is made again", file)
            file.unlink()


def seal(folder: Path) -> None:
    """Write down the checksums of all files in the folder. Not being able to costs a build next time, no more."""
    temporary = folder / f".{SEAL}.{os.getpid()}.partial"
    with suppress(OSError):
        files = [file for file in folder.iterdir() if file.is_file() and file.name != SEAL and file != temporary]
        temporary.write_text(json.dumps({file.name: sha256_of_file(file) for file in files}), encoding="utf-8")
        temporary.replace(folder / SEAL)


def user_cache() -> Path:
    """Return postfilter's folder in `XDG_CACHE_HOME`, else in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "postfilter"
