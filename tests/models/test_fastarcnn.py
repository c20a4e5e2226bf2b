"""Fast ARCNN's training form computes the same function as the network that ships."""

import pytest
import torch

from postfilter import models
from postfilter.models.sample_filter import SampleFilter


@pytest.mark.parametrize("size", [(16, 16), (18, 34), (50, 22)])
def test_the_training_form_is_the_same_function_with_the_same_gradients(size):
    torch.manual_seed(3)
    network = models.build("fastarcnn").double()
    picture = torch.rand(2, 3, *size, dtype=torch.double)
    outputs, gradients = [], []
    for training in (True, False):
        network.train(training).zero_grad()
        output = network(picture)
        output.square().sum().backward()
        outputs.append(output.detach())
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    # Double precision: only the order of summation differs.
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-10, atol=1e-12)
    for trained, shipped in zip(*gradients, strict=True):
        torch.testing.assert_close(trained, shipped, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("peak", "residual"), [(255.0, True), (1023.0, True), (255.0, False)])
def test_the_sample_filter_gives_whole_code_values_within_range(peak, residual):
    torch.manual_seed(4)
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    samples = torch.randint(0, int(peak) + 1, (1, 1, 20, 20)).float()
    output = SampleFilter(network, residual=residual)(samples, torch.tensor(peak))
    assert torch.equal(output, output.round())
    assert output.min() >= 0 and output.max() <= peak
    expected = network(samples / peak) * peak + (samples if residual else 0)
    assert (output - expected.clamp(0, peak)).abs().max() <= 0.5
