"""VMAF, Netflix's learnt measure of quality (github.com/Netflix/vmaf), by the FFmpeg that imageio-ffmpeg brings.

PyAV's own FFmpeg is built without libvmaf; imageio-ffmpeg has a program with it for Linux on x86-64 and on ARM, which
runs beside, fed through pipes. The model is libvmaf's default, vmaf_v0.6.1, 0 to 100, which was made for 1080p seen
from three screen heights; smaller clips are not scaled up first, so that their figures serve to compare and no more.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import subprocess
import tempfile
import threading
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError, MissingDependencyError

__all__ = ["Vmaf", "check_vmaf"]

Luma: TypeAlias = NDArray[np.uint8]
_AHEAD = 8
"""Frames that wait for the program, of each clip."""
_SECONDS_TO_END = 600
_GREY = 128


def check_vmaf() -> None:
    """Refuse to go on without a program that has the filter.

    Raises:
        MissingDependencyError: imageio-ffmpeg is not installed, or brings no FFmpeg with libvmaf here.
    """
    _program()


class Vmaf:
    """Compares the luma of one clip with its source, frame by frame in order; the figures come at the end.

    Args:
        fps: frames a second.
    """

    def __init__(self, *, fps: Fraction) -> None:
        self._fps = fps
        self._queues: tuple[queue.Queue[bytes | None], ...] = (queue.Queue(_AHEAD), queue.Queue(_AHEAD))
        self._threads: list[threading.Thread] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="postfilter-vmaf-")

    def take(self, shown: Luma, source: Luma) -> None:
        """Hand over a frame, uint8 [H, W], and its source; it may be written to afterwards."""
        if self._process is None:
            self._start(*source.shape)
        grey = bytes([_GREY]) * (2 * (-(-source.shape[0] // 2)) * (-(-source.shape[1] // 2)))
        for waiting, luma in zip(self._queues, (shown, source), strict=True):
            waiting.put(luma.tobytes() + grey)

    def finish(self) -> list[float]:
        """Return the VMAF of each frame. Nothing can be taken afterwards.

        Raises:
            InputError: the program did not take the frames; its own words are told.
        """
        if self._process is None:
            return []
        for waiting in self._queues:
            waiting.put(None)
        told = self._process.communicate(timeout=_SECONDS_TO_END)[1]
        log = self._log()
        if self._process.returncode or not log.exists():
            raise InputError(f"VMAF could not be measured ({told.decode(errors='replace').strip()}); leave it out")
        frames = json.loads(log.read_text())["frames"]
        self.close()
        return [float(frame["metrics"]["vmaf"]) for frame in frames]

    def close(self) -> None:
        """End the program if it runs, and delete what it wrote."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    def _log(self) -> Path:
        return Path(self._folder.name) / "vmaf.json"

    def _start(self, height: int, width: int) -> None:
        ends = [os.pipe(), os.pipe()]
        form = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", f"{width}x{height}"]
        form += ["-framerate", str(self._fps)]
        inputs = [word for read, _ in ends for word in (*form, "-i", f"pipe:{read}")]
        # The path stands in a filter's option, where a colon would end it: the program runs in the folder instead.
        graph = f"libvmaf=log_fmt=json:log_path={self._log().name}:n_threads=2"
        self._process = subprocess.Popen(
            [_program(), "-v", "error", "-nostdin", *inputs, "-lavfi", graph, "-f", "null", "-"],
            pass_fds=[read for read, _ in ends],
            cwd=self._folder.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for (read, write), waiting in zip(ends, self._queues, strict=True):
            os.close(read)
            thread = threading.Thread(target=_feed, args=(write, waiting), daemon=True)
            thread.start()
            self._threads.append(thread)


def _feed(write: int, waiting: queue.Queue[bytes | None]) -> None:
    """Write what waits until None comes; where the program has ended, go on taking, so that nobody waits for it."""
    try:
        with open(write, "wb", buffering=0) as pipe:
            while (data := waiting.get()) is not None:
                left = memoryview(data)
                while left:
                    left = left[pipe.write(left) :]
    except BrokenPipeError:
        while waiting.get() is not None:
            pass


@functools.cache
def _program() -> str:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingDependencyError("imageio_ffmpeg", "VMAF", "quality", error) from error
    remedy = "install a wheel of imageio-ffmpeg, or leave out vmaf"
    try:
        path = str(imageio_ffmpeg.get_ffmpeg_exe())
        filters = subprocess.run([path, "-hide_banner", "-filters"], capture_output=True, check=True).stdout
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise MissingDependencyError("imageio_ffmpeg", "VMAF", None, ImportError(str(error)), remedy=remedy) from error
    if b" libvmaf " not in filters:
        cause = ImportError(f"{path} has no filter libvmaf")
        raise MissingDependencyError("imageio_ffmpeg", "VMAF", None, cause, remedy=remedy)
    return path
