"""What all tests share: markers that are skipped in one place, and real pictures and clips made on the spot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data


def _cuda_missing() -> str | None:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return None if torch.cuda.is_available() else "no CUDA device"


def _tensorrt_missing() -> str | None:
    try:
        import tensorrt  # noqa: F401
    except ImportError as error:
        return f"TensorRT cannot be imported ({error})"
    return _cuda_missing()


def _browser_missing() -> str | None:
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} on the path" if absent else None


@dataclass(frozen=True)
class _Capability:
    """What a marked test needs. With its variable set to 1 the absence is a failure, never a skip."""

    variable: str
    missing: Callable[[], str | None]


_CAPABILITIES = {
    "browser": _Capability("POSTFILTER_REQUIRE_BROWSER", _browser_missing),
    "gpu": _Capability("POSTFILTER_REQUIRE_GPU", _cuda_missing),
    "tensorrt": _Capability("POSTFILTER_REQUIRE_TENSORRT", _tensorrt_missing),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, capability in _CAPABILITIES.items():
        if item.get_closest_marker(marker) and (reason := capability.missing()):
            if os.environ.get(capability.variable) == "1":
                pytest.fail(f"{capability.variable}=1, but {reason}", pytrace=False)
            pytest.skip(f"{reason}; {capability.variable}=1 makes this a failure")
    if item.get_closest_marker("slow") and os.environ.get("POSTFILTER_REQUIRE_SLOW") != "1":
        pytest.skip("slow; POSTFILTER_REQUIRE_SLOW=1 runs it")


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """A photograph of a person, R'G'B' uint8 [512, 512, 3], read-only."""
    picture = np.ascontiguousarray(data.astronaut())
    picture.setflags(write=False)
    return picture


@dataclass(frozen=True)
class ClipPair:
    """The same 24 frames of 192x128 at 25 fps, twice."""

    clean: Path
    """FFV1 in Matroska: without loss."""
    coded: Path
    """H.264 at QP 37 in MP4, with a tone in AAC beside it."""


@pytest.fixture(scope="session")
def clip_pair(photograph: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> ClipPair:
    """A pan over a photograph, clean and coded. Not to be written to."""
    folder = tmp_path_factory.mktemp("clips")
    pair = ClipPair(clean=folder / "clean.mkv", coded=folder / "coded.mp4")
    views = [photograph[60 + t : 188 + t, 100 + 3 * t : 292 + 3 * t] for t in range(24)]
    for path, codec, options in ((pair.clean, "ffv1", {}), (pair.coded, "libx264", {"qp": "37"})):
        with av.open(str(path), "w") as container:
            video = container.add_stream(codec, rate=25, options=options)
            video.width, video.height, video.pix_fmt = 192, 128, "yuv420p"
            audio = container.add_stream("aac", rate=48000, layout="mono") if path == pair.coded else None
            for view in views:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24")
                container.mux(video.encode(frame.reformat(format="yuv420p")))
            container.mux(video.encode(None))
            if audio:
                _add_tone(container, audio, seconds=len(views) / 25)
    return pair


def _add_tone(container: av.container.OutputContainer, stream: av.AudioStream, *, seconds: float) -> None:
    samples = np.sin(2 * np.pi * 440 / 48000 * np.arange(int(48000 * seconds))).astype(np.float32) / 4
    for start in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
