"""The networks, their cards and their weights. The cards are read without torch; `load` imports it."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter.errors import MissingDependencyError, WeightsError
from postfilter.models.card import Layout, ModelCard
from postfilter.models.registry import card, names

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Layout", "Model", "ModelCard", "build", "card", "load", "names"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network with its weights and its card, in evaluation mode on the CPU."""

    card: ModelCard
    network: nn.Module
    """Maps float [N, C, H, W] in 0..1, C = `card.input_channels`, to the correction of the picture's channels (or to
    the picture: `card.residual`)."""
    weights_sha256: str
    """Over the parameters' names, shapes and values: the same whatever file they came from."""


def build(name: str) -> nn.Module:
    """Return the network called `name`, with fresh random weights, in training mode.

    Raises:
        UnknownNameError: no such model.
        MissingDependencyError: torch is not installed.
    """
    found = card(name)
    module, attribute = found.architecture.split(":")
    further = {"inputs": found.inputs} if found.inputs else {}
    try:
        network: nn.Module = getattr(importlib.import_module(module), attribute)(
            channels=found.channels, **found.settings, **further
        )
    except ImportError as error:
        raise MissingDependencyError("torch", f"the model {name}", "export", error) from error
    return network


def load(name: str, *, weights: Path | None = None, residual: bool | None = None) -> Model:
    """Return the model called `name` with its trained weights.

    Args:
        name: one of `names()`.
        weights: a user's own file; the shipped weights where None. Raw state dicts carry no mark of how they were
            trained, so without `residual` they are taken as most public checkpoints are: the output is the picture.
            Files that `train-model` wrote carry the mark.
        residual: whether the network's output is added to its input; None takes what the file or the card says.

    Raises:
        UnknownNameError: no such model.
        WeightsError: the file is absent, damaged or belongs to another network.
        MissingDependencyError: torch is not installed.
    """
    model_card = card(name)
    network = build(name)
    from postfilter.models.weights import load_into, reads_as_residual, sha256_of

    path = weights or model_card.weights_path
    if weights is None and not path.exists():
        raise WeightsError(
            f"{name} ships without trained weights; give your own with --weights, or run train-model {name}"
        )
    load_into(network, path, model=name)
    if residual is None:
        residual = model_card.residual if weights is None else reads_as_residual(path)
    network.eval().requires_grad_(False)
    return Model(
        card=dataclasses.replace(model_card, residual=residual), network=network, weights_sha256=sha256_of(network)
    )
