"""The energy counter of NVIDIA GPUs, through NVML (package nvidia-ml-py)."""

from __future__ import annotations

from typing import Any

from postfilter.runtime.cuda_probe import probe_cuda
from postfilter.runtime.power_sensor import PolledSensor, PowerSensor, SensorAbsentError, WattSensor

__all__ = ["nvml_sensor"]


def nvml_sensor(device: str) -> PowerSensor:
    """Return the sensor of a GPU: its energy counter (Volta and newer), else its power reading.

    Args:
        device: `cuda:N`, N in CUDA's own order.

    Raises:
        SensorAbsentError: no package, no driver, or a GPU that does not tell (most Jetsons).
    """
    try:
        import pynvml
    except ImportError as error:
        raise SensorAbsentError(
            f"the package nvidia-ml-py is not installed ({error}): pip install nvidia-ml-py"
        ) from error
    index = int(device.partition(":")[2] or 0)
    # NVML counts GPUs by their place on the bus, CUDA by speed or as CUDA_VISIBLE_DEVICES has it; both know addresses.
    address = next((each.pci_bus_id for each in probe_cuda().devices if each.index == index), "")
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByPciBusId(address) if address else pynvml.nvmlDeviceGetHandleByIndex(index)
        # An instantaneous reading of a board, or since Ampere its mean of a second.
        pynvml.nvmlDeviceGetPowerUsage(handle)
    except pynvml.NVMLError as error:
        raise SensorAbsentError(f"NVML does not tell the power of {device} ({error})") from error
    try:
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return WattSensor("nvml", "GPU board", lambda: _read(pynvml, "nvmlDeviceGetPowerUsage", handle) / 1e3)
    return _EnergyCounter(pynvml, handle)


class _EnergyCounter(PolledSensor):
    """Millijoules since the driver was loaded."""

    name = "nvml"
    covers = "GPU board"

    def __init__(self, pynvml: Any, handle: Any) -> None:
        super().__init__(period_seconds=1.0)
        self._pynvml, self._handle = pynvml, handle
        self._last = 0.0

    def _sample(self, *, first: bool) -> None:
        now = _read(self._pynvml, "nvmlDeviceGetTotalEnergyConsumption", self._handle)
        if not first:
            self._joules += (now - self._last) / 1e3
        self._last = now


def _read(pynvml: Any, function: str, handle: Any) -> float:
    try:
        return float(getattr(pynvml, function)(handle))
    except pynvml.NVMLError as error:
        raise SensorAbsentError(f"NVML stopped telling the power ({error})") from error
