"""ONNX Runtime: runs on most machines, on CPUs and on NVIDIA GPUs, and reads the same graph."""

from __future__ import annotations

import json
import logging
import os
import queue
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError, DeviceError, MissingDependencyError, OutputError
from postfilter.runtime.backend import Layer, Options, Shape
from postfilter.runtime.bit_depth import graph_bytes, sample_type
from postfilter.runtime.manifest import GRAPH, EngineManifest
from postfilter.runtime.ort_providers import choose, on_the_cpu, preload, refused, require_provider
from postfilter.runtime.sealed import drop_untrusted, seal
from postfilter.runtime.workers import Workers

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.workers import FutureSamples

__all__ = ["OnnxRuntimeBackend", "Slot", "import_onnxruntime"]

_REQUESTS = 2
"""One frame computes with all threads while the next is made ready; more side by side gained nothing on two cores."""

_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_MULTIPLY = ("Conv", "Gemm", "MatMul")

_UPCAST = "InsertedPrecisionFreeCast_"
"""Stands before the name of a fp16 node that runs in fp32, for want of a kernel."""

_log = logging.getLogger(__name__)


def import_onnxruntime(purpose: str) -> Any:
    """Return the module, imported with its telemetry off: it would report to its maker from where a filter runs.

    ORT_DISABLE_TELEMETRY counts at the first import in a process; a value that the user has set stays.

    Raises:
        MissingDependencyError: it is not installed, or broken; `purpose` says what needs it.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", purpose, "onnxruntime", error) from error
    return onnxruntime


class OnnxRuntimeBackend:
    """Reads `model.onnx` into one session, which takes every shape that the graph takes."""

    def __init__(self, folder: Path, manifest: EngineManifest, options: Options) -> None:
        purpose = f"the engine {folder}"
        onnxruntime = import_onnxruntime(purpose)
        self._ort = onnxruntime
        self._options = options
        self.precision = manifest.precision
        self._channels = manifest.channels
        self._choice = choose(
            onnxruntime,
            options.device,
            precision=manifest.precision,
            graph_sha256=f"{manifest.graph_sha256}-{options.bit_depth}",
            purpose=purpose,
        )
        self.dtype = np.dtype(sample_type(options.bit_depth))
        self._graph = graph_bytes(folder / GRAPH, made_for=manifest.bit_depth, bit_depth=options.bit_depth)
        self._source = folder / GRAPH
        if self._choice.gpu is not None:
            preload(onnxruntime)
        if self._choice.cache is not None:
            _make_ready(self._choice.cache)
        self._session: Any = self._open()
        require_provider(onnxruntime, self._choice.provider, self._session.get_providers(), purpose=purpose)
        self._left = {} if self._choice.gpu is None else on_the_cpu(self._session)
        if self._left:
            _log.warning("%s leaves to the CPU what it has no kernel for: %s", self.device_name, self._left)
        self.requests = options.requests or _REQUESTS
        self._workers = Workers(1 if self._choice.gpu is None else self.requests, name="postfilter-ort")

    def compile(self, shape: Shape) -> _OnnxRuntimeCompiled:
        """Bind the session to `shape`; there is nothing to compile."""
        return _OnnxRuntimeCompiled(self, shape)

    @property
    def version(self) -> str:
        """The version of onnxruntime."""
        return str(self._ort.__version__)

    @property
    def device_name(self) -> str:
        """The execution provider that really runs the graph, the GPU, and what is left to the CPU."""
        gpu = self._choice.gpu
        if gpu is None:
            return self._choice.provider
        left = f", {sum(self._left.values())} nodes on the CPU" if self._left else ""
        return f"{gpu.name} ({self._choice.provider}{left})"

    def close(self) -> None:
        """End the workers and let go of the session, which writes its timings then."""
        self._workers.close()
        self._session = None
        self.keep_built()

    def keep_built(self) -> None:
        """Have what TensorRT's provider built so far trusted next time."""
        if self._choice.cache is not None:
            seal(self._choice.cache)

    def slot(self, shape: Shape) -> Slot:
        """Make buffers for one inference of `shape` at a time, on the device."""
        gpu = self._choice.gpu
        device = ("cpu", 0) if gpu is None else ("cuda", gpu.index)
        shapes = shape, self._filtered(shape)
        return self.guarded(shape, lambda: Slot(self._ort, self._session, shapes, self.dtype, device=device))

    def run(self, samples: Samples) -> Samples:
        """Filter contiguous samples on the CPU; the result is written straight into a new array."""
        output = np.empty(self._filtered(samples.shape), dtype=self.dtype)
        binding = self._session.io_binding()
        name_in, name_out = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name
        binding.bind_input(name_in, "cpu", 0, self.dtype.type, samples.shape, samples.ctypes.data)
        binding.bind_output(name_out, "cpu", 0, self.dtype.type, output.shape, output.ctypes.data)
        self.guarded(samples.shape, lambda: self._session.run_with_iobinding(binding))
        return output

    def _filtered(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the output, which has the picture's channels alone."""
        return shape[0], self._channels, *shape[2:]

    def guarded(self, shape: tuple[int, ...], work: Callable[[], Any]) -> Any:
        """Return what `work` returns; what ONNX Runtime raises is told as what it means.

        Raises:
            ArtefactError: the graph does not take the shape.
            DeviceError: the GPU has too little memory, or fails.
        """
        try:
            return work()
        except self._errors() as error:
            if self._choice.gpu is not None and any(word in str(error).lower() for word in ("memory", "cuda")):
                raise DeviceError(
                    f"{self._choice.gpu.name} fails on planes of shape {shape} ({error}); close other programs that "
                    "use the GPU, or give fewer requests or smaller frames"
                ) from error
            raise ArtefactError(
                f"ONNX Runtime {self.version} cannot run the graph on planes of shape {shape} ({error}); an engine of "
                "one fixed size takes one frame of that size at a time: make it with --size dynamic"
            ) from error

    @property
    def on_gpu(self) -> bool:
        """Whether samples are copied to and from a device."""
        return self._choice.gpu is not None

    def start(self, infer: Callable[[Samples], Samples], samples: Samples) -> FutureSamples:
        """Filter in a worker."""
        return self._workers.start(infer, samples)

    def profile(self, shape: Shape) -> list[dict[str, Any]]:
        """Run a session of its own twice with profiling on; return the node events of the second run."""
        with tempfile.TemporaryDirectory(prefix="postfilter-") as folder:
            session = self._open(str(Path(folder) / "profile"))
            for _ in range(2):
                session.run(None, {session.get_inputs()[0].name: np.zeros(shape, dtype=self.dtype)})
            events = json.loads(Path(session.end_profiling()).read_text())
        nodes = [each for each in events if each.get("cat") == "Node" and each["name"].endswith("_kernel_time")]
        return nodes[len(nodes) // 2 :]

    def _open(self, profile_prefix: str | None = None) -> Any:
        settings = self._ort.SessionOptions()
        settings.log_severity_level = 3  # errors: its warnings go to stderr past Python's logging
        if self._options.threads is not None:
            settings.intra_op_num_threads = self._options.threads
        if self._choice.gpu is not None:
            settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if profile_prefix is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = profile_prefix
        try:
            # Without its own way of falling back, which prints and goes on.
            return self._ort.InferenceSession(
                self._graph, settings, providers=self._choice.session_providers, enable_fallback=0
            )
        except self._errors() as error:
            if self._choice.gpu is not None:
                raise refused(self._ort, self._choice.provider, error, purpose=str(self._source)) from error
            raise ArtefactError(
                f"ONNX Runtime {self.version} cannot read {self._source} ({error}); make the engine again"
            ) from error

    def _errors(self) -> tuple[type[Exception], ...]:
        """What ONNX Runtime raises: classes of its own that share no base but Exception, and RuntimeError."""
        raised = self._ort.capi.onnxruntime_pybind11_state
        names = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
        return (*(getattr(raised, name) for name in names if hasattr(raised, name)), RuntimeError)


class Slot:
    """Filters one array of one shape at a time, in buffers on the device that are bound once."""

    def __init__(
        self,
        onnxruntime: Any,
        session: Any,
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
        dtype: np.dtype[Any],
        *,
        device: tuple[str, int],
    ) -> None:
        self._session = session
        make = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._samples, self._filtered = (make(each, dtype.type, *device) for each in shapes)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(session.get_inputs()[0].name, self._samples)
        self._binding.bind_ortvalue_output(session.get_outputs()[0].name, self._filtered)

    def run(self, samples: Samples) -> Samples:
        """Copy samples to the device, filter, and return a copy of the result."""
        self._samples.update_inplace(samples)
        self._session.run_with_iobinding(self._binding)
        filtered: Samples = np.array(self._filtered.numpy())
        return filtered


class _OnnxRuntimeCompiled:
    """The session, for one shape; on a GPU with as many slots as there are inferences at a time."""

    def __init__(self, backend: OnnxRuntimeBackend, shape: Shape) -> None:
        self._backend = backend
        self._shape = shape
        self._idle: queue.SimpleQueue[Slot] = queue.SimpleQueue()

    def prepare(self, *, stream: bool) -> None:
        """Allocate: the session plans its memory, and TensorRT builds, on the first run of a shape."""
        self.infer(np.zeros(self._shape, dtype=self._backend.dtype))
        self._backend.keep_built()

    def infer(self, samples: Samples) -> Samples:
        if not self._backend.on_gpu:
            return self._backend.run(samples)
        try:
            slot = self._idle.get_nowait()
        except queue.Empty:
            slot = self._backend.slot(self._shape)
        filtered: Samples = self._backend.guarded(self._shape, lambda: slot.run(samples))
        self._idle.put(slot)
        return filtered

    def start(self, samples: Samples) -> FutureSamples:
        return self._backend.start(self.infer, samples)

    def layers(self) -> list[Layer]:
        found = []
        for event in self._backend.profile(self._shape):
            name = event["name"].removesuffix("_kernel_time").removeprefix(_UPCAST)
            kind = event["args"]["op_name"]
            found.append(
                Layer(
                    name=name,
                    type=kind,
                    precision=_precision(
                        kind, event["args"].get("input_type_shape") or [], asked=self._backend.precision
                    ),
                    ms=event["dur"] / 1000,
                    made_of=(name.split("_token_")[0].removesuffix("_nchwc"),),
                )
            )
        return found


def _make_ready(folder: Path) -> None:
    try:
        drop_untrusted(folder)
    except OSError as error:
        raise OutputError(
            f"the plans of TensorRT's provider cannot be kept in {folder} ({error}); set XDG_CACHE_HOME to a folder "
            "that can be written to"
        ) from error


def _precision(kind: str, inputs: list[dict[str, list[int]]], *, asked: str) -> str:
    """What a node computed in; a whole graph that TensorRT took tells nothing, and holds to what was asked for."""
    if kind.startswith("TRTKernel"):
        return asked
    told = next((name for each in inputs for name in each if name != "bool"), "unknown")
    if told in ("int8", "uint8") and any(word in kind for word in _MULTIPLY):
        return "int8"
    return _PRECISIONS.get(told, told)
