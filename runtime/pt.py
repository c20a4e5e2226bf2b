"""PyTorch: the reference, and a runtime for what PyTorch alone supports."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from postfilter.errors import ArtefactError, MissingDependencyError, UnknownNameError
from postfilter.runtime.backend import Layer, Options, Shape
from postfilter.runtime.bit_depth import sample_type
from postfilter.runtime.manifest import EngineManifest
from postfilter.runtime.measure import best_seconds
from postfilter.runtime.workers import Workers

if TYPE_CHECKING:
    import torch

    from postfilter.runtime.backend import Samples
    from postfilter.runtime.workers import FutureSamples

__all__ = ["PROGRAM", "TorchBackend", "product_tflops"]

PROGRAM = "model.pt2"
"""The program of torch.export inside an engine folder: float32 code values [N, C, H, W] and the peak, a float32 scalar,
in; float32 code values out."""

_REQUESTS = 2

_NO_WORK = {
    "aten::detach_",
    "aten::empty",
    "aten::lift_fresh",
    "aten::detach",
    "aten::resolve_conj",
    "aten::resolve_neg",
}
"""Operators that move and compute nothing."""


class TorchBackend:
    """Runs `model.pt2`. Needs torch and no code of the model; the bit depth is its second input."""

    def __init__(self, folder: Path, manifest: EngineManifest, options: Options) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingDependencyError("torch", f"the engine {folder}", "export", error) from error
        if PROGRAM not in manifest.files:
            raise ArtefactError(f"the engine {folder} has no {PROGRAM}; make it again with --backend torch")
        self._torch = torch
        self.device = _device(torch, options.device)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        try:
            self.module: Any = _module(torch.export.load(folder / PROGRAM)).to(self.device)
        except Exception as error:  # torch.export.load has no error class of its own
            raise ArtefactError(
                f"torch {torch.__version__} cannot read {folder / PROGRAM} ({type(error).__name__}: {error}); make the "
                "engine again with this torch"
            ) from error
        self.dtype = np.dtype(sample_type(options.bit_depth))
        self.peak = torch.tensor(float(2**options.bit_depth - 1), device=self.device)
        self.requests = options.requests or _REQUESTS
        self._workers = Workers(1, name="postfilter-torch")

    def compile(self, shape: Shape) -> _TorchCompiled:
        """Remember the shape; there is nothing to compile."""
        return _TorchCompiled(self, shape)

    @property
    def version(self) -> str:
        """The version of torch."""
        return str(self._torch.__version__)

    @property
    def device_name(self) -> str:
        """The GPU's name, or `CPU`, which torch does not name."""
        return str(self._torch.cuda.get_device_name(self.device)) if self.device.type == "cuda" else "CPU"

    def close(self) -> None:
        """End the worker and let go of the program."""
        self._workers.close()
        self.module = None

    def run(self, samples: Samples) -> Samples:
        """Filter samples: converted to float and back here, since a program cannot be made for every sample type."""
        torch = self._torch
        kind = torch.uint8 if self.dtype == np.uint8 else torch.uint16
        with torch.inference_mode():
            # torch warns of read-only memory, since it cannot keep it so.
            codes = torch.from_numpy(np.require(samples, requirements="W")).to(self.device, torch.float32)
            try:
                filtered = self.module(codes, self.peak)
            except RuntimeError as error:
                raise ArtefactError(
                    f"torch {self.version} cannot run the program on planes of shape {samples.shape} ({error}); make "
                    "the engine again with --size dynamic"
                ) from error
            result: Samples = filtered.to(kind).contiguous().cpu().numpy()
        return result

    def precision(self) -> str:
        """The type of the weights, which is what the network computes in."""
        halves = any(each.dtype == self._torch.float16 for each in self.module.parameters())
        return "fp16" if halves else "fp32"

    def start(self, samples: Samples) -> FutureSamples:
        """Filter in the worker."""
        return self._workers.start(self.run, samples)


def product_tflops(*, device: str, precision: str, seconds: float) -> float:
    """Measure torch's arithmetic rate in TFLOP/s on a product of square matrices, for about `seconds`.

    Args:
        device: torch's name of the device.
        precision: `fp32`, `fp16` or `bf16`.
        seconds: how long to measure; one run is made in any case.
    """
    import torch

    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)

    def rate(side: int, seconds: float) -> float:
        left = torch.ones(side, side, dtype=kind, device=device.lower())

        def multiply() -> None:
            product = left @ left
            if product.is_cuda:
                torch.cuda.synchronize()

        return float(2 * side**3 / best_seconds(multiply, seconds))

    with torch.inference_mode():
        # A CPU without fp16 arithmetic is a thousand times slower at it than in float32: no large product then.
        slow = rate(256, 0.0) < 5e9
        return rate(256 if slow else 2048, seconds) / 1e12


class _TorchCompiled:
    """The program, for one shape."""

    def __init__(self, backend: TorchBackend, shape: Shape) -> None:
        self._backend = backend
        self._shape = shape
        self._ran = False

    def prepare(self, *, stream: bool) -> None:
        """Run once: torch chooses and caches its kernels on the first frame of a shape."""
        self.infer(np.zeros(self._shape, dtype=self._backend.dtype))

    def infer(self, samples: Samples) -> Samples:
        self._ran = True
        return self._backend.run(samples)

    def start(self, samples: Samples) -> FutureSamples:
        return self._backend.start(samples)

    def layers(self) -> list[Layer]:
        """The operators that the program calls, in order, from torch's profiler; a shape's first run is left out."""
        from torch.profiler import ProfilerActivity, profile

        if not self._ran:
            self.prepare(stream=False)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True) as profiler:
            self.prepare(stream=False)
        precision = self._backend.precision()
        found: list[Layer] = []
        for event in sorted(profiler.events(), key=lambda each: each.time_range.start):
            parent = event.cpu_parent
            inner = parent is not None and parent.name.startswith("aten::")
            if inner or not event.name.startswith("aten::") or event.name in _NO_WORK:
                continue
            mmac = _mmac(event.name, event.input_shapes, event.flops)
            found.append(
                Layer(
                    name=f"{event.name.removeprefix('aten::')}_{len(found)}",
                    type=event.name.removeprefix("aten::"),
                    precision=precision if mmac else "fp32",
                    ms=event.cpu_time_total / 1000,
                    mmac=mmac,
                )
            )
        return found


def _module(program: Any) -> Any:
    """Return the program as a module, without the guards that newer torch adds.

    They refuse sides that shrink to 1 inside, which run as well as any; and the engine has checked the shape.
    """
    optional = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
    return program.module(**optional)


def _device(torch: Any, device: str) -> torch.device:
    known = ("cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count())))
    name = device.lower()
    if name not in known and not (name == "cuda" and len(known) > 1):
        raise UnknownNameError("torch device on this machine", device, known)
    return torch.device(name)


def _mmac(operator: str, shapes: list[list[int]], flops: int) -> float | None:
    """Million multiply-accumulates of one call. The profiler counts FLOP, but none for a transposed convolution."""
    if operator in ("aten::conv_transpose2d", "aten::convolution") and len(shapes) > 1 and len(shapes[0]) == 4:
        frames, _, height, width = shapes[0]
        return frames * height * width * float(np.prod(shapes[1])) / 1e6
    return flops / 2e6 if "conv" in operator or "mm" in operator else None
