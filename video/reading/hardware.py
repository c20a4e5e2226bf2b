"""Decoding by the GPU's own decoder, where the machine has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from postfilter.errors import DeviceError, UnknownNameError
from postfilter.video.reading.decoding import reason

__all__ = ["open_with_hardware"]


def open_with_hardware(path: Path, name: str) -> Any:
    """Open a file so that its video is decoded by a device; frames are brought to the CPU's memory as they come.

    H.264, HEVC and AV1 define every sample of a decoded picture, so the frames are those of the software decoder.

    Args:
        path: the file.
        name: FFmpeg's name of a kind of device, such as `cuda`, `qsv` or `vaapi`, and after a colon which one, such as
            `cuda:1` or `vaapi:/dev/dri/renderD128`.

    Raises:
        UnknownNameError: this build of FFmpeg has no such kind.
        DeviceError: the device is not there, or does not decode this codec.
        OSError: the file cannot be opened, as from `av.open`.
    """
    kind, _, device = name.partition(":")
    known = tuple(hwdevices_available())
    if kind not in known:
        raise UnknownNameError("hardware decoder", kind, known)
    try:
        return av.open(
            str(path), metadata_errors="replace", hwaccel=HWAccel(kind, device or None, allow_software_fallback=False)
        )
    except av.error.InvalidDataError:
        raise
    except (av.FFmpegError, OSError, RuntimeError, NotImplementedError) as error:
        raise DeviceError(
            f"{path} cannot be decoded by {name} here ({reason(error)}); look at the device and its driver, or leave "
            "--hwaccel away: the CPU decodes the same frames"
        ) from error
