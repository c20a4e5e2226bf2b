"""Decoding by a device: the same frames where there is one, a clear word where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from postfilter.errors import DeviceError, UnknownNameError
from postfilter.video.pixels import plane_view
from postfilter.video.reading.source import Source


def test_a_device_that_nobody_knows_is_named_with_those_that_there_are(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match=r"hardware decoder 'gpu'; known: .*cuda"):
        Source(write(tmp_path / "in.mp4"), hwaccel="gpu")


def test_a_device_that_does_not_decode_this_is_told(write: Callable[..., Path], tmp_path: Path) -> None:
    # FFmpeg's DRM device decodes on boards with V4L2 request decoders alone, and FFV1 nowhere.
    clip = write(tmp_path / "in.mkv", codec="ffv1")
    with pytest.raises(DeviceError, match=r"decoded by drm here .*leave --hwaccel away"):
        Source(clip, hwaccel="drm")


@pytest.mark.gpu
def test_cuda_decodes_the_same_frames(write: Callable[..., Path], tmp_path: Path) -> None:
    clip = write(tmp_path / "in.mp4", size=(256, 192))
    with Source(clip) as software, Source(clip, hwaccel="cuda") as hardware:
        pairs = zip(software.frames(), hardware.frames(), strict=True)
        for wanted, got in pairs:
            assert (wanted.pts, wanted.format.name) == (got.pts, got.format.name)
            assert all(np.array_equal(plane_view(wanted, i), plane_view(got, i)) for i in range(3))
