"""A model as a program of torch.export: what the PyTorch backend runs, without the model's own code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postfilter.models import Model

__all__ = ["save_program"]


def save_program(model: Model, path: Path, *, precision: str, device: str, size: tuple[int, int] | None = None) -> None:
    """Write the program of a model: `models.sample_filter.SampleFilter`, with its weights.

    Its inputs are float32 code values [N, C, H, W] and the peak, a float32 scalar; its output is float32 code values of
    the same shape. With `fp16` the weights are half precision and on a GPU the network computes in it; on a CPU it
    computes in float32, since torch's half convolutions are over ten times slower there.

    Args:
        model: network, weights and card.
        path: the file to write.
        precision: `fp32` or `fp16`.
        device: torch's name of the device to compute on.
        size: (width, height), rounded up to the size multiple; N, H and W are open where None, N alone where given.
    """
    import torch
    from torch.fx.experimental import _config

    from postfilter.models.sample_filter import SampleFilter

    class HalfNetwork(torch.nn.Module):
        """A network in half precision between casts."""

        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.network(x.half()).float()
            return y

    network = model.network
    if precision == "fp16":
        rounded = copy.deepcopy(model.network).half()
        network = rounded.float() if device.lower() == "cpu" else HalfNetwork(rounded)
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
    example = torch.zeros(2, model.card.channels, height, width)
    reference = SampleFilter(network, residual=model.card.residual).eval()
    # Without this, sizes of 1 inside the network (a frame of one block) are shut out by a guard of the program.
    with _config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        program = torch.export.export(
            reference, (example, torch.tensor(255.0)), dynamic_shapes={"samples": shape, "peak": None}
        )
    for node in program.graph.nodes:
        # Paths of this machine have no place in a file that is shipped.
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path)
