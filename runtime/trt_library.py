"""TensorRT's package: imported when it is needed, its absence told from its being broken, its log sent to ours."""

from __future__ import annotations

import functools
import importlib
import logging
import re
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from postfilter.errors import MissingDependencyError

if TYPE_CHECKING:
    from postfilter.runtime.trt_api import Library

__all__ = ["DISTRIBUTIONS", "complaints", "import_library", "installed_version", "missing_library", "shared_logger"]

DISTRIBUTIONS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu13-bindings", "tensorrt-cu12-bindings")
"""Names under which the package is distributed. JetPack's comes with the system, as `tensorrt`."""

_LIBRARY = re.compile(r"[\w+-]+\.so(?:\.\d+)*|[\w+-]+\.dll")
_KEPT = 20
"""Messages of TensorRT's log that are kept to explain a failure."""

_log = logging.getLogger(__name__)


def import_library(purpose: str) -> Library:
    """Import and return `tensorrt`.

    Args:
        purpose: what needs it, as the subject of a sentence.

    Raises:
        MissingDependencyError: it is not installed; or it is, but a shared library it needs is not, which is named.
    """
    try:
        return cast("Library", importlib.import_module("tensorrt"))
    except ModuleNotFoundError as error:
        if error.name != "tensorrt":
            raise _broken(purpose, error) from error
        remedy = (
            "try: pip install 'postfilter[gpu]'; on a Jetson it is a part of JetPack: apt install python3-libnvinfer"
        )
        raise MissingDependencyError("tensorrt", purpose, "gpu", error, remedy=remedy) from error
    except (ImportError, OSError, RuntimeError) as error:
        # OSError comes from ctypes, by which the package loads libraries of its own before its extension module.
        raise _broken(purpose, error) from error


def missing_library(error: BaseException) -> str | None:
    """Return the file name of the shared library that an import failed on, None where the message names none."""
    # Most loaders begin with the file that they looked for and then name the file that wanted it.
    found = _LIBRARY.search(str(error))
    return found[0] if found else None


def installed_version(library: Library) -> str:
    """Return the version of the distribution, as a package manager tells it; else the one that the package tells."""
    from importlib.metadata import PackageNotFoundError, version

    for distribution in DISTRIBUTIONS:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return library.__version__


def shared_logger(library: Library) -> Any:
    """Return the logger that every TensorRT object gets: the library keeps the first one of a process for good."""
    return _make_logger(cast("Any", library))


def complaints(library: Library) -> str:
    """Return what TensorRT said last about errors, in one line, and forget it; for the error that follows."""
    logger = _make_logger(cast("Any", library))
    with logger.lock:
        text = "; ".join(dict.fromkeys(logger.errors))
        logger.errors.clear()
    return text or "TensorRT gives no reason"


@functools.lru_cache(maxsize=1)
def _make_logger(library: Any) -> Any:
    severity = library.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(library.ILogger):  # type: ignore[misc]
        """Keeps errors, since the calls that fail return nothing but False or None."""

        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.lock = threading.Lock()
            self.errors: deque[str] = deque(maxlen=_KEPT)

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level >= logging.ERROR:
                with self.lock:
                    self.errors.append(message)
                # The error that is raised will carry it.
                level = logging.DEBUG
            _log.log(level, "%s", message)

    return Logger()


def _broken(purpose: str, error: BaseException) -> MissingDependencyError:
    name = missing_library(error)
    lacking = f"the library {name} is missing or cannot be loaded" if name else "its files do not fit together"
    remedy = (
        f"{lacking}: install the TensorRT and CUDA that belong together, or add the folder of the library to "
        "LD_LIBRARY_PATH (PATH on Windows)"
    )
    cause = error if isinstance(error, ImportError) else ImportError(str(error))
    return MissingDependencyError("tensorrt", purpose, "gpu", cause, remedy=remedy)
