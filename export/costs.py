"""What a model costs: parameters, multiply-accumulates, memory; the slides' figures and the true ones beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postfilter.errors import InputError
from postfilter.models import build, card

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["SLIDES_FPS", "SLIDES_INPUTS", "SLIDES_MODELS", "Cost", "cost", "slides_rows"]

SLIDES_MODELS = ("arcnn", "fastarcnn")
SLIDES_INPUTS = {"480p30": (720, 480), "720p30": (1280, 720), "1080p30": (1920, 1080)}
"""The slides' rows: (width, height)."""
SLIDES_FPS = 30

_FLOAT_BYTES = 4
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of filtering frames of one size with one model in float32."""

    model: str
    width: int
    height: int
    params: int
    """Weights, biases and PReLU slopes."""
    kmac_per_px: float
    """True multiply-accumulates, in thousands, for each sample of the full-resolution plane (luma's, not one a
    channel). The products of convolutions, borders counted as if they were inside; no biases, no activations."""
    slides_tflops: float
    """The slides' figure at `SLIDES_FPS` frames a second: weights and biases of each convolution times the samples of
    its *output* plane, counted once (a multiply-accumulate is one), in 1e12. For a transposed convolution that is
    stride squared times the true number."""
    slides_mem_mb: float
    """The slides' figure, in MiB: the input, every layer's output twice (value and gradient), and the parameters."""
    activation_mb: float
    """MiB that one frame's inference needs at the least: the largest input and output of a convolution together."""

    def true_tflops(self, fps: float = SLIDES_FPS) -> float:
        """Floating-point operations a second at `fps` frames a second, in 1e12; a multiply-accumulate is two."""
        return 2 * self.kmac_per_px * 1e3 * self.width * self.height * fps / 1e12

    def as_json(self) -> dict[str, Any]:
        """Return what `engine.json` holds under `cost`."""
        return {
            "params": self.params,
            "kmac_per_px": self.kmac_per_px,
            "width": self.width,
            "height": self.height,
            "fps": SLIDES_FPS,
            "true_tflops": self.true_tflops(),
            "activation_mb": self.activation_mb,
            "slides": {"tflops": self.slides_tflops, "mem_mb": self.slides_mem_mb},
        }


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One layer as it ran; planes and volumes are those of one frame."""

    taps: int
    """Weights of a convolution, 0 for another layer."""
    biases: int
    transposed: bool
    input_plane: int
    input_samples: int
    output_plane: int
    output_samples: int

    @property
    def macs(self) -> int:
        """Each weight meets each sample of the smaller plane: a transposed convolution's input, another's output."""
        return self.taps * (self.input_plane if self.transposed else self.output_plane)


def cost(name: str, width: int, height: int) -> Cost:
    """Return the cost of the model called `name` for frames of one size.

    Derived from the network itself: its layers are run on tensors that have shapes and no values, so neither trained
    weights nor time are needed. Sizes are rounded up to the model's size multiple, as when it runs.

    Raises:
        UnknownNameError: no such model.
        InputError: a size below 1.
        MissingDependencyError: torch is not installed.
    """
    if width < 1 or height < 1:
        raise InputError(f"got a frame size of {width}x{height}; width and height are at least 1")
    multiple = card(name).size_multiple
    width, height = -(-width // multiple) * multiple, -(-height // multiple) * multiple
    network = build(name)
    layers = list(_layers(network, channels=card(name).input_channels, width=width, height=height))
    params = sum(each.numel() for each in network.parameters())
    convolutions = [each for each in layers if each.taps]
    counted = sum((each.taps + each.biases) * each.output_plane for each in convolutions)
    numbers = layers[0].input_samples + 2 * sum(each.output_samples for each in layers) + params
    return Cost(
        model=name,
        width=width,
        height=height,
        params=params,
        kmac_per_px=sum(each.macs for each in convolutions) / (width * height) / 1e3,
        slides_tflops=counted * SLIDES_FPS / 1e12,
        slides_mem_mb=numbers * _FLOAT_BYTES / _MIB,
        activation_mb=max(each.input_samples + each.output_samples for each in convolutions) * _FLOAT_BYTES / _MIB,
    )


def slides_rows() -> list[dict[str, Any]]:
    """Return the rows of the slides' table, with the true figures beside them.

    Returns:
        One dictionary a model and size: `model`, `input` (such as `480p30`), `width`, `height`, `params`, `tflops` and
        `mem_mb` by the slides' rules, `true_tflops`, `kmac_per_px` and `activation_mb`.

    Raises:
        MissingDependencyError: torch is not installed.
    """
    rows = []
    for model in SLIDES_MODELS:
        for label, (width, height) in SLIDES_INPUTS.items():
            each = cost(model, width, height)
            rows.append(
                {
                    "model": model,
                    "input": label,
                    "width": width,
                    "height": height,
                    "params": each.params,
                    "tflops": each.slides_tflops,
                    "mem_mb": each.slides_mem_mb,
                    "true_tflops": each.true_tflops(),
                    "kmac_per_px": each.kmac_per_px,
                    "activation_mb": each.activation_mb,
                }
            )
    return rows


def _layers(network: nn.Module, *, channels: int, width: int, height: int) -> Iterable[_Layer]:
    """Run the network on a frame of torch's meta device, which has shapes and no values; return its layers in order."""
    import torch

    ran: list[_Layer] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        taps = biases = 0
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            taps = module.weight.numel()
            biases = 0 if module.bias is None else module.bias.numel()
        ran.append(
            _Layer(
                taps=taps,
                biases=biases,
                transposed=isinstance(module, torch.nn.ConvTranspose2d),
                input_plane=inputs[0].shape[-2] * inputs[0].shape[-1],
                input_samples=inputs[0].numel(),
                output_plane=output.shape[-2] * output.shape[-1],
                output_samples=output.numel(),
            )
        )

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        # In evaluation mode every network runs its layers as modules; in training some take a faster way round them.
        with torch.no_grad():
            network.to("meta").eval()(torch.empty(1, channels, height, width, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return ran
