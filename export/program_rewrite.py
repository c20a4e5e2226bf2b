"""What `export.passes.subpixel` does to a graph, done to a PyTorch network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from postfilter.export.passes.subpixel import Axis, subpixel_weight

if TYPE_CHECKING:
    import torch

__all__ = ["with_subpixel_convolutions"]


def with_subpixel_convolutions(network: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a network that computes the same without its transposed convolutions.

    One is replaced where it has one stride of at least 2 for both axes, no dilation, one group, and needs no cropping
    and the same padding on both sides, as those of the models here; others are left alone. Measured on two AVX-512
    cores with BF16, Fast ARCNN in 720x480: 66 ms against 52 in fp32, 36 against 25 in bf16.
    """
    import torch

    made = copy.deepcopy(network)
    for name, module in list(made.named_modules()):
        replacement = _replacement(module) if isinstance(module, torch.nn.ConvTranspose2d) else None
        if replacement is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(made.get_submodule(parent), attribute, replacement)
    return made


def _replacement(module: torch.nn.ConvTranspose2d) -> torch.nn.Module | None:
    import torch

    stride = module.stride[0]
    if module.stride != (stride, stride) or stride < 2 or module.dilation != (1, 1) or module.groups != 1:
        return None
    rows, columns = (
        Axis(
            kernel=module.kernel_size[axis],
            stride=stride,
            begin=int(module.padding[axis]),
            end=int(module.padding[axis]),
            output_padding=module.output_padding[axis],
        )
        for axis in range(2)
    )
    if any(axis.surplus or axis.pads[0] != axis.pads[1] or axis.pads[0] < 0 for axis in (rows, columns)):
        return None
    weight = torch.from_numpy(subpixel_weight(module.weight.detach().numpy(), rows, columns))
    convolution = torch.nn.Conv2d(
        module.in_channels,
        weight.shape[0],
        (rows.taps, columns.taps),
        padding=(rows.pads[0], columns.pads[0]),
        bias=module.bias is not None,
    )
    convolution.weight = torch.nn.Parameter(weight, requires_grad=False)
    if module.bias is not None:
        bias = module.bias.detach().repeat_interleave(stride**2)
        convolution.bias = torch.nn.Parameter(bias, requires_grad=False)
    return torch.nn.Sequential(convolution, torch.nn.PixelShuffle(stride))
