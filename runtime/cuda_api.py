"""CUDA's memory, streams and graphs through the package `cuda-bindings`, every status checked.

Each class and function of `cuda.bindings.runtime` that is touched stands in `CudaRuntime`, which a test compares with
the real package.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from postfilter.errors import DeviceError, MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cuda", "import_cuda"]

_INSUFFICIENT_DRIVER = 35

_log = logging.getLogger(__name__)

Status = Any  # cudaError_t, an enumeration whose success is 0
Handle = Any  # cudaStream_t and the like


class CudaRuntime(Protocol):
    """The part of `cuda.bindings.runtime` that is used here; every function returns its status first."""

    cudaMemcpyKind: Any  # noqa: N815
    cudaStreamCaptureMode: Any  # noqa: N815
    cudaStreamNonBlocking: Any  # noqa: N815

    def cudaSetDevice(self, device: int) -> tuple[Status]: ...  # noqa: N802
    def cudaGetErrorString(self, error: Status) -> tuple[Status, bytes]: ...  # noqa: N802
    def cudaGetLastError(self) -> tuple[Status]: ...  # noqa: N802
    def cudaMalloc(self, size: int) -> tuple[Status, Any]: ...  # noqa: N802
    def cudaFree(self, pointer: Any) -> tuple[Status]: ...  # noqa: N802
    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Status, Any]: ...  # noqa: N802
    def cudaFreeHost(self, pointer: Any) -> tuple[Status]: ...  # noqa: N802
    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: Handle) -> tuple[Status]: ...  # noqa: N802
    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Status, Handle]: ...  # noqa: N802
    def cudaStreamDestroy(self, stream: Handle) -> tuple[Status]: ...  # noqa: N802
    def cudaStreamSynchronize(self, stream: Handle) -> tuple[Status]: ...  # noqa: N802
    def cudaStreamBeginCapture(self, stream: Handle, mode: Any) -> tuple[Status]: ...  # noqa: N802
    def cudaStreamEndCapture(self, stream: Handle) -> tuple[Status, Handle]: ...  # noqa: N802
    def cudaGraphInstantiate(self, graph: Handle, flags: int) -> tuple[Status, Handle]: ...  # noqa: N802
    def cudaGraphLaunch(self, graph: Handle, stream: Handle) -> tuple[Status]: ...  # noqa: N802
    def cudaGraphDestroy(self, graph: Handle) -> tuple[Status]: ...  # noqa: N802
    def cudaGraphExecDestroy(self, graph: Handle) -> tuple[Status]: ...  # noqa: N802


def import_cuda(purpose: str) -> CudaRuntime:
    """Import and return `cuda.bindings.runtime`; importing it touches no device.

    Raises:
        MissingDependencyError: the package is not installed, or broken.
    """
    try:
        return cast("CudaRuntime", importlib.import_module("cuda.bindings.runtime"))
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name in ("cuda", "cuda.bindings")
        cause = ModuleNotFoundError(str(error), name="cuda-bindings") if absent else error
        remedy = "try: pip install 'cuda-bindings==12.*', or ==13.* with a driver for CUDA 13"
        raise MissingDependencyError("cuda-bindings", purpose, "gpu", cause, remedy=remedy) from error


class Cuda:
    """One GPU.

    The current device belongs to a thread: call `use` at the beginning of whatever a thread may begin with.

    Args:
        runtime: `cuda.bindings.runtime`.
        index: of the device.
    """

    def __init__(self, runtime: CudaRuntime, index: int) -> None:
        self._runtime = runtime
        self._index = index

    def use(self) -> None:
        """Make this the current device of the calling thread.

        Raises:
            DeviceError: it cannot be used, as all methods below.
        """
        self._check(self._runtime.cudaSetDevice(self._index), "taking the device into use")

    def device_memory(self, size: int) -> int:
        """Allocate `size` bytes on the device; return the address."""
        return int(self._check(self._runtime.cudaMalloc(size), f"allocating {size / 2**20:.0f} MiB on the GPU")[0])

    def free_device_memory(self, address: int) -> None:
        """Free what `device_memory` returned."""
        self._check(self._runtime.cudaFree(address), "freeing memory of the GPU")

    def pinned_array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array in page-locked memory, which the device reads and writes by itself.

        Whoever holds it or a view of it must let go before `free_pinned`.
        """
        size = int(np.prod(shape)) * dtype.itemsize
        (address,) = self._check(self._runtime.cudaHostAlloc(size, 0), f"locking {size / 2**20:.0f} MiB of memory")
        held = (ctypes.c_ubyte * size).from_address(int(address))
        return np.ctypeslib.as_array(held).view(dtype).reshape(shape)

    def free_pinned(self, address: int) -> None:
        """Free the memory of an array that `pinned_array` returned, by the address of its first element."""
        self._check(self._runtime.cudaFreeHost(address), "freeing locked memory")

    def stream(self) -> Handle:
        """Return a new stream that does not wait for the default one; `int()` gives what TensorRT takes."""
        flags = int(self._runtime.cudaStreamNonBlocking)
        return self._check(self._runtime.cudaStreamCreateWithFlags(flags), "making a stream")[0]

    def destroy_stream(self, stream: Handle) -> None:
        """Let go of a stream."""
        self._check(self._runtime.cudaStreamDestroy(stream), "letting go of a stream")

    def upload(self, target: int, source: NDArray[Any], stream: Handle) -> None:
        """Begin to copy a pinned array to the device."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        copy = self._runtime.cudaMemcpyAsync(target, source.ctypes.data, source.nbytes, kind, stream)
        self._check(copy, "copying to the GPU")

    def download(self, target: NDArray[Any], source: int, stream: Handle) -> None:
        """Begin to copy from the device to a pinned array."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        copy = self._runtime.cudaMemcpyAsync(target.ctypes.data, source, target.nbytes, kind, stream)
        self._check(copy, "copying from the GPU")

    def synchronize(self, stream: Handle) -> None:
        """Wait until all that was put on a stream is done; errors of that work are raised here."""
        self._check(self._runtime.cudaStreamSynchronize(stream), "computing on the GPU")

    def capture(self, work: Callable[[], None], stream: Handle) -> Handle | None:
        """Record what `work` puts on a stream as a graph; return it, or None where it cannot be recorded.

        Only calls of this thread are recorded or refused meanwhile: other threads go on allocating.
        """
        runtime = self._runtime
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        recorded: Handle = None
        try:
            self._check(runtime.cudaStreamBeginCapture(stream, mode), "beginning to record")
            try:
                work()
            finally:
                # Also after a failure: a stream that is left recording can do nothing else.
                status, recorded = runtime.cudaStreamEndCapture(stream)
            self._check((status,), "recording")
            return self._check(runtime.cudaGraphInstantiate(recorded, 0), "making a graph")[0]
        except DeviceError as error:
            runtime.cudaGetLastError()  # which also forgets it, or a later call would be blamed
            _log.info("running without a CUDA graph: %s", error)
            return None
        finally:
            if recorded is not None and int(recorded):
                runtime.cudaGraphDestroy(recorded)

    def launch(self, graph: Handle, stream: Handle) -> None:
        """Begin what a graph recorded."""
        self._check(self._runtime.cudaGraphLaunch(graph, stream), "launching a CUDA graph")

    def destroy_graph(self, graph: Handle) -> None:
        """Let go of a graph that `capture` returned."""
        self._check(self._runtime.cudaGraphExecDestroy(graph), "letting go of a CUDA graph")

    def _check(self, returned: tuple[Any, ...], doing: str) -> tuple[Any, ...]:
        status, *values = returned
        if int(status) == 0:
            return tuple(values)
        text = self._runtime.cudaGetErrorString(status)[1].decode(errors="replace")
        if int(status) == _INSUFFICIENT_DRIVER:
            remedy = "cuda-bindings is newer than the driver: try pip install 'cuda-bindings==12.*', or a newer driver"
        else:
            remedy = "close other programs that use the GPU, or give fewer requests or smaller frames"
        raise DeviceError(f"{doing} failed: {text} (CUDA error {int(status)}); {remedy}")
