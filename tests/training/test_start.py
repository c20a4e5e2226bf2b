"""Runs that start from weights."""

import pytest
import torch

from postfilter import models
from postfilter.errors import WeightsError
from postfilter.models.edge import Edge
from postfilter.models.weights import save_weights
from postfilter.training.start import start_as_identity, start_from


@pytest.mark.parametrize("name", ["arcnn", "fastarcnn"])
def test_a_folded_network_does_to_luma_what_the_rgb_one_does_to_grey(tmp_path, name):
    torch.manual_seed(5)
    rgb, luma = models.build(name).eval(), models.build(f"{name}-luma").eval()
    path = tmp_path / "rgb.safetensors"
    save_weights(rgb, path, residual=True)
    start_from(luma, path, model=f"{name}-luma")
    grey = torch.rand(1, 1, 32, 40)
    expected = rgb(grey.expand(-1, 3, -1, -1)) * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    # Sums of three float32 products in another order.
    torch.testing.assert_close(luma(grey), expected.sum(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_weights_of_another_network_cannot_be_folded(tmp_path):
    save_weights(models.build("arcnn"), tmp_path / "w.safetensors", residual=True)
    with pytest.raises(WeightsError):
        start_from(models.build("fastarcnn-luma"), tmp_path / "w.safetensors", model="fastarcnn-luma")


def test_a_network_that_is_newly_shown_neighbours_ignores_them_as_yet(tmp_path):
    torch.manual_seed(7)
    settings = models.card("edge-t").settings
    single, temporal = Edge(**settings, inputs=("qp",)).eval(), models.build("edge-t").eval()
    save_weights(single, tmp_path / "w.safetensors", residual=True)
    start_from(temporal, tmp_path / "w.safetensors", model="edge-t")
    frame, neighbours, qp = torch.rand(1, 1, 24, 32), torch.rand(1, 2, 24, 32), torch.full((1, 1, 24, 32), 0.6)
    torch.testing.assert_close(temporal(torch.cat([frame, neighbours, qp], 1)), single(torch.cat([frame, qp], 1)))
    with pytest.raises(WeightsError):
        start_from(models.build("edge-x"), tmp_path / "w.safetensors", model="edge-x")


def test_an_untrained_network_hardly_changes_a_picture():
    torch.manual_seed(6)
    network = models.build("fastarcnn")
    start_as_identity(network)
    assert network(torch.rand(1, 3, 64, 64)).abs().mean() < 0.02
