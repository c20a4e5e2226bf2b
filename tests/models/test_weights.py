"""Weights: shipped, foreign, damaged."""

from pathlib import Path

import pytest
import torch
from torch import nn

from postfilter import models
from postfilter.errors import UnknownNameError, WeightsError
from postfilter.models.weights import save_weights

PARAMETERS = {"arcnn": 117_734, "fastarcnn": 85_575, "arcnn-luma": 106_564, "fastarcnn-luma": 64_837}


def public_checkpoint(network: nn.Module, path: Path, *, wrap: str | None = None, prefix: str = "") -> Path:
    """A file as the common public PyTorch implementations save it."""
    state = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, path)
    return path


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_published_number_of_parameters(name):
    assert sum(parameter.numel() for parameter in models.build(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", models.names(shipped=True))
def test_shipped_weights_load_with_the_addition_and_come_with_their_card(name):
    model = models.load(name)
    assert model.card.residual
    assert not model.network.training
    card = model.card.training()
    assert {"data", "recipe", "results", "licence"} <= card.keys()
    assert card["weights_sha256"] == model.weights_sha256


@pytest.mark.parametrize("name", models.names())
def test_the_halo_is_how_far_a_sample_reaches(name):
    """Measured on a network of random weights: what changes when one input sample does."""
    card = models.card(name)
    torch.manual_seed(0)
    network = models.build(name).double().eval()
    side = -(-(2 * card.halo + 20) // card.size_multiple) * card.size_multiple
    before = torch.rand(1, card.input_channels, side, side, dtype=torch.double)
    reach = 0
    for middle in range(side // 2, side // 2 + max(2, card.size_multiple)):
        after = before.clone()
        after[:, :, middle, middle] += 0.5
        changed = (network(after) - network(before)).abs().amax(dim=(0, 1)) > 0
        rows = changed.any(dim=1).nonzero().squeeze()
        reach = max(reach, int((rows - middle).abs().max()))
    assert reach == card.halo


def test_a_model_without_weights_is_known_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(models.ModelCard, "weights_path", property(lambda card: tmp_path / card.name))
    assert models.names(shipped=True) == ()
    assert models.card("edge-m").training() == {}
    with pytest.raises(WeightsError, match=r"edge-m ships without trained weights.*--weights.*train-model edge-m"):
        models.load("edge-m")


@pytest.mark.parametrize("name", [name for name in models.names() if name.startswith("edge")])
def test_members_of_the_edge_family_are_what_their_cards_say(name):
    card, network = models.card(name), models.build(name)
    assert (card.size_multiple, card.defaults) == (network.unshuffle, {"qp": 0.0})
    assert card.inputs == (*card.pictures, "qp")
    assert len(network.layers) == card.settings["depth"]
    frame = torch.rand(1, card.input_channels, 24, 16)
    assert network(frame).shape == (1, 1, 24, 16)


@pytest.mark.parametrize(("wrap", "prefix"), [(None, ""), ("state_dict", ""), ("model", "module."), ("params", "")])
def test_public_checkpoints_load_without_the_addition(tmp_path, wrap, prefix):
    network = models.build("fastarcnn")
    path = public_checkpoint(network, tmp_path / "fastarcnn.pth", wrap=wrap, prefix=prefix)
    model = models.load("fastarcnn", weights=path)
    assert not model.card.residual
    picture = torch.rand(1, 3, 24, 32)
    assert torch.equal(model.network(picture), network.eval()(picture))


def test_our_files_carry_the_mark_of_the_addition(tmp_path):
    path = tmp_path / "w.safetensors"
    for residual in (True, False):
        save_weights(models.build("arcnn-luma"), path, residual=residual)
        assert models.load("arcnn-luma", weights=path).card.residual is residual
    assert models.load("arcnn-luma", weights=path, residual=True).card.residual


def test_the_hash_is_of_the_weights_and_not_of_the_file(tmp_path):
    network = models.build("fastarcnn-luma")
    save_weights(network, tmp_path / "a.safetensors", residual=True)
    public_checkpoint(network, tmp_path / "b.pth")
    hashes = {
        models.load("fastarcnn-luma", weights=tmp_path / name).weights_sha256 for name in ("a.safetensors", "b.pth")
    }
    assert len(hashes) == 1


def test_unknown_names_are_told_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'nosuch'.*fastarcnn-luma"):
        models.load("nosuch")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"<html>", b"everything", b"\x80\x02}q", bytes(3000)])
def test_damaged_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="expected safetensors"):
        models.load("arcnn", weights=path)


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path):
    path = public_checkpoint(models.build("fastarcnn"), tmp_path / "rgb.pth")
    with pytest.raises(WeightsError, match=r"base\.0\.weight is \(64, 3, 9, 9\), not \(64, 1, 9, 9\)"):
        models.load("fastarcnn-luma", weights=path)
    with pytest.raises(WeightsError, match="unknown base"):
        models.load("arcnn", weights=path)
    with pytest.raises(WeightsError, match="no weights file"):
        models.load("arcnn", weights=tmp_path / "absent.pth")


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    network = models.build("arcnn")
    with torch.no_grad():
        network.last.bias[0] = float("nan")
    path = public_checkpoint(network, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match=r"not finite.*last\.bias"):
        models.load("arcnn", weights=path)
