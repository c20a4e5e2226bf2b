"""OpenVINO: the default backend."""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError, MissingDependencyError, UnknownNameError
from postfilter.runtime.backend import Layer, Options, Shape, usable_cores
from postfilter.runtime.bit_depth import graph_bytes, sample_type
from postfilter.runtime.compatibility import precision_warning
from postfilter.runtime.machine import byte_sums_saturate
from postfilter.runtime.manifest import GRAPH, EngineManifest
from postfilter.runtime.resident import memory_released

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples

__all__ = ["OpenVINOBackend"]

_STREAMS = 4
"""Inferences run side by side at most: each holds activations of its own, and four already fill most machines."""

_COPIED_BYTES = 256 * 1024
"""Samples up to here are copied into arrays that a request is bound to once: binding one to others takes longer."""

_NO_WORK = ("Const", "Input", "Output", "Parameter", "Reshape", "Result")
"""Nodes of the executed graph that are done once or move nothing."""

_MULTIPLY = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")

_PRECISIONS = {"f32": "fp32", "f16": "fp16"}

_log = logging.getLogger(__name__)


class OpenVINOBackend:
    """Reads `model.onnx` and compiles it for each shape seen: the CPU plugin runs static shapes faster than dynamic.

    A shape is compiled once for single calls, all threads on one frame, and once for `start`, a few threads on each of
    several frames; each when it is first needed. Measured on two cores at 480p, the second gives 62 fps against 60 on
    Fast ARCNN in bf16, and 340 against 224 on a network of 2.6 kMAC/px, for twice the latency.
    """

    def __init__(self, folder: Path, manifest: EngineManifest, options: Options) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingDependencyError("openvino", f"the engine {folder}", None, error) from error
        self._core = openvino.Core()
        self._device = _known_device(self._core, options.device)
        capable = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        saturating = self._device == "CPU" and byte_sums_saturate()
        if warning := precision_warning(manifest, capable, saturating=saturating):
            _log.warning("%s", warning)
        self._dtype = np.dtype(sample_type(options.bit_depth))
        # One request more than streams: a frame is always waiting when a stream falls idle.
        self.requests = options.requests or min(usable_cores(options.threads), _STREAMS) + 1
        self._config = _configuration(manifest, options)
        self._channels = manifest.channels
        self._spare_memory = options.spare_memory
        graph = graph_bytes(folder / GRAPH, made_for=manifest.bit_depth, bit_depth=options.bit_depth)
        try:
            with self._sparing():
                self._model = self._core.read_model(graph)
        except RuntimeError as error:
            raise ArtefactError(f"OpenVINO cannot read {folder / GRAPH} ({error}); make the engine again") from error

    def compile(self, shape: Shape) -> _OpenVINOCompiled:
        """Reshape a copy of the graph to `shape`; compiling waits for the first use."""
        model = self._model.clone()
        try:
            model.reshape(list(shape))
        except RuntimeError as error:
            raise ArtefactError(
                f"the graph does not take planes of shape {shape} ({error}); make the engine again"
            ) from error

        def compiled(hint: str) -> Any:
            config = self._config | {"PERFORMANCE_HINT": hint}
            if hint == "THROUGHPUT":
                config["PERFORMANCE_HINT_NUM_REQUESTS"] = max(1, self.requests - 1)
            try:
                with self._sparing():
                    return self._core.compile_model(model, self._device, config)
            except RuntimeError as error:
                raise ArtefactError(
                    f"OpenVINO {self.version} cannot compile the graph for {shape} on {self._device} ({error}); try "
                    "another device, or an engine made with --backend onnxruntime"
                ) from error

        return _OpenVINOCompiled(compiled, (shape[0], self._channels, *shape[2:]), self._dtype)

    def _sparing(self) -> AbstractContextManager[None]:
        """Keep the memory low that reading and compiling take, where memory counts."""
        return memory_released("openvino") if self._spare_memory else nullcontext()

    @property
    def version(self) -> str:
        """The version of openvino."""
        from importlib.metadata import version

        return version("openvino")

    @property
    def device_name(self) -> str:
        """The processor's name, as OpenVINO reads it."""
        return str(self._core.get_property(self._device, "FULL_DEVICE_NAME")).strip()

    def close(self) -> None:
        """Forget the model; OpenVINO frees its threads with the last compiled model."""
        self._model = None


class _OpenVINOCompiled:
    """One shape, told as the output's: two compiled models, each made when first used."""

    def __init__(self, compile_for: Any, shape: Shape, dtype: np.dtype[Any]) -> None:
        self._compile_for = compile_for
        self._shape = shape
        self._dtype = dtype
        self._pools: dict[str, _Pool] = {}
        self._lock = threading.Lock()

    def prepare(self, *, stream: bool) -> None:
        self._pool("THROUGHPUT" if stream else "LATENCY")

    def infer(self, samples: Samples) -> Samples:
        return self._pool("LATENCY").start(samples, np.empty(self._shape, dtype=self._dtype)).wait()

    def start(self, samples: Samples) -> _OpenVINOPending:
        return self._pool("THROUGHPUT").start(samples, np.empty(self._shape, dtype=self._dtype))

    def layers(self) -> list[Layer]:
        return (self._pools.get("LATENCY") or self._pools.get("THROUGHPUT") or self._pool("LATENCY")).layers()

    def _pool(self, hint: str) -> _Pool:
        with self._lock:
            if hint not in self._pools:
                self._pools[hint] = _Pool(self._compile_for(hint))
            return self._pools[hint]


class _Request:
    """An inference request of a shape, bound to the caller's arrays each time, or to small ones of its own once."""

    def __init__(self, request: Any) -> None:
        self.inference = request
        self._own: tuple[Samples, Samples] | None = None
        self._bound: tuple[Samples, Samples] | None = None

    def start(self, samples: Samples, output: Samples) -> None:
        """Begin; both arrays must stay until `wait` returns."""
        if max(samples.nbytes, output.nbytes) > _COPIED_BYTES:
            # Shared with numpy, so that nothing is copied on the way in or out, unless the samples are read-only, which
            # OpenVINO refuses to share.
            self._bind(np.require(samples, requirements="W"), output)
        else:
            if self._own is None:
                self._own = np.empty_like(samples), np.empty_like(output)
                self._bind(*self._own)
            np.copyto(self._own[0], samples)
        self.inference.start_async()

    def wait(self, output: Samples) -> None:
        """Block until the output given to `start` holds what came of it."""
        self.inference.wait()
        if self._own is not None:
            np.copyto(output, self._own[1])

    def _bind(self, samples: Samples, output: Samples) -> None:
        import openvino

        self._bound = samples, output  # whose memory OpenVINO does not keep
        self.inference.set_input_tensor(openvino.Tensor(samples, shared_memory=True))
        self.inference.set_output_tensor(openvino.Tensor(output, shared_memory=True))


class _Pool:
    """A compiled model and its requests."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._last: _Request | None = None

    def start(self, samples: Samples, output: Samples) -> _OpenVINOPending:
        # A new request where all are busy: OpenVINO queues them, and a caller inside a loop over `stream` never waits
        # for a request that only itself could give back.
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = _Request(self._compiled.create_infer_request())
        request.start(samples, output)
        return _OpenVINOPending(self, request, samples, output)

    def give_back(self, request: _Request) -> None:
        self._last = request
        self._idle.put(request)

    def layers(self) -> list[Layer]:
        milliseconds: dict[str, float] = {}
        if self._last is not None and self._compiled.get_property("PERF_COUNT"):
            for entry in self._last.inference.profiling_info:
                if entry.status == entry.Status.EXECUTED:
                    milliseconds[entry.node_name] = entry.real_time.total_seconds() * 1000
        found = []
        for op in self._compiled.get_runtime_model().get_ordered_ops():
            name = op.get_friendly_name()
            facts = {key: value.astype(str) for key, value in op.get_rt_info().items()}
            made_of = tuple(each for each in facts["originalLayersNames"].split(",") if each)
            # A reorder of no node's is a change of memory layout; of weights it is done once, under a name that varies.
            idle = name not in milliseconds if milliseconds else facts["layerType"] == "Reorder" and not made_of
            if facts["layerType"] in _NO_WORK or idle:
                continue
            found.append(
                Layer(
                    name=name.removesuffix("/WithoutBiases"),
                    type=facts["layerType"],
                    precision=_precision(facts),
                    ms=milliseconds.get(name),
                    made_of=made_of,
                )
            )
        return found


class _OpenVINOPending:
    """Keeps the input alive while it is read, and gives the request back when done."""

    def __init__(self, pool: _Pool, request: _Request, samples: Samples, output: Samples) -> None:
        self._pool, self._request, self._samples, self._output = pool, request, samples, output

    def wait(self) -> Samples:
        self._request.wait(self._output)
        self._pool.give_back(self._request)
        return self._output


def _known_device(core: Any, device: str) -> str:
    if device.upper() == "CPU":
        return "CPU"  # always there; asking for the others would load their plugins, 7 MB that are never used
    available = tuple(core.available_devices)
    name = device.upper()
    if name.split(":")[0] == "AUTO" or name in available or any(each.split(".")[0] == name for each in available):
        return name
    raise UnknownNameError("OpenVINO device on this machine", device, available)


def _configuration(manifest: EngineManifest, options: Options) -> dict[str, Any]:
    config: dict[str, Any] = {}
    # A fp16 engine may run in what the device has, unless it was verified in fp32 alone.
    if "fp32" in (manifest.precision, manifest.precision_run):
        config["INFERENCE_PRECISION_HINT"] = "f32"
    if options.threads is not None:
        config["INFERENCE_NUM_THREADS"] = options.threads
    if options.layer_times:
        config["PERF_COUNT"] = True
    return config


def _precision(facts: dict[str, str]) -> str:
    """The precision of a layer: int8 is said of arithmetic alone, other layers that read bytes have that type."""
    told = facts["runtimePrecision"]
    if told in ("i8", "u8"):
        return "int8" if facts["layerType"] in _MULTIPLY else "uint8"
    return _PRECISIONS.get(told, told)
