"""ONNX Runtime: runs on most machines, and reads the same graph."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError, MissingDependencyError, UnknownNameError
from postfilter.runtime.backend import Layer, Options, Shape
from postfilter.runtime.bit_depth import graph_bytes, sample_type
from postfilter.runtime.manifest import GRAPH, EngineManifest
from postfilter.runtime.workers import Workers

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples
    from postfilter.runtime.workers import FutureSamples

__all__ = ["OnnxRuntimeBackend", "import_onnxruntime"]

_REQUESTS = 2
"""One frame computes with all threads while the next is made ready; more side by side gained nothing on two cores."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_MULTIPLY = ("Conv", "Gemm", "MatMul")

_UPCAST = "InsertedPrecisionFreeCast_"
"""Stands before the name of a fp16 node that runs in fp32, for want of a kernel."""


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
        onnxruntime = import_onnxruntime(f"the engine {folder}")
        self._ort = onnxruntime
        self._options = options
        self._provider, self._provider_options = _provider(onnxruntime, options.device)
        self._dtype = np.dtype(sample_type(options.bit_depth))
        self._graph = graph_bytes(folder / GRAPH, made_for=manifest.bit_depth, bit_depth=options.bit_depth)
        self._source = folder / GRAPH
        self._session: Any = self._open()
        self.requests = options.requests or _REQUESTS
        self._workers = Workers(1, name="postfilter-ort")

    def compile(self, shape: Shape) -> _OnnxRuntimeCompiled:
        """Bind the session to `shape`; there is nothing to compile."""
        return _OnnxRuntimeCompiled(self, shape)

    @property
    def version(self) -> str:
        """The version of onnxruntime."""
        return str(self._ort.__version__)

    @property
    def device_name(self) -> str:
        """The execution provider; ONNX Runtime does not name the hardware."""
        return self._provider

    def close(self) -> None:
        """End the worker and let go of the session."""
        self._workers.close()
        self._session = None

    def run(self, samples: Samples) -> Samples:
        """Filter contiguous samples; the result is written straight into a new array."""
        output = np.empty(samples.shape, dtype=self._dtype)
        binding = self._session.io_binding()
        name_in, name_out = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name
        binding.bind_input(name_in, "cpu", 0, self._dtype.type, samples.shape, samples.ctypes.data)
        binding.bind_output(name_out, "cpu", 0, self._dtype.type, output.shape, output.ctypes.data)
        try:
            self._session.run_with_iobinding(binding)
        except self._errors() as error:
            raise ArtefactError(
                f"ONNX Runtime {self.version} cannot run the graph on planes of shape {samples.shape} ({error}); an "
                "engine of one fixed size takes one frame of that size at a time: make it with --size dynamic"
            ) from error
        return output

    def start(self, samples: Samples) -> FutureSamples:
        """Filter in the worker."""
        return self._workers.start(self.run, samples)

    def profile(self, shape: Shape) -> list[dict[str, Any]]:
        """Run a session of its own twice with profiling on; return the node events of the second run."""
        with tempfile.TemporaryDirectory(prefix="postfilter-") as folder:
            session = self._open(str(Path(folder) / "profile"))
            for _ in range(2):
                session.run(None, {session.get_inputs()[0].name: np.zeros(shape, dtype=self._dtype)})
            events = json.loads(Path(session.end_profiling()).read_text())
        nodes = [each for each in events if each.get("cat") == "Node" and each["name"].endswith("_kernel_time")]
        return nodes[len(nodes) // 2 :]

    def _open(self, profile_prefix: str | None = None) -> Any:
        settings = self._ort.SessionOptions()
        settings.log_severity_level = 3  # errors: its warnings go to stderr past Python's logging
        if self._options.threads is not None:
            settings.intra_op_num_threads = self._options.threads
        if profile_prefix is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = profile_prefix
        try:
            return self._ort.InferenceSession(
                self._graph, settings, providers=[(self._provider, self._provider_options)]
            )
        except self._errors() as error:
            raise ArtefactError(
                f"ONNX Runtime {self.version} cannot read {self._source} ({error}); make the engine again"
            ) from error

    def _errors(self) -> tuple[type[Exception], ...]:
        """What ONNX Runtime raises: classes of its own that share no base but Exception, and RuntimeError."""
        raised = self._ort.capi.onnxruntime_pybind11_state
        names = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
        return (*(getattr(raised, name) for name in names if hasattr(raised, name)), RuntimeError)


class _OnnxRuntimeCompiled:
    """The session, for one shape."""

    def __init__(self, backend: OnnxRuntimeBackend, shape: Shape) -> None:
        self._backend = backend
        self._shape = shape

    def prepare(self, *, stream: bool) -> None:
        """Allocate: the session plans its memory on the first run of a shape."""
        self.infer(np.zeros(self._shape, dtype=self._backend._dtype))

    def infer(self, samples: Samples) -> Samples:
        return self._backend.run(samples)

    def start(self, samples: Samples) -> FutureSamples:
        return self._backend.start(samples)

    def layers(self) -> list[Layer]:
        found = []
        for event in self._backend.profile(self._shape):
            name = event["name"].removesuffix("_kernel_time").removeprefix(_UPCAST)
            kind = event["args"]["op_name"]
            found.append(
                Layer(
                    name=name,
                    type=kind,
                    precision=_precision(kind, event["args"].get("input_type_shape") or []),
                    ms=event["dur"] / 1000,
                    made_of=(name.split("_token_")[0].removesuffix("_nchwc"),),
                )
            )
        return found


def _provider(onnxruntime: Any, device: str) -> tuple[str, dict[str, str]]:
    kind, _, index = device.lower().partition(":")
    available = onnxruntime.get_available_providers()
    known = tuple(name for name, provider in _PROVIDERS.items() if provider in available)
    if kind not in known or (index and not index.isdigit()):
        raise UnknownNameError("ONNX Runtime device on this machine", device, known)
    return _PROVIDERS[kind], {"device_id": index or "0"} if kind == "cuda" else {}


def _precision(kind: str, inputs: list[dict[str, list[int]]]) -> str:
    told = next((name for each in inputs for name in each if name != "bool"), "unknown")
    if told in ("int8", "uint8") and any(word in kind for word in _MULTIPLY):
        return "int8"
    return _PRECISIONS.get(told, told)
