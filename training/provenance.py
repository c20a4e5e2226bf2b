"""What a run was made by: versions, revision, machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import av
import torch

import postfilter

__all__ = ["made_by", "revision"]

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "av", "pillow")


def made_by() -> dict[str, object]:
    """Return what a run depends on besides its recipe and its pictures, as JSON holds it."""
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "postfilter": postfilter.__version__,
        "revision": revision(),
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name)) is not None},
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "system": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def revision() -> str | None:
    """Return the commit of the checkout that postfilter runs from, with `-dirty` where files were changed since.

    None where it does not run from a checkout, or there is no git to ask.
    """
    root = Path(postfilter.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    # Without tags, so that it is always the commit itself.
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
