"""What a backend offers, and the table of them. Each lives in one file and is imported when an engine needs it."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from postfilter.errors import UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.runtime.manifest import EngineManifest

    Samples = NDArray[Any]  # uint8, or uint16 above 8 bits

__all__ = [
    "BACKENDS",
    "Backend",
    "Compiled",
    "Execution",
    "Layer",
    "Options",
    "Pending",
    "backend_class",
    "load_library",
    "multiplies",
    "usable_cores",
]

BACKENDS: dict[str, str] = {
    "openvino": "postfilter.runtime.ov:OpenVINOBackend",
    "onnxruntime": "postfilter.runtime.ort:OnnxRuntimeBackend",
    "torch": "postfilter.runtime.pt:TorchBackend",
    "tensorrt": "postfilter.runtime.trt:TensorRTBackend",
}
"""Name -> `module:Class`; the class is a `Backend`. A new backend is one file and one line here."""

Shape = tuple[int, int, int, int]
"""(N, C, H, W) of the graph's input, with what it reads besides the picture; H and W multiples of the size multiple.
The output has the picture's channels alone, `EngineManifest.channels`."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an engine is to be run; the same for every backend."""

    bit_depth: int
    """Bits a sample: 8 gives uint8, more gives uint16."""
    device: str
    """The backend's own name of the device."""
    threads: int | None = None
    """CPU threads for all of the engine; None leaves it to the backend (usually every core)."""
    requests: int | None = None
    """Frames that `stream` keeps in flight; None leaves it to the backend."""
    layer_times: bool = False
    """Keep the time of each layer, which costs a little speed; needed by `Compiled.layers`."""
    cuda_graphs: bool = True
    """Replay recorded CUDA graphs where a backend can record them (TensorRT, PyTorch)."""
    compile_network: bool = False
    """Have torch.compile make the network faster, where it measures that it is (PyTorch)."""
    spare_memory: bool = False
    """Give back what only reading and compiling needed, where a backend can (OpenVINO); costs some milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer as the backend executed it."""

    name: str
    type: str
    """The backend's word for what it did, for instance `Convolution`."""
    precision: str
    """`fp32`, `bf16`, `fp16`, `int8`, …: what the arithmetic ran in."""
    ms: float | None = None
    """Time of the last inference in milliseconds; None where layer times are not kept."""
    mmac: float | None = None
    """Million multiply-accumulates, where the backend tells; else they follow from `made_of` and the graph."""
    made_of: tuple[str, ...] = ()
    """Names of the graph's nodes that were fused into it."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What really runs, as the backend tells it."""

    backend_version: str
    device: str
    """The backend's own name of the device, as in the manifest."""
    device_name: str
    """The hardware behind it."""
    precision_run: str
    """The precision in which most of the layers that multiply ran."""
    precision_by_layer: dict[str, str] = field(default_factory=dict)


class Pending(Protocol):
    """An inference under way."""

    def wait(self) -> Samples:
        """Block until it is done; return its output, an array that nobody else holds. Call it once."""
        ...


class Compiled(Protocol):
    """A graph made ready for one shape."""

    def prepare(self, *, stream: bool) -> None:
        """Do what the first `start` (if `stream`) or the first `infer` would otherwise have to do."""
        ...

    def infer(self, samples: Samples) -> Samples:
        """Filter contiguous samples of the compiled shape, as fast as one frame alone can go."""
        ...

    def start(self, samples: Samples) -> Pending:
        """Begin to filter; several may be under way. `samples` must stay unchanged until its `wait` returns."""
        ...

    def layers(self) -> list[Layer]:
        """The executed layers in order; with the times of the last inference where `Options.layer_times` is set."""
        ...


class Backend(Protocol):
    """One way to run an engine's files. Construction reads them and fails on what cannot run here."""

    requests: int
    """Frames that `stream` keeps in flight."""

    def __init__(self, folder: Path, manifest: EngineManifest, options: Options) -> None:
        """Read the engine in `folder`, whose manifest is verified.

        Raises:
            MissingDependencyError: the backend's package is not installed, or broken.
            ArtefactError: the files cannot be read, or not run on this device.
            DeviceError: it needs a GPU, and this machine has none.
            UnknownNameError: no such device here.
        """
        ...

    def compile(self, shape: Shape) -> Compiled:
        """Make the graph ready for one shape."""
        ...

    @property
    def version(self) -> str:
        """The version of the backend's package."""
        ...

    @property
    def device_name(self) -> str:
        """The hardware that it runs on."""
        ...

    def close(self) -> None:
        """Let go of threads and memory."""
        ...


def backend_class(name: str) -> Any:
    """Import and return the class of the backend called `name`.

    Raises:
        UnknownNameError: no such backend; the message lists the known ones.
    """
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, tuple(BACKENDS))
    module, attribute = BACKENDS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def multiplies(kind: str) -> bool:
    """Whether a layer of this type, in any backend's words, is one that multiplies and accumulates."""
    word = kind.lower()
    convolution = "conv" in word and not word.startswith("convert")
    return convolution or "matmul" in word or word == "fullyconnected" or word.endswith("mm")


def usable_cores(threads: int | None = None) -> int:
    """Return `threads` where given, else the number of cores that this process may run on."""
    if threads is not None:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_library(name: str) -> None:
    """Import the package behind a backend, as its first engine would; to tell its cost from the engine's.

    Raises:
        UnknownNameError: no such backend.
        ImportError: the package is not installed, or broken.
    """
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, tuple(BACKENDS))
    importlib.import_module(name)
