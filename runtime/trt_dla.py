"""The deep-learning accelerator (DLA) beside a Jetson's GPU: its names, and whether it is here.

It takes fp16 and int8 alone, one frame size, and sides of up to 8192 samples; layers that it does not take run on the
GPU. TensorRT serves it up to 10.7 (so in JetPack 6), and again from 11.4.1 on (AGX Orin with JetPack 7.2.2); in between
it counts no core. Orin and Xavier have two cores, Thor and desktop GPUs none.
"""

from __future__ import annotations

from postfilter.errors import DeviceError, UnknownNameError

__all__ = ["LARGEST_SIDE", "dla_core", "require_core"]

LARGEST_SIDE = 8192
"""The most samples that a side of any tensor may have."""


def dla_core(device: str) -> int | None:
    """Return the core that a name of a device means, None where it is not the DLA's.

    Args:
        device: `dla:N`, or `dla` for the first; `cuda:N` is none.

    Raises:
        UnknownNameError: it begins as the DLA's name does and goes on otherwise.
    """
    kind, colon, index = device.lower().partition(":")
    if kind != "dla":
        return None
    if colon and not index.isdigit():
        raise UnknownNameError("TensorRT device", device, ("cuda:0", "dla:0", "dla:1"))
    return int(index or 0)


def require_core(core: int, *, cores: int, purpose: str, tensorrt: str) -> None:
    """Refuse a core that is not here.

    Args:
        core: from 0.
        cores: how many TensorRT counts.
        purpose: what needs it, as the subject of a sentence.
        tensorrt: its version, for the message.

    Raises:
        DeviceError: there is no such core, or TensorRT serves none.
    """
    if core < cores:
        return
    here = f"has {cores}, from dla:0 on" if cores else "has none"
    raise DeviceError(
        f"{purpose} needs DLA core {core}, and by TensorRT {tensorrt} this machine {here}; DLAs are in Jetson Xavier "
        "and Orin alone, and TensorRT serves them up to 10.7 and from 11.4.1 on: leave --dla out"
    )
