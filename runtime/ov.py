"""OpenVINO: the default backend."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError, MissingDependencyError, UnknownNameError
from postfilter.runtime.backend import Layer, Options, Shape
from postfilter.runtime.bit_depth import sample_type, with_bit_depth
from postfilter.runtime.manifest import GRAPH, EngineManifest

if TYPE_CHECKING:
    from postfilter.runtime.backend import Samples

__all__ = ["OpenVINOBackend"]

_NO_WORK = ("Const", "Input", "Output", "Parameter", "Reshape", "Result")
"""Nodes of the executed graph that are done once or move nothing."""

_PRECISIONS = {"f32": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8"}


class OpenVINOBackend:
    """Reads `model.onnx` and compiles it for each shape seen: the CPU plugin runs static shapes faster than dynamic."""

    def __init__(self, folder: Path, manifest: EngineManifest, options: Options) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingDependencyError("openvino", f"the engine {folder}", "export", error) from error
        self._core = openvino.Core()
        self._options = options
        self._device = _known_device(self._core, options.device)
        self._config = _configuration(manifest, options)
        self._dtype = np.dtype(sample_type(options.bit_depth))
        graph = _graph_bytes(folder / GRAPH, manifest, options)
        try:
            self._model = self._core.read_model(graph)
        except RuntimeError as error:
            raise ArtefactError(f"OpenVINO cannot read {folder / GRAPH} ({error}); make the engine again") from error

    def compile(self, shape: Shape) -> _OpenVINOCompiled:
        """Reshape a copy of the graph to `shape` and compile it."""
        model = self._model.clone()
        try:
            model.reshape(list(shape))
            compiled = self._core.compile_model(model, self._device, self._config)
        except RuntimeError as error:
            raise ArtefactError(
                f"OpenVINO {self.version} cannot compile the graph for {shape} on {self._device} ({error}); try "
                "--backend onnxruntime"
            ) from error
        return _OpenVINOCompiled(compiled, shape, self._dtype)

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
    """One compiled model and a pool of its requests."""

    def __init__(self, compiled: Any, shape: Shape, dtype: np.dtype[Any]) -> None:
        import openvino

        self._tensor = openvino.Tensor
        self._compiled = compiled
        self._shape = shape
        self._dtype = dtype
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._last: Any = None

    def infer(self, samples: Samples) -> Samples:
        return self.start(samples).wait()

    def start(self, samples: Samples) -> _OpenVINOPending:
        # A new request where all are busy: OpenVINO queues them, and a caller inside a loop over `stream` never waits
        # for a request that only itself could give back.
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        output = np.empty(self._shape, dtype=self._dtype)
        # Both tensors share numpy's memory: nothing is copied on the way in or out.
        request.set_input_tensor(self._tensor(samples, shared_memory=True))
        request.set_output_tensor(self._tensor(output, shared_memory=True))
        request.start_async()
        return _OpenVINOPending(self, request, samples, output)

    def layers(self) -> list[Layer]:
        milliseconds = {}
        if self._last is not None and self._compiled.get_property("PERF_COUNT"):
            for entry in self._last.profiling_info:
                if entry.status == entry.Status.EXECUTED:
                    milliseconds[entry.node_name] = entry.real_time.total_seconds() * 1000
        found = []
        for op in self._compiled.get_runtime_model().get_ordered_ops():
            facts = {key: value.astype(str) for key, value in op.get_rt_info().items()}
            if facts["layerType"] in _NO_WORK:
                continue
            if milliseconds and op.get_friendly_name() not in milliseconds:
                continue
            found.append(
                Layer(
                    name=op.get_friendly_name().removesuffix("/WithoutBiases"),
                    type=facts["layerType"],
                    precision=_precision(facts),
                    ms=milliseconds.get(op.get_friendly_name()),
                    made_of=tuple(name for name in facts["originalLayersNames"].split(",") if name),
                )
            )
        return found

    def _give_back(self, request: Any) -> None:
        self._last = request
        self._idle.put(request)


class _OpenVINOPending:
    """Keeps the input alive while it is read, and gives the request back when done."""

    def __init__(self, home: _OpenVINOCompiled, request: Any, samples: Samples, output: Samples) -> None:
        self._home, self._request, self._samples, self._output = home, request, samples, output

    def wait(self) -> Samples:
        self._request.wait()
        self._home._give_back(self._request)
        return self._output


def _known_device(core: Any, device: str) -> str:
    available = tuple(core.available_devices)
    if device.split(".")[0].split(":")[0] not in {*(name.split(".")[0] for name in available), "AUTO"}:
        raise UnknownNameError("OpenVINO device on this machine", device, available)
    return device


def _configuration(manifest: EngineManifest, options: Options) -> dict[str, Any]:
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    # A fp16 engine that was verified in fp32 alone, since bf16 was too coarse for it, runs in fp32 here too.
    if "fp32" in (manifest.precision, manifest.precision_run):
        config["INFERENCE_PRECISION_HINT"] = "f32"
    if options.threads is not None:
        config["INFERENCE_NUM_THREADS"] = options.threads
    if options.layer_times:
        config["PERF_COUNT"] = True
    return config


def _graph_bytes(path: Path, manifest: EngineManifest, options: Options) -> bytes:
    if options.bit_depth == manifest.bit_depth:
        return path.read_bytes()
    import onnx

    return with_bit_depth(onnx.load(path), options.bit_depth).SerializeToString()


def _precision(facts: dict[str, str]) -> str:
    """The arithmetic's precision: what a layer of samples reads is uint8, but it computes in float."""
    told = facts["runtimePrecision"]
    multiplies = facts["layerType"] in ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
    if told in ("i8", "u8") and not multiplies:
        return "uint8"
    return _PRECISIONS.get(told, told)
