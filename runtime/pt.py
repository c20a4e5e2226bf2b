"""PyTorch: the reference, and a runtime for what PyTorch alone supports."""

from __future__ import annotations

import inspect
import logging
import queue
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError, DeviceError, MissingDependencyError, UnknownNameError
from postfilter.runtime.backend import Layer, Options, Shape
from postfilter.runtime.bit_depth import sample_type
from postfilter.runtime.cuda_probe import require_device
from postfilter.runtime.manifest import EngineManifest
from postfilter.runtime.measure import best_seconds
from postfilter.runtime.pt_layers import layers_of
from postfilter.runtime.pt_slot import Slot
from postfilter.runtime.workers import Workers

if TYPE_CHECKING:
    import torch

    from postfilter.runtime.backend import Samples
    from postfilter.runtime.workers import FutureSamples

__all__ = ["PROGRAM", "TorchBackend"]

PROGRAM = "model.pt2"
"""The program of torch.export inside an engine folder: float32 code values [N, C, H, W] and the peak, a float32 scalar,
in; float32 code values out, of the picture's channels alone."""

_REQUESTS = {"cpu": 2, "cuda": 3}
"""On a GPU one frame is on its way in, one computed, one on its way out."""

_WORTH = 1.03
"""How many times faster a compiled network must be to take the program's place."""
_COMPARE_SECONDS = 0.5

_log = logging.getLogger(__name__)


class TorchBackend:
    """Runs `model.pt2`. Needs torch and no code of the model; the bit depth is its second input.

    Weights and activations are kept in channels-last order. Measured on two AVX-512 cores with BF16, Fast ARCNN in
    720x480: 89 ms against 72 in fp32, 40 against 32 in bf16; it is also what the tensor cores of GPUs compute in.
    """

    def __init__(self, folder: Path, manifest: EngineManifest, options: Options) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingDependencyError("torch", f"the engine {folder}", "export", error) from error
        if PROGRAM not in manifest.files:
            raise ArtefactError(f"the engine {folder} has no {PROGRAM}; make it again with --backend torch")
        self._torch = torch
        self._options = options
        self.device = _device(torch, options.device, purpose=f"the engine {folder}")
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        try:
            program = _module(torch.export.load(folder / PROGRAM))
            self.module: Any = program.to(self.device, memory_format=torch.channels_last)
        except Exception as error:  # torch.export.load has no error class of its own
            raise ArtefactError(
                f"torch {torch.__version__} cannot read {folder / PROGRAM} ({type(error).__name__}: {error}); make the "
                "engine again with this torch"
            ) from error
        self.dtype = np.dtype(sample_type(options.bit_depth))
        self._channels = manifest.channels
        self.peak = torch.tensor(float(2**options.bit_depth - 1), device=self.device)
        if self.on_gpu:
            torch.cuda.synchronize(self.device)  # the slots have streams of their own
        self.requests = options.requests or _REQUESTS[self.device.type]
        self._workers = Workers(1, name="postfilter-torch")
        self._chosen: dict[tuple[int, ...], Any] = {}

    def compile(self, shape: Shape) -> _TorchCompiled:
        """Make ready for a shape: on a GPU the buffers and the CUDA graph are made when they are first needed."""
        return _TorchCompiled(self, shape)

    @property
    def version(self) -> str:
        """The version of torch."""
        return str(self._torch.__version__)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device.type == "cuda"

    @property
    def device_name(self) -> str:
        """The GPU's name, or `CPU`, which torch does not name."""
        return str(self._torch.cuda.get_device_name(self.device)) if self.on_gpu else "CPU"

    def close(self) -> None:
        """End the worker and let go of the program."""
        self._workers.close()
        self.module = None
        self._chosen.clear()

    def run(self, samples: Samples, module: Any = None) -> Samples:
        """Filter samples on the CPU, or on a GPU call by call; with another module than the shape's own where given.

        They are converted to float and back here, since a program cannot be made for every sample type.
        """
        torch = self._torch
        kind = torch.uint8 if self.dtype == np.uint8 else torch.uint16
        network = self.network(samples.shape) if module is None else module

        def filtered() -> Samples:
            with torch.inference_mode():
                # torch warns of read-only memory, since it cannot keep it so.
                codes = torch.from_numpy(np.require(samples, requirements="W")).to(self.device, torch.float32)
                output = network(codes.contiguous(memory_format=torch.channels_last), self.peak)
                result: Samples = output.to(kind).contiguous().cpu().numpy()
            return result

        return self.guarded(samples.shape, filtered)

    def slot(self, shape: Shape, module: Any = None) -> Slot:
        """Make buffers, a stream and a CUDA graph for one inference of `shape` at a time on the GPU."""
        network = self.network(shape) if module is None else module
        return self.guarded(
            shape,
            lambda: Slot(
                network,
                peak=self.peak,
                shape=shape,
                channels=self._channels,
                dtype=self.dtype,
                device=self.device,
                cuda_graph=self._options.cuda_graphs,
            ),
        )

    def guarded(self, shape: tuple[int, ...], work: Callable[[], Any]) -> Any:
        """Return what `work` returns; what torch raises is told as what it means.

        Raises:
            DeviceError: the GPU has too little memory, or fails.
            ArtefactError: the program does not take the shape.
        """
        try:
            return work()
        except RuntimeError as error:
            if self.on_gpu and ("CUDA" in str(error) or isinstance(error, self._torch.OutOfMemoryError)):
                raise DeviceError(
                    f"{self.device_name} fails on planes of shape {shape} ({str(error).splitlines()[0]}); close other "
                    "programs that use the GPU, or give fewer requests or smaller frames"
                ) from error
            raise ArtefactError(
                f"torch {self.version} cannot run the program on planes of shape {shape} ({error}); make the engine "
                "again with --size dynamic"
            ) from error

    def network(self, shape: tuple[int, ...]) -> Any:
        """Return the program, or torch.compile's form of it where `Options.compile_network` asks and it is faster."""
        if not self._options.compile_network:
            return self.module
        if shape not in self._chosen:
            self._chosen[shape] = self._faster(shape)
        return self._chosen[shape]

    def precision(self) -> str:
        """The type of the weights, which is what the network computes in."""
        names = {self._torch.float16: "fp16", self._torch.bfloat16: "bf16"}
        return next((names[each.dtype] for each in self.module.parameters() if each.dtype in names), "fp32")

    def start(self, samples: Samples) -> FutureSamples:
        """Filter in the worker."""
        return self._workers.start(self.run, samples)

    def _faster(self, shape: tuple[int, ...]) -> Any:
        """Compile the program for a shape and measure both: on a CPU the gain is often less than the noise."""
        samples = np.zeros(shape, dtype=self.dtype)
        compiled = self._torch.compile(self.module, dynamic=False)
        seconds = []
        for module in (self.module, compiled):
            try:
                seconds.append(best_seconds(self._runner(module, samples), _COMPARE_SECONDS))
            except Exception as error:  # a compiler that is missing, or fails in one of many ways
                if module is self.module:
                    raise
                _log.warning("running without torch.compile, which failed: %s", str(error).splitlines()[0])
                return self.module
        paid = seconds[0] / seconds[1]
        _log.info("torch.compile makes the network %.2f times as fast at %s", paid, shape)
        return compiled if paid >= _WORTH else self.module

    def _runner(self, module: Any, samples: Samples) -> Callable[[], object]:
        if not self.on_gpu:
            return lambda: self.run(samples, module)
        frames, channels, height, width = samples.shape
        slot = self.slot((frames, channels, height, width), module)

        def replay() -> None:
            slot.start(samples)
            slot.finish()

        return replay


class _TorchCompiled:
    """The program, for one shape."""

    def __init__(self, backend: TorchBackend, shape: Shape) -> None:
        self.backend = backend
        self._shape = shape
        self._ran = False
        self._idle: queue.SimpleQueue[Slot] = queue.SimpleQueue()

    def prepare(self, *, stream: bool) -> None:
        """Run once, or on a GPU make the slots: kernels are chosen and recorded on the first frame of a shape."""
        if self.backend.on_gpu:
            for slot in [self.take() for _ in range(self.backend.requests if stream else 1)]:
                self.give_back(slot)
        else:
            self.infer(np.zeros(self._shape, dtype=self.backend.dtype))

    def infer(self, samples: Samples) -> Samples:
        self._ran = True
        return _OnGpu(self, samples).wait() if self.backend.on_gpu else self.backend.run(samples)

    def start(self, samples: Samples) -> FutureSamples | _OnGpu:
        return _OnGpu(self, samples) if self.backend.on_gpu else self.backend.start(samples)

    def layers(self) -> list[Layer]:
        """The operators that the program calls, in order, from torch's profiler; a shape's first run is left out."""
        from torch.profiler import ProfilerActivity, profile

        samples = np.zeros(self._shape, dtype=self.backend.dtype)
        if not self._ran:
            self.backend.run(samples, self.backend.module)
            self._ran = True
        on_gpu = self.backend.on_gpu
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with profile(activities=activities, record_shapes=True, with_flops=True) as profiler:
            self.backend.run(samples, self.backend.module)
        return layers_of(profiler.events() or (), precision=self.backend.precision(), on_gpu=on_gpu)

    def take(self) -> Slot:
        """Return a slot that nobody uses, a new one where all are busy."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self.backend.slot(self._shape)

    def give_back(self, slot: Slot) -> None:
        """Let others use a slot, whose result has been taken."""
        self._idle.put(slot)


class _OnGpu:
    """An inference under way in a slot; a `runtime.backend.Pending`."""

    def __init__(self, compiled: _TorchCompiled, samples: Samples) -> None:
        self._compiled = compiled
        self._slot = compiled.take()
        compiled.backend.guarded(samples.shape, lambda: self._slot.start(samples))

    def wait(self) -> Samples:
        """Block until it is done; return its output."""
        filtered: Samples = self._compiled.backend.guarded((), self._slot.finish)
        self._compiled.give_back(self._slot)
        return filtered


def _module(program: Any) -> Any:
    """Return the program as a module, without the guards that newer torch adds.

    They refuse sides that shrink to 1 inside, which run as well as any; and the engine has checked the shape.
    """
    optional = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
    return program.module(**optional)


def _device(torch: Any, device: str, *, purpose: str) -> torch.device:
    name = device.lower()
    if name.startswith("cuda") and not torch.cuda.is_available():
        # Told in this order: without a GPU, another torch does not help.
        found = require_device(name, purpose=f"{purpose} on {device}", remedy="run it there, or here with --device cpu")
        if torch.version.cuda is None:
            cause = ModuleNotFoundError(f"torch {torch.__version__} is built for CPUs alone", name="torch with CUDA")
            remedy = "install one with CUDA, see pytorch.org; or give --device cpu"
            raise MissingDependencyError("torch with CUDA", f"{purpose} on {device}", None, cause, remedy=remedy)
        raise DeviceError(
            f"torch {torch.__version__}, built for CUDA {torch.version.cuda}, cannot use {found.name}: update the "
            "driver, or install a torch for the CUDA that it serves; or give --device cpu"
        )
    known = ("cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count())))
    name = "cuda:0" if name == "cuda" else name
    if name not in known:
        raise UnknownNameError("torch device on this machine", device, known)
    return torch.device(name)
