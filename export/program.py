"""A model as a program of torch.export: what the PyTorch backend runs, without the model's own code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter.errors import InputError
from postfilter.export.program_rewrite import with_subpixel_convolutions

if TYPE_CHECKING:
    from postfilter.models import Model

__all__ = ["save_program"]

_PRECISIONS = ("fp32", "fp16", "bf16")


def save_program(
    model: Model,
    path: Path,
    *,
    precision: str,
    device: str,
    size: tuple[int, int] | None = None,
    rewrite: bool = True,
) -> None:
    """Write the program of a model: `models.sample_filter.SampleFilter`, with its weights.

    Its inputs are float32 code values [N, C, H, W], C = `card.input_channels`, and the peak, a float32 scalar; its
    output is float32 code values of the picture's channels. With `bf16` the network's weights and values are bfloat16;
    samples, scaling and the addition stay float32. With `fp16` they are half precision on a GPU; on a CPU it computes
    in float32 from fp16 weights, since half convolutions of torch are over ten times slower there.

    Args:
        model: network, weights and card.
        path: the file to write.
        precision: `fp32`, `fp16` or `bf16`.
        device: torch's name of the device to compute on.
        size: (width, height), rounded up to the size multiple; N, H and W are open where None, N alone where given.
        rewrite: replace transposed convolutions by what they equal; False leaves the network as it is.

    Raises:
        InputError: another precision.
    """
    if precision not in _PRECISIONS:
        raise InputError(
            f"PyTorch engines compute in {', '.join(_PRECISIONS)}, not in {precision}: give one of these, or --backend "
            "openvino, onnxruntime or tensorrt"
        )
    import torch
    from torch.fx.experimental import _config

    from postfilter.models.sample_filter import SampleFilter

    class HalfNetwork(torch.nn.Module):
        """A network in 16 bits between casts."""

        def __init__(self, network: torch.nn.Module, kind: torch.dtype) -> None:
            super().__init__()
            self.network = network
            self.kind = kind

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.network(x.to(self.kind)).float()
            return y

    network = with_subpixel_convolutions(model.network) if rewrite else model.network
    if precision != "fp32":
        kind = torch.float16 if precision == "fp16" else torch.bfloat16
        rounded = copy.deepcopy(network).to(kind)
        in_fp32 = precision == "fp16" and device.lower() == "cpu"
        network = rounded.float() if in_fp32 else HalfNetwork(rounded, kind)
    multiple = model.card.size_multiple
    frames = torch.export.Dim("frames", min=1, max=2**16)
    shape: dict[int, object] = {0: frames}
    if size is None:
        # Two frames of an unequal size: torch.export takes 1 and equal sizes for constants.
        height, width = 24 * multiple, 40 * multiple
        for axis, name in ((2, "height"), (3, "width")):
            blocks = torch.export.Dim(name, min=1, max=2**16)
            shape[axis] = multiple * blocks if multiple > 1 else blocks
    else:
        height, width = (-(-side // multiple) * multiple for side in reversed(size))
    example = torch.zeros(2, model.card.input_channels, height, width)
    reference = SampleFilter(network, residual=model.card.residual).eval()
    # Without this, sizes of 1 inside the network (a frame of one block) are shut out by a guard of the program.
    with _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        program = torch.export.export(
            reference, (example, torch.tensor(255.0)), dynamic_shapes={"samples": shape, "peak": None}
        )
    for node in list(program.graph.nodes):
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            # Before each cast, that its input is where it was on export: the CPU.
            program.graph.erase_node(node)
            continue
        # Paths of this machine have no place in a file that is shipped.
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path)
