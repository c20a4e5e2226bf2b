"""What an inference takes in memory: the growth of resident memory at its peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from postfilter.errors import ArtefactError

if TYPE_CHECKING:
    from postfilter.runtime.piece_rule import Piece

__all__ = ["MemoryUse", "PeakMemory", "measure_memory"]

_MIB = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_SAMPLE_SECONDS = 0.001
_MARK = "postfilter-memory: "


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Resident memory of a process that did nothing else, in MiB."""

    peak_mb: float
    """Growth at the peak above the idle process: the backend's code as far as it is used, weights, code made for them,
    activations, and the frames."""
    compile_mb: float
    """Growth at the peak until the first frame: reading and compiling. Where it is near `peak_mb`, smaller pieces save
    nothing."""
    settled_mb: float
    """Growth that is left after the last frame."""
    code_mb: float
    """Of that, pages of files: the backend's libraries. All processes that use them share these pages, and the system
    may drop and read them again at any time."""
    idle_mb: float
    """Before the engine was loaded, its backend's libraries included."""
    ms: float
    """Time of the last frame in milliseconds."""
    exact: bool
    """Whether the kernel kept the peak; False where memory was sampled every millisecond, which can miss it."""


class PeakMemory:
    """Watches the peak of this process's resident memory between entering and leaving a `with` block.

    Linux keeps the peak itself and lets a process reset it; elsewhere a thread samples. What was allocated and freed
    before may be used again without growing: for the truth about one engine use `measure_memory`, which has a process
    of its own.
    """

    idle_mb: float = 0.0
    """Resident memory on entering, in MiB."""
    peak_mb: float = 0.0
    """Growth at the peak above that, in MiB; known after leaving."""
    exact: bool = True

    def __enter__(self) -> PeakMemory:
        self.exact = _reset_peak()
        self.idle_mb = _status("VmRSS") if self.exact else _resident()
        if not self.exact:
            self._highest = self.idle_mb
            self._stop = threading.Event()
            self._sampler = threading.Thread(target=self._sample, daemon=True, name="postfilter-memory")
            self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.exact:
            self._stop.set()
            self._sampler.join()
        self.peak_mb = self.so_far_mb()

    def so_far_mb(self) -> float:
        """Return the growth at the peak since entering, in MiB; inside the block."""
        highest = _status("VmHWM") if self.exact else max(self._highest, _resident())
        return max(0.0, highest - self.idle_mb)

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            self._highest = max(self._highest, _resident())


def measure_memory(
    engine: str | os.PathLike[str],
    *,
    width: int,
    height: int,
    frames: int = 2,
    stream: bool = False,
    device: str | None = None,
    threads: int | None = None,
    requests: int | None = None,
    piece: Piece = "auto",
    memory_limit_mb: float | None = None,
) -> MemoryUse:
    """Load an engine in a new process, run frames through it, and return what memory that took.

    Args:
        engine: the engine folder.
        width: of the frames, as `height`.
        height: see `width`.
        frames: how many; the first one allocates.
        stream: run them through `Engine.stream`, several at a time, instead of one by one.
        device: see `load_engine`, as all that follow.
        threads: see `load_engine`.
        requests: see `load_engine`.
        piece: see `load_engine`.
        memory_limit_mb: see `load_engine`.

    Raises:
        ArtefactError: the process failed; the message has what it said.
    """
    task = {
        "engine": str(engine),
        "width": width,
        "height": height,
        "frames": frames,
        "stream": stream,
        "options": {
            "device": device,
            "threads": threads,
            "requests": requests,
            "piece": piece,
            "memory_limit_mb": memory_limit_mb,
        },
    }
    program = "from postfilter.runtime.memory import _child; _child()"
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(task), capture_output=True, text=True, check=False
    )
    said = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not said:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ArtefactError(
            f"the memory of {engine} at {width}x{height} could not be measured ({reason[0]}); try a smaller --size, or "
            "leave the measurement out"
        )
    return MemoryUse(**json.loads(said[-1].removeprefix(_MARK)))


def _child() -> None:
    """Do what the JSON on standard input says and print a `MemoryUse`; runs in a process of its own."""
    import time

    import numpy as np

    from postfilter.runtime import load_engine, read_manifest
    from postfilter.runtime.backend import load_library

    task = json.load(sys.stdin)
    load_library(read_manifest(task["engine"]).backend)
    options = task["options"]
    if isinstance(options["piece"], list):
        options["piece"] = tuple(options["piece"])
    milliseconds = 0.0
    code_mb = _code_mb()
    with PeakMemory() as memory:
        engine = load_engine(task["engine"], **options)
        engine.prepare(width=task["width"], height=task["height"], stream=task["stream"])
        compile_mb = memory.so_far_mb()

        def frame() -> np.ndarray[Any, Any]:
            # Not zeros: an untouched page of zeros takes no memory.
            return np.full((1, engine.channels, task["height"], task["width"]), 128, dtype=engine.dtype)

        if task["stream"]:
            # Each frame of a video is an array of its own.
            for _ in engine.stream(frame() for _ in range(task["frames"])):
                pass
        else:
            for _ in range(task["frames"]):
                planes = frame()
                start = time.perf_counter()
                engine(planes)
                milliseconds = (time.perf_counter() - start) * 1000
        settled_mb, code_mb = _resident() - memory.idle_mb, _code_mb() - code_mb
    use = MemoryUse(
        peak_mb=memory.peak_mb,
        compile_mb=compile_mb,
        settled_mb=settled_mb,
        code_mb=code_mb,
        idle_mb=memory.idle_mb,
        ms=milliseconds,
        exact=memory.exact,
    )
    sys.stdout.write(_MARK + json.dumps(asdict(use)) + "\n")


def _reset_peak() -> bool:
    """Set the kernel's record of this process's peak to what is resident now; False where that cannot be done."""
    try:
        _CLEAR_REFS.write_text("5")  # proc(5): resets the peak resident set size
        return _status("VmHWM") > 0
    except (OSError, KeyError):
        return False


def _status(key: str) -> float:
    """Return a line of /proc/self/status, in MiB."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / _MIB
    raise KeyError(key)


def _code_mb() -> float:
    """Return the resident pages of files, in MiB; 0 where the system does not tell."""
    try:
        return _status("RssFile")
    except (OSError, KeyError):
        return 0.0


def _resident() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / _MIB
