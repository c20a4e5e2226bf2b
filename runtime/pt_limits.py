"""What PyTorch reaches at best on a device: the limit that engines on a GPU are held against."""

from __future__ import annotations

from collections.abc import Callable

from postfilter.runtime.measure import best_seconds

__all__ = ["best_tflops", "copy_gbs"]


def best_tflops(*, device: str, precision: str, seconds: float) -> float:
    """Measure torch's arithmetic rate in TFLOP/s for about `seconds`: the better of a matrix product and a convolution.

    Args:
        device: torch's name of the device.
        precision: `fp32` (without TF32), `fp16`, `bf16`, or `int8`, of which there is a product only.
        seconds: how long to measure; one run of each is made in any case.
    """
    import torch

    on = torch.device(device.lower())
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8}.get(precision, torch.float32)

    def rate(work: Callable[[], torch.Tensor], macs: int, seconds: float) -> float:
        def run() -> None:
            if work().is_cuda:
                torch.cuda.synchronize()

        return 2 * macs / best_seconds(run, seconds) / 1e12

    def product(side: int, seconds: float) -> float:
        left = torch.ones(side, side, dtype=kind, device=on)
        if kind == torch.int8:  # cuBLASLt wants the second one transposed
            return rate(lambda: torch._int_mm(left, left.t()), side**3, seconds)
        return rate(lambda: left @ left, side**3, seconds)

    def convolution(side: int, seconds: float) -> float:
        samples = torch.ones(1, 256, side, side, dtype=kind, device=on).to(memory_format=torch.channels_last)
        weight = torch.ones(256, 256, 3, 3, dtype=kind, device=on).to(memory_format=torch.channels_last)
        work = torch.nn.functional.conv2d
        return rate(lambda: work(samples, weight, padding=1), side**2 * 9 * 256**2, seconds)

    # As engines run: cuDNN may choose its algorithm, and TF32 is not what is called fp32 here.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        # A CPU without fp16 arithmetic is a thousand times slower at it than in float32: no large work then.
        small = product(256, 0.05)
        if small < 0.01 and kind == torch.float16:
            return small
        rates = [product(8192 if on.type == "cuda" else 2048, seconds / 2)]
        if kind != torch.int8:
            rates.append(convolution(512 if on.type == "cuda" else 64, seconds / 2))
        return max(rates)


def copy_gbs(*, device: str, seconds: float) -> float:
    """Measure how fast a GPU copies its own memory, in GB/s read plus written.

    Args:
        device: torch's name of the device.
        seconds: how long to measure.
    """
    import torch

    source = torch.ones(256 * 2**20, dtype=torch.uint8, device=torch.device(device))
    target = torch.zeros_like(source)

    def copy() -> None:
        target.copy_(source)
        if target.is_cuda:
            torch.cuda.synchronize()

    return 2 * source.numel() / best_seconds(copy, seconds) / 1e9
