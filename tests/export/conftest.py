"""Models with random weights: export must be right whatever the weights are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from postfilter import models
from postfilter.models.weights import save_weights


@pytest.fixture(scope="session")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`weights_of("fastarcnn", residual=True)` -> a weights file whose network changes most samples."""
    made: dict[tuple[str, bool], Path] = {}

    def make(name: str, *, residual: bool = True) -> Path:
        if (name, residual) not in made:
            torch.manual_seed(11)
            network = models.build(name)
            for parameter in network.parameters():
                # Slopes and biases all alike would hide that two of them were exchanged.
                parameter.data += 0.01 * torch.randn_like(parameter)
                if name.startswith("edge") and parameter.dim() == 4:
                    # What PyTorch starts from fades out in a deep network without slopes.
                    parameter.data *= 2.4
            if not residual:
                # Around mid grey rather than around black, where clipping would hide everything.
                network.last.bias.data += 0.5
            path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
            save_weights(network, path, residual=residual)
            made[name, residual] = path
        return made[name, residual]

    return make
