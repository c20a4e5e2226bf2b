"""A model as a filter of samples, against its reference and its inputs."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from postfilter import models
from postfilter.errors import InputError
from postfilter.models import Model
from postfilter.models.network_filter import NetworkFilter


class Shows(nn.Module):
    """Gives the last channel of what it is given: the further input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x[:, -1:] * self.scale


def model(network: nn.Module, **changes) -> Model:
    card = dataclasses.replace(models.card("fastarcnn-luma"), **changes)
    return Model(card=card, network=network, weights_sha256="")


def test_the_qp_stands_behind_the_picture_as_engines_pack_it():
    picture = np.zeros((1, 1, 19, 33), np.uint8)
    filter_ = NetworkFilter(model(Shows(), inputs=("qp",), defaults={"qp": 37}, residual=False))
    assert (filter_(picture) == 185).all()
    levels = np.array([[[0, 10, 20], [30, 51, 60]]], np.float32)
    shown = filter_(picture, inputs={"qp": levels})
    assert shown.shape == picture.shape
    assert [shown[0, 0, 0, 0], shown[0, 0, 15, 16], shown[0, 0, 0, 32]] == [0, 50, 100]
    assert [shown[0, 0, 16, 0], shown[0, 0, 18, 31], shown[0, 0, 18, 32]] == [150, 255, 255]
    with pytest.raises(InputError, match="reads qp"):
        NetworkFilter(model(Shows(), inputs=("qp",), residual=False))(picture)


@pytest.mark.parametrize("size", [(24, 32), (23, 31)])
def test_a_network_without_inputs_is_padded_and_cropped(size):
    torch.manual_seed(1)
    network = models.build("fastarcnn-luma")
    picture = np.random.default_rng(1).integers(0, 255, (1, 1, *size)).astype(np.uint8)
    made = NetworkFilter(model(network))(picture)
    assert made.shape == picture.shape and made.dtype == np.uint8 and not np.array_equal(made, picture)
    assert network.training  # as it was
