"""The training loop: Adam, warm-up and cosine, and an average of the weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from postfilter import models
from postfilter.models.weights import save_weights
from postfilter.training.losses import BLOCK, excess_blocking, patch_error, relative_error
from postfilter.training.pool import Batch, Samples
from postfilter.training.pools import TrainingData
from postfilter.training.recipe import Recipe
from postfilter.training.run_folder import Checkpoint, RunFolder
from postfilter.training.start import start_as_identity, start_from
from postfilter.training.validation import mean_gain_db

__all__ = ["TrainingResult", "train"]

CHECKPOINT_SECONDS = 120.0
WARM_UP_SHARE = 0.02
FINAL_LR_SHARE = 0.01
# About the median of a run, on code values and on relative errors; it evens out the rare batch of hard patches, which
# can throw a run off for good.
MAX_GRADIENT_NORM, MAX_RELATIVE_GRADIENT_NORM = 5.0, 1.0
# A shorter memory than Adam's own for the size of gradients, which changes from one pool to the next.
BETAS = (0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run ended with."""

    weights: Path
    """The safetensors file with the averaged weights of the best validation."""
    steps: int
    seconds: float
    """Time spent training and validating, over all resumed parts."""
    gain_db: float
    """Validation: PSNR(filtered) - PSNR(degraded), mean over codecs and qualities, in dB."""


def train(
    recipe: Recipe,
    *,
    data: TrainingData,
    output: Path,
    resume: bool = False,
    weights: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    on_progress: Callable[..., None] | None = None,
) -> TrainingResult:
    """Train one model and leave its weights, log and curve in a folder.

    Args:
        recipe: what to do.
        data: from `load_data`; the weights that do best on its validation pictures are kept.
        output: the run folder; made if absent.
        resume: continue from the folder's checkpoint, which must be of the same recipe; starts afresh where there is
            none.
        weights: start from these instead of random ones; see `start_from`.
        checkpoint_seconds: how often to validate and to write a checkpoint.
        on_progress: called as `on_progress(done, total, loss=…, gain_db=…)`.

    Raises:
        OutputError: the folder holds another run, or cannot be written.
        InputError: the checkpoint is of another recipe.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = models.build(recipe.model)
    card = models.card(recipe.model)
    start_as_identity(network)
    if weights is not None:
        start_from(network, weights, model=recipe.model)
    _to_device(network, device)
    average = models.build(recipe.model).requires_grad_(False).eval()
    _to_device(average, device)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=BETAS)

    folder = RunFolder.open(output, recipe, resume=resume)
    step, seconds, best = 0, 0.0, -math.inf
    checkpoint = folder.checkpoint()
    if checkpoint is not None:
        network.load_state_dict(checkpoint.network)
        average.load_state_dict(checkpoint.average)
        optimizer.load_state_dict(checkpoint.optimizer)
        step, seconds, best = checkpoint.step, checkpoint.seconds, checkpoint.best

    jpeg_share = recipe.jpeg_first if data.first is not None else 0.0
    started = time.monotonic() - seconds
    validated, loss_sum, loss_count, gain = seconds, 0.0, 0, math.nan
    with ThreadPoolExecutor(1) as worker:
        # Drawn while the step before is computed. Whether a step is on JPEG pictures is known then, too.
        drawn: Future[Batch] | None = None
        while (done := _share_done(recipe, step, time.monotonic() - started)) < 1:
            first = done < jpeg_share
            phase = done / jpeg_share if first else (done - jpeg_share) / (1 - jpeg_share)
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * learning_rate_share(phase)
            batch = drawn.result() if drawn is not None else _draw(recipe, data, step, first=first)
            drawn = worker.submit(_draw, recipe, data, step + 1, first=first)
            loss = _step(network, optimizer, batch, recipe=recipe, residual=card.residual, on_jpeg=first)
            step += 1
            _blend(average, network, min(recipe.ema, (1 + step) / (10 + step)))
            loss_sum, loss_count = loss_sum + loss, loss_count + 1

            seconds = time.monotonic() - started
            finished = _share_done(recipe, step, seconds) >= 1
            if finished or seconds - validated >= checkpoint_seconds:
                gains = {
                    name: mean_gain_db(average, pool, residual=card.residual, told=bool(card.inputs))
                    for name, pool in data.validation.items()
                }
                gain = float(np.mean(list(gains.values())))
                folder.log(step=step, seconds=seconds, loss=loss_sum / loss_count, gain_db=gain, gains_db=gains)
                if gain > best:
                    best = gain
                    save_weights(average, folder.weights, residual=card.residual)
                seconds = validated = time.monotonic() - started
                loss_sum, loss_count = 0.0, 0
                folder.save(
                    Checkpoint(
                        step=step,
                        seconds=seconds,
                        best=best,
                        network=network.state_dict(),
                        average=average.state_dict(),
                        optimizer=optimizer.state_dict(),
                    )
                )
            if on_progress is not None:
                total = recipe.steps if recipe.steps is not None else (recipe.minutes or 0) * 60
                on_progress(step if recipe.steps is not None else seconds, total, loss=loss, gain_db=gain)
    folder.draw_curve()
    return TrainingResult(weights=folder.weights, steps=step, seconds=seconds, gain_db=best)


def learning_rate_share(done: float) -> float:
    """The learning rate at a share of the run, as a share of the recipe's: linear warm-up, then a cosine.

    Args:
        done: 0 at the first step, 1 at the end.
    """
    if done < WARM_UP_SHARE:
        return (done + 1e-3) / (WARM_UP_SHARE + 1e-3)
    cosine = (1 + math.cos(math.pi * (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2
    return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * cosine


def _share_done(recipe: Recipe, step: int, seconds: float) -> float:
    return step / recipe.steps if recipe.steps is not None else seconds / (60 * (recipe.minutes or 1))


def _draw(recipe: Recipe, data: TrainingData, step: int, *, first: bool) -> Batch:
    on_jpeg = recipe.degradation == "jpeg" or first
    pool = data.first if first and data.first is not None else data.pool
    return pool.draw(
        # The step's own generator: a resumed run draws the patches that an unbroken one would have drawn.
        np.random.default_rng((recipe.seed, step)),
        batch_size=recipe.batch_size,
        patch_size=recipe.patch_size,
        augmentation=recipe.augmentation,
        grid=BLOCK if on_jpeg else 1,
        blind=recipe.blind if models.card(recipe.model).inputs else None,
    )


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    *,
    recipe: Recipe,
    residual: bool,
    on_jpeg: bool,
) -> float:
    device = next(network.parameters()).device
    degraded, clean = _unit(batch.degraded, device), _unit(batch.clean, device)
    errors = torch.from_numpy(batch.errors).to(device)
    with _autocast(device):
        output = network(degraded)
    picture = degraded[:, : clean.shape[1]]
    filtered = output.float() + picture if residual else output.float()
    relative = recipe.degradation != "jpeg"
    if relative:
        harm = 0.0 if on_jpeg else recipe.harm
        loss = relative_error(filtered, clean, picture, errors, harm=harm)
    else:
        loss = patch_error(filtered, clean)
        if recipe.deblocking:
            loss = loss + recipe.deblocking * excess_blocking(filtered, clean, errors)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), MAX_RELATIVE_GRADIENT_NORM if relative else MAX_GRADIENT_NORM)
    optimizer.step()
    return float(loss.detach())


def _to_device(network: nn.Module, device: torch.device) -> None:
    network.to(device)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _unit(samples: Samples, device: torch.device) -> Tensor:
    """uint8 samples to float32 in 0..1, in the memory layout that convolutions are fast in."""
    tensor = torch.from_numpy(samples).to(device)
    return (tensor.float() / 255).contiguous(memory_format=torch.channels_last)


def _autocast(device: torch.device) -> AbstractContextManager[object]:
    """bf16 where the processor multiplies it: nearly twice as fast, and with float32 weights no worse here."""
    if device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@torch.no_grad()
def _blend(average: nn.Module, network: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
