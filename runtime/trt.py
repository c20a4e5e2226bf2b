"""TensorRT: a plan built for one kind of NVIDIA GPU. Not yet run on hardware: see the contract test of `trt_api`."""

from __future__ import annotations

import json
import queue
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError, InputError
from postfilter.runtime.backend import Layer, Options, Shape
from postfilter.runtime.cuda_api import Cuda, import_cuda
from postfilter.runtime.cuda_probe import require_device
from postfilter.runtime.manifest import EngineManifest
from postfilter.runtime.trt_dla import dla_core, require_core
from postfilter.runtime.trt_layers import parse_layers
from postfilter.runtime.trt_library import complaints, import_library, installed_version, shared_logger
from postfilter.runtime.trt_slot import Slot
from postfilter.runtime.trt_target import require_target, target_here

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.trt_api import ICudaEngineApi, Library

__all__ = ["PLAN", "TensorRTBackend"]

PLAN = "model.plan"
"""TensorRT's file inside an engine folder, as `trtexec` reads it too: input and output uint8 [1, C, H, W]; a channel
more of the input for each of `EngineManifest.inputs`."""

_REQUESTS = 3
"""One frame on its way in, one being computed, one on its way out."""

_ELSEWHERE = (
    "run this on the machine with the GPU, or make an engine for this machine with --backend openvino or onnxruntime"
)


class TensorRTBackend:
    """Runs `model.plan`. What could make TensorRT end the process is found out before it sees the plan."""

    def __init__(self, folder: Path, manifest: EngineManifest, options: Options) -> None:
        if PLAN not in manifest.files:
            raise ArtefactError(f"the engine {folder} has no {PLAN}; make it again with --backend tensorrt")
        if options.bit_depth != manifest.bit_depth:
            raise InputError(
                f"the TensorRT engine {folder} takes {manifest.bit_depth} bits, not {options.bit_depth}: TensorRT has "
                "no 16-bit samples; make an engine with --backend openvino or onnxruntime for them"
            )
        purpose = f"the engine {folder}"
        self._core = dla_core(options.device)
        if (self._core is None) == ("dla" in manifest.built_for):
            made, given = ("dla", "a GPU") if self._core is None else ("cuda", "the DLA")
            raise InputError(
                f"{purpose} was built for {manifest.device}, which cannot be changed to {given} ({options.device}): "
                f"give --device {made}:N or none, or make another engine"
            )
        device = require_device(options.device, purpose=purpose, remedy=_ELSEWHERE)
        self.library: Library = import_library(purpose)
        self.cuda = Cuda(import_cuda(purpose), device.index)
        require_target(folder, manifest.built_for, target_here(device, tensorrt=self.library.__version__))
        self.device_name = device.name if self._core is None else f"{device.name}, DLA core {self._core}"
        self.options = options
        self.channels = manifest.channels
        """Of the output."""
        self.requests = options.requests or _REQUESTS
        self.cuda.use()
        self._runtime: Any = self.library.Runtime(shared_logger(self.library))
        if manifest.built_for.get("version_compatible"):
            # Such a plan brings the runtime of its own version along, which is code; its SHA-256 has been checked.
            self._runtime.engine_host_code_allowed = True
        if self._core is not None:
            require_core(self._core, cores=self._runtime.num_DLA_cores, purpose=purpose, tensorrt=self.version)
            self._runtime.DLA_core = self._core
        self.engine: ICudaEngineApi = self._deserialized(folder / PLAN)
        self.names = self._names(folder)
        self.lock = threading.Lock()
        """Held while a slot is made."""

    def compile(self, shape: Shape) -> _TensorRTCompiled:
        """Check that the plan takes frames of this shape; contexts are made when they are first needed."""
        smallest, _, largest = (tuple(each) for each in self.engine.get_tensor_profile_shape(self.names[0], 0))
        if not all(low <= side <= high for low, side, high in zip(smallest[1:], shape[1:], largest[1:], strict=True)):
            raise InputError(
                f"got planes of {shape[3]}x{shape[2]} with {shape[1]} channels; this TensorRT engine takes "
                f"{smallest[3]}x{smallest[2]} to {largest[3]}x{largest[2]} with {smallest[1]}: make one with this "
                "--size"
            )
        return _TensorRTCompiled(self, shape)

    @property
    def version(self) -> str:
        """The version of TensorRT."""
        return installed_version(self.library)

    def close(self) -> None:
        """Let go of the plan; the memory of each slot went with the shapes that held it."""
        del self.engine
        self._runtime = None

    def slot(self, shape: Shape) -> Slot:
        """Make a context with its buffers for one frame of `shape`."""
        profiler = _profiler(self.library) if self.options.layer_times else None
        with self.lock:
            return Slot(
                self.library,
                self.engine,
                self.cuda,
                names=self.names,
                shape=shape,
                channels=self.channels,
                # What the DLA does is no work of the GPU's that a graph could record.
                cuda_graph=self.options.cuda_graphs and self._core is None,
                profiler=profiler,
            )

    def _deserialized(self, path: Path) -> ICudaEngineApi:
        engine: ICudaEngineApi | None = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise ArtefactError(
                f"TensorRT {self.version} cannot read {path} ({complaints(self.library)}); make the engine again"
            )
        return engine

    def _names(self, folder: Path) -> tuple[str, str]:
        """Return the names of the one input and the one output, both uint8."""
        library, engine = self.library, self.engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == library.TensorIOMode.INPUT]
        outputs = [name for name in names if engine.get_tensor_mode(name) == library.TensorIOMode.OUTPUT]
        samples = all(engine.get_tensor_dtype(name) == library.DataType.UINT8 for name in names)
        if len(inputs) != 1 or len(outputs) != 1 or not samples:
            raise ArtefactError(
                f"{folder / PLAN} has the tensors {', '.join(names)}; an engine has one input and one output of uint8: "
                "make it again with export-engine"
            )
        return inputs[0], outputs[0]


class _TensorRTCompiled:
    """The plan, for one shape. Its frames are filtered one by one, in as many slots as requests."""

    def __init__(self, backend: TensorRTBackend, shape: Shape) -> None:
        self.backend = backend
        self.requests = backend.requests
        self._frame: Shape = (1, *shape[1:])
        self._idle: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        self._last: Slot | None = None

    def prepare(self, *, stream: bool) -> None:
        """Make the contexts, which records their CUDA graphs."""
        slots = [self.take() for _ in range(self.requests if stream else 1)]
        for slot in slots:
            self.give_back(slot)

    def infer(self, samples: Samples) -> Samples:
        return self.start(samples).wait()

    def start(self, samples: Samples) -> _TensorRTPending:
        return _TensorRTPending(self, samples)

    def layers(self) -> list[Layer]:
        """The layers of the plan for this shape, as TensorRT's inspector tells them."""
        if self._last is None:
            self.prepare(stream=False)
        slot = self._last
        if slot is None:  # only for the type checker: `prepare` gave one back
            return []
        inspector = self.backend.engine.create_engine_inspector()
        inspector.execution_context = slot.context
        report = inspector.get_engine_information(self.backend.library.LayerInformationFormat.JSON)
        try:
            return parse_layers(report, getattr(slot.profiler, "times_ms", None))
        except json.JSONDecodeError as error:
            raise ArtefactError(
                f"TensorRT {self.backend.version} describes its layers in a form that is no JSON ({error}); try "
                "another version"
            ) from error

    def take(self) -> Slot:
        """Return a slot that nobody uses, a new one where all are busy; this thread then uses its device."""
        self.backend.cuda.use()
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self.backend.slot(self._frame)

    def give_back(self, slot: Slot) -> None:
        """Let others use a slot, whose result has been taken."""
        self._last = slot
        self._idle.put(slot)


class _TensorRTPending:
    """The frames of one call: as many under way as there are requests, the others as these come back."""

    def __init__(self, compiled: _TensorRTCompiled, samples: Samples) -> None:
        self._compiled = compiled
        self._samples = samples
        self._started = 0
        self._busy: deque[Slot] = deque()
        for _ in range(min(compiled.requests, len(samples))):
            self._start_next()

    def wait(self) -> Samples:
        # Whoever waits may be another thread than the one that began.
        self._compiled.backend.cuda.use()
        frames, _, height, width = self._samples.shape
        output = np.empty((frames, self._compiled.backend.channels, height, width), dtype=np.uint8)
        for index in range(len(self._samples)):
            slot = self._busy.popleft()
            slot.finish(output[index : index + 1])
            self._compiled.give_back(slot)
            if self._started < len(self._samples):
                self._start_next()
        return output

    def _start_next(self) -> None:
        slot = self._compiled.take()
        slot.start(self._samples[self._started : self._started + 1])
        self._busy.append(slot)
        self._started += 1


def _profiler(library: Library) -> Any:
    """Return a profiler that keeps the milliseconds of each layer of the last inference, in `times_ms`."""

    class Profiler(library.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.IProfiler.__init__(self)
            self.times_ms: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ms[layer_name] = ms

    return Profiler()
