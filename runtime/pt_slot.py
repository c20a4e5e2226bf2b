"""One inference of PyTorch on a GPU at a time: a stream, buffers bound once, and a recorded CUDA graph.

Not yet run on hardware where the README does not say so.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from postfilter.runtime.backend import Samples, Shape

__all__ = ["Slot"]

_WARM_UPS = 3
"""Runs before recording: cuDNN tries its kernels, and torch takes its memory."""

_log = logging.getLogger(__name__)


class Slot:
    """Filters one array of one shape at a time on a stream of its own; several slots run side by side.

    Samples pass through page-locked arrays, by which copies run beside computing. The two copies, the conversions and
    the network are recorded as one CUDA graph, launched by one call. Convolutions are computed with the kernels that
    cuDNN measures to be fastest, and in fp32 where the program is: not with the 10 bits of TF32.

    Args:
        module: the program, on the device, with weights in channels-last order.
        peak: float32 scalar on the device.
        shape: (N, C, H, W) of the input.
        channels: of the output.
        dtype: of the samples, uint8 or uint16.
        device: a CUDA device.
        cuda_graph: record a graph; where that does not work, kernels are launched one by one.

    Raises:
        RuntimeError: what torch raises where the device has too little memory, or fails.
    """

    def __init__(
        self,
        module: Any,
        *,
        peak: torch.Tensor,
        shape: Shape,
        channels: int,
        dtype: np.dtype[Any],
        device: torch.device,
        cuda_graph: bool = True,
    ) -> None:
        import torch

        kind = torch.uint8 if dtype == np.uint8 else torch.uint16
        self._torch = torch
        self._module = module
        self._peak = peak
        self._device = device
        shapes = shape, (shape[0], channels, *shape[2:])
        self._pinned_in, self._pinned_out = (torch.empty(each, dtype=kind, pin_memory=True) for each in shapes)
        self._samples, self._filtered = self._pinned_in.numpy(), self._pinned_out.numpy()
        self._input, self._output = (torch.empty(each, dtype=kind, device=device) for each in shapes)
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._samples[...] = 0
        for _ in range(_WARM_UPS):
            self._enqueue()
        self._stream.synchronize()
        if cuda_graph:
            self._graph = self._recorded()

    def start(self, samples: Samples) -> None:
        """Copy samples of the slot's shape and begin to filter; nothing else may be under way."""
        np.copyto(self._samples, samples)
        if self._graph is None:
            self._enqueue()
        else:
            with self._torch.cuda.device(self._device), self._torch.cuda.stream(self._stream):
                self._graph.replay()

    def finish(self) -> Samples:
        """Wait for what `start` began; return its result, an array that nobody else holds."""
        self._stream.synchronize()
        result: Samples = self._filtered.copy()
        return result

    def _recorded(self) -> torch.cuda.CUDAGraph | None:
        torch = self._torch
        graph = torch.cuda.CUDAGraph()
        try:
            # Only calls of this thread are recorded or refused meanwhile: other threads go on allocating.
            with (
                torch.cuda.device(self._device),
                _exact(torch),
                torch.inference_mode(),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                self._work()
        except RuntimeError as error:
            _log.info("running without a CUDA graph: %s", error)
            return None
        return graph

    def _enqueue(self) -> None:
        torch = self._torch
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream), _exact(torch), torch.inference_mode():
            self._work()

    def _work(self) -> None:
        torch = self._torch
        self._input.copy_(self._pinned_in, non_blocking=True)
        codes = self._input.to(torch.float32, memory_format=torch.channels_last)
        self._output.copy_(self._module(codes, self._peak))
        self._pinned_out.copy_(self._output, non_blocking=True)


def _exact(torch: Any) -> AbstractContextManager[None]:
    """Set cuDNN as the engine needs it, whatever the process set for others."""
    settings: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=True, deterministic=False, allow_tf32=False
    )
    return settings
