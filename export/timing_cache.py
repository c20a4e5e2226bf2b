"""The builder's timings, kept from one build to the next behind a checksum: a damaged cache ends TensorRT's process."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from postfilter.runtime.trt_target import Target

__all__ = ["read_timings", "timings_path", "write_timings"]

_MAGIC = b"postfilter timings 1\n"

_log = logging.getLogger(__name__)


def timings_path(folder: Path, target: Target) -> Path:
    """Return where the timings for a GPU and a version of TensorRT are kept; others would be of no use to it."""
    words = (target.tensorrt, target.compute_capability, target.gpu, target.platform)
    name = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word) for word in words)
    return folder / f"{name}.timings"


def read_timings(path: Path) -> bytes:
    """Return the timings that `write_timings` kept; nothing where there are none, or where the file is damaged.

    The file is a line that names it, the SHA-256 of what follows in 64 hexadecimal digits and a line end, and then what
    TensorRT serialized.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        _log.warning("building without the timings of earlier builds: %s", error)
        return b""
    start = len(_MAGIC) + 65
    digest, blob = content[len(_MAGIC) : start], content[start:]
    if content[: len(_MAGIC)] == _MAGIC and digest == _digest(blob):
        return blob
    _log.warning("the timings in %s are damaged; building without them, and replacing them", path)
    return b""


def write_timings(path: Path, blob: bytes) -> None:
    """Keep timings, under a temporary name first. Not being able to costs the next build time, so it only warns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(_MAGIC + _digest(blob) + blob)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _log.warning("the timings of this build cannot be kept: %s", error)


def _digest(blob: bytes) -> bytes:
    return hashlib.sha256(blob).hexdigest().encode() + b"\n"
