"""Stand-ins for TensorRT and CUDA where there is no GPU: not to prove that a plan runs, but that buffers, streams,
graphs and slots are used in an order that a real device would survive.

Work put on a stream is done when somebody synchronizes it, as late as a device may do it; what is recorded is not done
at all. Memory of the "device" is poisoned, and each allocation is counted until it is freed. A plan is an ONNX file.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import json
import types
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

Work = Callable[[], None]


class Kind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1  # noqa: N815
    cudaMemcpyDeviceToHost = 2  # noqa: N815


class Mode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1  # noqa: N815


class CudaDouble(types.ModuleType):
    """`cuda.bindings.runtime` of one device."""

    cudaMemcpyKind = Kind  # noqa: N815
    cudaStreamCaptureMode = Mode  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.can_capture = True
        self.free_memory = 1 << 30
        self.held: dict[int, Any] = {}
        """Address -> what lies there; streams and graphs by their number."""
        self.recording: dict[int, list[Work] | None] = {}
        self.launched = 0
        self.freed = 0
        self._numbers = itertools.count(1)

    def cudaSetDevice(self, device: int) -> Any:  # noqa: N802
        return (0 if device == 0 else 101,)

    def cudaGetErrorString(self, error: int) -> Any:  # noqa: N802
        return 0, {2: b"out of memory", 900: b"operation not permitted when stream is capturing"}.get(error, b"error")

    def cudaGetLastError(self) -> Any:  # noqa: N802
        return (0,)

    def _allocate(self, size: int) -> Any:
        if size > self.free_memory:
            return 2, None
        memory = (ctypes.c_ubyte * size)(*([0xA5] * min(size, 64)))
        self.held[ctypes.addressof(memory)] = memory
        return 0, ctypes.addressof(memory)

    def cudaMalloc(self, size: int) -> Any:  # noqa: N802
        return self._allocate(size)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:  # noqa: N802
        return self._allocate(size)

    def _free(self, key: int) -> Any:
        self.freed += 1
        return (0 if self.held.pop(key, None) is not None else 1,)

    cudaFree = cudaFreeHost = cudaStreamDestroy = cudaGraphDestroy = cudaGraphExecDestroy = _free  # noqa: N815

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:  # noqa: N802
        number = next(self._numbers)
        self.held[number] = deque()
        return 0, number

    def put(self, stream: int, work: Work) -> None:
        recorded = self.recording.get(stream)
        (self.held[stream] if recorded is None else recorded).append(work)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Kind, stream: int) -> Any:  # noqa: N802
        self.put(stream, lambda: ctypes.memmove(dst, src, count) and None)
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> Any:  # noqa: N802
        if self.recording.get(stream) is not None:
            return (900,)
        while self.held[stream]:
            self.held[stream].popleft()()
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: Mode) -> Any:  # noqa: N802
        self.recording[stream] = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> Any:  # noqa: N802
        recorded = self.recording.pop(stream)
        if not self.can_capture:
            return 900, 0
        number = next(self._numbers)
        self.held[number] = recorded
        return 0, number

    def cudaGraphInstantiate(self, graph: int, flags: int) -> Any:  # noqa: N802
        number = next(self._numbers)
        self.held[number] = list(self.held[graph])
        return 0, number

    def cudaGraphLaunch(self, graph: int, stream: int) -> Any:  # noqa: N802
        self.launched += 1
        self.held[stream].extend(self.held[graph])
        return (0,)


class ContextDouble:
    """Refuses to run what a real one would: without a shape, memory of that shape's size, or an address."""

    def __init__(self, engine: EngineDouble) -> None:
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.memory = 0
        self.addresses: dict[str, int] = {}
        self.profiler: Any = None

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        return profile_index == 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return name == "samples"

    def infer_shapes(self) -> list[str]:
        return [] if self.shape else ["samples"]

    def update_device_memory_size_for_shapes(self) -> int:
        return int(np.prod(self.shape)) * 4

    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = size if memory in self.engine.cuda.held else 0

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return memory in self.engine.cuda.held

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self.memory < self.update_device_memory_size_for_shapes() or len(self.addresses) != 2:
            return False
        self.engine.cuda.put(stream_handle, self.run)
        return True

    def run(self) -> None:
        size = int(np.prod(self.shape))
        given = (ctypes.c_ubyte * size).from_address(self.addresses["samples"])
        samples = np.ctypeslib.as_array(given).reshape(self.shape)
        (filtered,) = self.engine.session.run(None, {"samples": samples})
        room = self.engine.cuda.held[self.addresses["filtered"]]
        assert len(room) == filtered.nbytes
        ctypes.memmove(room, np.ascontiguousarray(filtered).ctypes.data, filtered.nbytes)
        if self.profiler is not None:
            for name in ("conv0 + prelu0", "conv1"):
                self.profiler.report_layer_time(name, 0.5)


class EngineDouble:
    num_io_tensors = 2

    def __init__(self, plan: bytes, cuda: CudaDouble) -> None:
        self.cuda = cuda
        self.session = onnxruntime.InferenceSession(plan)
        self.contexts = 0

    def get_tensor_name(self, index: int) -> str:
        return ("samples", "filtered")[index]

    def get_tensor_mode(self, name: str) -> int:
        return 1 if name == "samples" else 2

    def get_tensor_dtype(self, name: str) -> int:
        return 5

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        channels = self.session.get_inputs()[0].shape[1]
        return [(1, channels, side, side) for side in (8, 32, 64)]

    def create_execution_context(self, strategy: int) -> ContextDouble:
        self.contexts += 1
        return ContextDouble(self)

    def create_engine_inspector(self) -> Any:
        layers = [
            {
                "Name": name,
                "LayerType": "CaskConvolution",
                "Inputs": [{"Name": "x", "Format/Datatype": "Half"}],
                "Metadata": f"[ONNX Layer: {name[:5]}]",
            }
            for name in ("conv0 + prelu0", "conv1")
        ]
        return types.SimpleNamespace(get_engine_information=lambda format: json.dumps({"Layers": layers}))  # noqa: A006


def tensorrt_double(cuda: CudaDouble, *, version: str = "10.3.0") -> Any:
    """The module `tensorrt`: `deserialized` counts plans that it was given, `engine` and `dla_core` are of the last."""
    module = types.ModuleType("tensorrt")

    class Base:
        Severity = enum.IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    class Runtime:
        num_DLA_cores = 2  # noqa: N815

        def __init__(self, logger: Any) -> None:
            self.logger = logger
            self.DLA_core = -1

        def deserialize_cuda_engine(self, plan: bytes) -> EngineDouble | None:
            module.deserialized += 1  # type: ignore[attr-defined]
            if plan.startswith(b"damaged"):
                self.logger.log(Base.Severity.ERROR, "Magic tag does not match")
                return None
            module.dla_core = self.DLA_core  # type: ignore[attr-defined]
            module.engine = EngineDouble(plan, cuda)  # type: ignore[attr-defined]
            return module.engine

    content = {
        "__version__": version,
        "deserialized": 0,
        "ILogger": Base,
        "IProfiler": Base,
        "Runtime": Runtime,
        "DataType": types.SimpleNamespace(UINT8=5),
        "TensorIOMode": types.SimpleNamespace(INPUT=1, OUTPUT=2),
        "ExecutionContextAllocationStrategy": types.SimpleNamespace(USER_MANAGED=2),
        "LayerInformationFormat": types.SimpleNamespace(JSON=1),
    }
    vars(module).update(content)
    return module
