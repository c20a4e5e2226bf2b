"""Which execution provider of ONNX Runtime runs an engine, and whether it really does.

ONNX Runtime goes on silently where it cannot do as asked: a provider that does not load leaves the whole graph to the
CPU, and a provider without a kernel for a node leaves that node to the CPU. The first is an error here, which names the
missing library; the second is told.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import logging
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postfilter.errors import DeviceError, MissingDependencyError, UnknownNameError
from postfilter.runtime.cuda_probe import CudaDevice, cuda_name, probe_cuda, require_device
from postfilter.runtime.sealed import user_cache
from postfilter.runtime.trt_library import missing_library

__all__ = ["Choice", "choose", "on_the_cpu", "preload", "refused", "require_provider", "why_not_loaded"]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_PROVIDERS = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
_LIBRARIES = {CUDA: "onnxruntime_providers_cuda", TENSORRT: "onnxruntime_providers_tensorrt"}
_INSTALL = (
    "install the CUDA, cuDNN and TensorRT that it was built for (pip install 'onnxruntime-gpu[cuda,cudnn]'), or give "
    "--device cpu"
)
_ELSEWHERE = "run it on the machine with the GPU, or here with --device cpu"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A provider, on one device."""

    provider: str
    """ONNX Runtime's name of the one that shall run the graph."""
    gpu: CudaDevice | None = None
    """The GPU, None for the CPU."""
    cache: Path | None = None
    """Where TensorRT's provider keeps what it built; None where nothing is built."""
    precision: str = "fp32"
    """What was asked for."""

    @property
    def session_providers(self) -> list[tuple[str, dict[str, str]]]:
        """What a session is made with: the providers in order, each with its options."""
        if self.gpu is None:
            return [(CPU, {})]
        # Without this, fp32 convolutions are computed with the 10 bits of TF32.
        cuda = {"device_id": str(self.gpu.index), "use_tf32": "0"}
        if self.provider == CUDA:
            return [(CUDA, cuda)]
        # Without shapes of ours, a plan is built for the shape of the first frame: a video has no other.
        options = {"device_id": str(self.gpu.index)}
        if self.precision != "fp32":
            # The graph says where; up to TensorRT 10 the provider's networks must be allowed to follow it.
            options[f"trt_{self.precision}_enable"] = "1"
        if self.cache is not None:
            kept = str(self.cache)
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": kept}
            options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": kept}
        # What TensorRT does not take runs in CUDA.
        return [(TENSORRT, options), (CUDA, cuda)]


def choose(onnxruntime: Any, device: str, *, precision: str, graph_sha256: str, purpose: str) -> Choice:
    """Return the provider for a device, as far as it is told before a session is made.

    Args:
        onnxruntime: the module.
        device: `cpu`, `cuda:N` or `tensorrt:N`; `cuda` and `tensorrt` are the first GPU.
        precision: of the engine.
        graph_sha256: of its graph: what the cache of TensorRT's provider is for.
        purpose: what needs it, as the subject of a sentence.

    Raises:
        UnknownNameError: no such name, or no such GPU.
        DeviceError: this machine has no NVIDIA GPU.
        MissingDependencyError: this build of ONNX Runtime has no such provider.
    """
    kind = device.lower().partition(":")[0]
    if kind not in _PROVIDERS or not (device.lower() == "cpu" or cuda_name(device)):
        raise UnknownNameError("ONNX Runtime device", device, _known())
    provider = _PROVIDERS[kind]
    if provider == CPU:
        return Choice(provider=CPU)
    gpu = require_device(device, purpose=f"{purpose} on {device}", remedy=_ELSEWHERE)
    available = onnxruntime.get_available_providers()
    if provider not in available:
        told = f"this build of ONNX Runtime {onnxruntime.__version__} has {', '.join(available)}"
        cause = ModuleNotFoundError(told, name="onnxruntime-gpu")
        remedy = (
            "try: pip uninstall onnxruntime, then pip install onnxruntime-gpu (on a Jetson, NVIDIA's build of it), "
            "since one alone may be installed; or give --device cpu"
        )
        raise MissingDependencyError("onnxruntime-gpu", f"{purpose} on {device}", "gpu", cause, remedy=remedy)
    return Choice(
        provider=provider,
        gpu=gpu,
        cache=_cache(onnxruntime, gpu, graph_sha256) if provider == TENSORRT else None,
        precision=precision,
    )


def preload(onnxruntime: Any) -> None:
    """Load CUDA and cuDNN from their Python packages, where that is where they are; else the system's are found."""
    # It prints what it does not find, which may be nothing that is needed; standard output is not its to write on.
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(Exception):
        onnxruntime.preload_dlls()
    if said.getvalue().strip():
        _log.debug("%s", said.getvalue().strip())


def require_provider(onnxruntime: Any, wanted: str, got: Sequence[str], *, purpose: str) -> None:
    """Refuse a session that fell back.

    Args:
        onnxruntime: the module, whose folder holds the providers' libraries.
        wanted: the provider that shall run the graph.
        got: those that the session has, in order.
        purpose: what needs it, as the subject of a sentence.

    Raises:
        DeviceError: the session does not have it; with the library that is missing, where there is one.
    """
    if wanted in got:
        return
    reason = why_not_loaded(Path(onnxruntime.__file__).parent / "capi", wanted) or "it does not say why"
    raise DeviceError(
        f"{purpose} is to run on {wanted}, and ONNX Runtime {onnxruntime.__version__} would silently run it on "
        f"{', '.join(got)} instead: {reason}; {_INSTALL}"
    )


def refused(onnxruntime: Any, wanted: str, error: Exception, *, purpose: str) -> DeviceError:
    """Return the error for a provider that refused a session; see `require_provider` for the arguments."""
    reason = why_not_loaded(Path(onnxruntime.__file__).parent / "capi", wanted) or str(error)
    return DeviceError(
        f"ONNX Runtime {onnxruntime.__version__} cannot run {purpose} on {wanted}: {reason}; make the engine again if "
        f"it is the graph, else {_INSTALL}"
    )


def why_not_loaded(folder: Path, provider: str) -> str:
    """Return why a provider's library cannot be loaded; empty where it can, or where it is none of those known.

    Args:
        folder: `onnxruntime/capi`.
        provider: ONNX Runtime's name of it.
    """
    if provider not in _LIBRARIES:
        return ""
    # The second needs the first, which it does not ask for.
    for stem in ("onnxruntime_providers_shared", _LIBRARIES[provider]):
        name = f"{stem}.dll" if sys.platform == "win32" else f"lib{stem}.so"
        try:
            ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            missing = missing_library(error)
            if not (folder / name).exists():
                return f"{name} is not in {folder}"
            return f"the library {missing} is missing or cannot be loaded ({error})" if missing else str(error)
    return ""


def on_the_cpu(session: Any) -> dict[str, int]:
    """Return the types of the nodes that a session leaves to the CPU, with their number; empty where it does not tell.

    Args:
        session: made with the entry `session.record_ep_graph_assignment_info` set to 1.
    """
    # Since ONNX Runtime 1.24; older ones tell it in a profile alone.
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    assigned = session.get_provider_graph_assignment_info()
    return dict(Counter(node.op_type for each in assigned if each.ep_name == CPU for node in each.get_nodes()))


def _cache(onnxruntime: Any, gpu: CudaDevice, graph_sha256: str) -> Path:
    """A folder for one graph on one kind of GPU: ONNX Runtime itself tells versions of TensorRT apart."""
    told = (onnxruntime.__version__, gpu.name, gpu.compute_capability, probe_cuda().driver, graph_sha256)
    label = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    return user_cache() / "onnxruntime-tensorrt" / f"{label}-{hashlib.sha256(repr(told).encode()).hexdigest()[:16]}"


def _known() -> tuple[str, ...]:
    gpus = [each.index for each in probe_cuda().devices] or [0]
    return ("cpu", *(f"{kind}:{index}" for kind in ("cuda", "tensorrt") for index in gpus))
