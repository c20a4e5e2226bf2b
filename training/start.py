"""What a run starts from: a network that changes almost nothing, or one that has learned something already."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from postfilter.models.edge import Edge
from postfilter.models.weights import load_into

__all__ = ["folded_to_luma", "shown_neighbours", "start_as_identity", "start_from"]

# BT.601: how much of R', G' and B' is luma.
LUMA = (0.299, 0.587, 0.114)


def start_as_identity(network: nn.Module) -> None:
    """Initialise a residual network so that it starts out changing almost nothing.

    Hidden layers by He et al. 2015 for PReLU's initial slope of 0.25; the last layer a hundredth of that, so that the
    first steps learn the correction instead of unlearning noise.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, a=0.25, nonlinearity="leaky_relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layers[-1].weight.mul_(0.01)


def start_from(network: nn.Module, path: Path, *, model: str) -> None:
    """Read weights into a network; those of the RGB form of a luma network are folded, those of one frame reach three.

    Args:
        network: to be trained.
        path: a weights file.
        model: the network's name, for messages.

    Raises:
        WeightsError: the file is absent, damaged or of another network.
    """
    load_into(network, path, model=model, adapt=lambda state: shown_neighbours(folded_to_luma(state, network), network))


def folded_to_luma(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return an RGB network's weights as the luma network that does the same to grey pictures.

    Grey has the same samples in all channels, so the first layer's weights are summed over its inputs; the last layer's
    outputs are weighed to luma. Weights of any other shape are returned as they are.

    Args:
        state: [out, in, k, k] or, for a transposed convolution, [in, out, k, k] tensors by parameter name.
        network: the luma network.
    """
    wanted = network.state_dict()
    folded = dict(state)
    shares = torch.tensor(LUMA)
    for key, value in state.items():
        if key not in wanted or value.shape == wanted[key].shape:
            continue
        for axis, (got, needed) in enumerate(zip(value.shape, wanted[key].shape, strict=False)):
            if (got, needed) == (3, 1):
                is_input = key.startswith("base.")
                weighed = value if is_input else value.movedim(axis, -1).mul(shares).movedim(-1, axis)
                folded[key] = weighed.sum(dim=axis, keepdim=True)
    return folded


def shown_neighbours(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return an edge network's weights for one that is shown the neighbours of the frame too, and ignores them as yet.

    Weights of any other network are returned as they are.

    Args:
        state: tensors by parameter name.
        network: the one that reads three frames.
    """
    key = "layers.0.weight"
    if not isinstance(network, Edge) or key not in state:
        return state
    weight, wanted = state[key], network.state_dict()[key]
    own, neighbours = (
        count * network.unshuffle**2 for count in (network.channels, network.pictures - network.channels)
    )
    if weight.shape[0] != wanted.shape[0] or weight.shape[1] + neighbours != wanted.shape[1]:
        return state
    blind = torch.zeros(weight.shape[0], neighbours, *weight.shape[2:])
    return state | {key: torch.cat([weight[:, :own], blind, weight[:, own:]], dim=1)}
