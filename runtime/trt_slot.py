"""One inference of TensorRT at a time: a context with its stream and its buffers, bound once and used again."""

from __future__ import annotations

import logging
import weakref
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError
from postfilter.runtime.cuda_api import Cuda
from postfilter.runtime.trt_library import complaints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime.backend import Samples, Shape
    from postfilter.runtime.trt_api import ICudaEngineApi, IExecutionContextApi, Library

__all__ = ["Slot"]

_log = logging.getLogger(__name__)


class Slot:
    """Filters one frame of one shape at a time, on a stream of its own; several slots run side by side.

    1. The activations' memory is of the size that this shape needs, not of the largest frame that the plan takes.
    2. Samples pass through page-locked arrays, by which copies run beside computing.
    3. The two copies and the plan's kernels are recorded as one CUDA graph, launched for each frame by one call.

    Args:
        library: TensorRT.
        engine: the plan, deserialized.
        cuda: the GPU; it must be the current device of this thread.
        names: of the plan's input and output.
        shape: (1, C, H, W) of the input, within the plan's profile.
        channels: of the output.
        cuda_graph: record a graph; where that does not work, calls are made one by one.
        profiler: told the time of each layer, which rules a graph out; or None.

    Raises:
        ArtefactError: TensorRT refuses the shape or the bindings.
        DeviceError: the GPU has too little memory, or fails.
    """

    def __init__(
        self,
        library: Library,
        engine: ICudaEngineApi,
        cuda: Cuda,
        *,
        names: tuple[str, str],
        shape: Shape,
        channels: int,
        cuda_graph: bool = True,
        profiler: Any = None,
    ) -> None:
        self._library = library
        self._cuda = cuda
        # What is taken is given back in the reverse order, whether it was all taken or not. Nothing here may hold
        # `self`, or it would live for ever.
        with ExitStack() as taken:
            self._stream = cuda.stream()
            taken.callback(_quietly, cuda.destroy_stream, self._stream)
            self._samples = _pinned(cuda, taken, shape)
            self._filtered = _pinned(cuda, taken, (1, channels, *shape[2:]))
            self._input = _on_device(cuda, taken, self._samples.nbytes)
            self._output = _on_device(cuda, taken, self._filtered.nbytes)
            self._held = [self._bind(engine, taken, names=names, shape=shape)]
            taken.callback(self._held.clear)
            self.profiler = profiler
            if profiler is not None:
                self.context.profiler = profiler
            self._graph: Any = None
            # Once before recording: TensorRT puts off some of what a new shape takes to the first run.
            self._samples[...] = 0
            self._enqueue()
            cuda.synchronize(self._stream)
            if cuda_graph and profiler is None:
                self._graph = cuda.capture(self._enqueue, self._stream)
                if self._graph is not None:
                    taken.callback(_quietly, cuda.destroy_graph, self._graph)
            taken.callback(_quietly, cuda.synchronize, self._stream)
            taken.callback(_quietly, cuda.use)
            self._finalizer = weakref.finalize(self, taken.pop_all().close)
        # At the end of the process the driver frees everything, and may be gone before this would run.
        self._finalizer.atexit = False

    @property
    def context(self) -> IExecutionContextApi:
        """TensorRT's context, for its inspector."""
        return self._held[0]

    def start(self, samples: Samples) -> None:
        """Copy samples of the slot's shape and begin to filter; nothing else may be under way."""
        np.copyto(self._samples, samples)
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph, self._stream)

    def finish(self, output: Samples) -> None:
        """Wait for what `start` began and write its result into `output`, of the slot's shape."""
        self._cuda.synchronize(self._stream)
        np.copyto(output, self._filtered)

    def close(self) -> None:
        """Give back memory, stream and context; wait for what is under way. Calling it again does nothing."""
        self._finalizer()

    def _enqueue(self) -> None:
        self._cuda.upload(self._input, self._samples, self._stream)
        if not self.context.execute_async_v3(int(self._stream)):
            raise ArtefactError(
                f"TensorRT does not run the plan on planes of shape {self._samples.shape} ({complaints(self._library)})"
                "; make the engine again"
            )
        self._cuda.download(self._filtered, self._output, self._stream)

    def _bind(
        self, engine: ICudaEngineApi, taken: ExitStack, *, names: tuple[str, str], shape: Shape
    ) -> IExecutionContextApi:
        library = self._library
        context = engine.create_execution_context(library.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise ArtefactError(
                f"TensorRT makes no execution context ({complaints(library)}); give fewer requests, or make the engine "
                "again"
            )
        done = (
            context.set_optimization_profile_async(0, int(self._stream))
            and context.set_input_shape(names[0], tuple(shape))
            and not context.infer_shapes()
        )
        self._cuda.synchronize(self._stream)
        if not done:
            raise ArtefactError(
                f"the plan does not take planes of shape {shape} ({complaints(library)}); make the engine again with "
                "this --size"
            )
        size = context.update_device_memory_size_for_shapes()
        if size:
            context.set_device_memory(_on_device(self._cuda, taken, size), size)
        addresses = zip(names, (self._input, self._output), strict=True)
        if not all(context.set_tensor_address(name, address) for name, address in addresses):
            raise ArtefactError(f"TensorRT does not take the buffers ({complaints(library)}); make the engine again")
        return context


def _pinned(cuda: Cuda, taken: ExitStack, shape: Shape) -> NDArray[Any]:
    array = cuda.pinned_array(shape, np.dtype(np.uint8))
    taken.callback(_quietly, cuda.free_pinned, array.ctypes.data)
    return array


def _on_device(cuda: Cuda, taken: ExitStack, size: int) -> int:
    address = cuda.device_memory(size)
    taken.callback(_quietly, cuda.free_device_memory, address)
    return address


def _quietly(give_back: Any, *what: Any) -> None:
    """Give something back without raising: after the device failed once, every call fails, and the rest must go on."""
    with suppress(Exception):
        give_back(*what)
