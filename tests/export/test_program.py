"""Programs for PyTorch: their precisions, their freedom from the machine that made them, and the rewrite in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from postfilter import models
from postfilter.errors import InputError
from postfilter.export.program import save_program
from postfilter.export.program_rewrite import with_subpixel_convolutions
from postfilter.models.sample_filter import SampleFilter

PEAK = torch.tensor(255.0)


def _samples(channels: int, *, height: int = 36, width: int = 50) -> torch.Tensor:
    values = np.random.default_rng(2).integers(0, 256, (1, channels, height, width))
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize(
    ("precision", "device", "kind", "psnr"),
    [
        ("fp32", "cpu", torch.float32, 85),
        ("fp16", "cpu", torch.float32, 60),
        ("bf16", "cpu", torch.bfloat16, 45),
        ("fp16", "cuda:0", torch.float16, 60),
    ],
)
def test_the_program_computes_what_the_model_does(
    precision: str, device: str, kind: torch.dtype, psnr: float, weights_of: Callable[..., Path], tmp_path: Path
) -> None:
    model = models.load("fastarcnn-luma", weights=weights_of("fastarcnn-luma"))
    save_program(model, tmp_path / "model.pt2", precision=precision, device=device)
    module = torch.export.load(tmp_path / "model.pt2").module()
    assert {each.dtype for each in module.parameters()} == {kind}
    samples = _samples(1)
    with torch.inference_mode():
        got = module(samples, PEAK)
        expected = SampleFilter(model.network, residual=True).eval()(samples, PEAK)
    error = float(((got - expected) ** 2).mean())
    assert (expected != samples).float().mean() > 0.5
    assert error == 0 or 10 * np.log10(255**2 / error) > psnr
    # In another precision than float32 it is not the same to the last bit, or nothing was converted.
    assert precision == "fp32" or error > 0


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_no_device_is_written_into_the_program(precision: str, weights_of: Callable[..., Path], tmp_path: Path) -> None:
    """Exported on the CPU, it moves: to `meta`, which every torch has, as well as to a GPU."""
    model = models.load("fastarcnn-luma", weights=weights_of("fastarcnn-luma"))
    save_program(model, tmp_path / "model.pt2", precision=precision, device="cuda:0")
    module = torch.export.load(tmp_path / "model.pt2").module().to("meta", memory_format=torch.channels_last)
    output = module(torch.empty(1, 1, 36, 50, device="meta"), PEAK.to("meta"))
    assert (output.device.type, output.dtype, tuple(output.shape)) == ("meta", torch.float32, (1, 1, 36, 50))


def test_int8_is_not_for_torch(weights_of: Callable[..., Path], tmp_path: Path) -> None:
    model = models.load("fastarcnn-luma", weights=weights_of("fastarcnn-luma"))
    with pytest.raises(InputError, match=r"fp32, fp16, bf16, not in int8: .*--backend openvino"):
        save_program(model, tmp_path / "model.pt2", precision="int8", device="cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra"), [(9, 2, 4, 1), (4, 2, 1, 0), (3, 3, 0, 0), (5, 3, 1, 0), (6, 2, 2, 0)]
)
def test_a_transposed_convolution_is_replaced_by_what_it_equals(
    kernel: int, stride: int, padding: int, extra: int
) -> None:
    torch.manual_seed(kernel)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ConvTranspose2d(8, 3, kernel, stride=stride, padding=padding, output_padding=extra),
    )
    made = with_subpixel_convolutions(network)
    assert not any(isinstance(each, torch.nn.ConvTranspose2d) for each in made.modules())
    assert isinstance(network[1], torch.nn.ConvTranspose2d)
    with torch.inference_mode():
        samples = torch.randn(2, 3, 11, 14)
        torch.testing.assert_close(made(samples), network(samples), atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "changed", [{"groups": 2}, {"dilation": 2}, {"stride": (2, 3)}, {"stride": 1}, {"kernel_size": 5, "padding": 0}]
)
def test_others_are_left_alone(changed: dict[str, int]) -> None:
    given = {"kernel_size": 4, "stride": 2, "padding": 1} | changed
    network = torch.nn.Sequential(torch.nn.ConvTranspose2d(8, 4, **given))
    assert isinstance(with_subpixel_convolutions(network)[0], torch.nn.ConvTranspose2d)
