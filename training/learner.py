"""A network that learns, step by step, and the running average of its weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from postfilter import models
from postfilter.models.edge import Edge
from postfilter.training.lessons import STEPS_A_CODE
from postfilter.training.losses import distance, excess_blocking, patch_error, relative_error
from postfilter.training.muon import Muon
from postfilter.training.pool import Batch, Samples
from postfilter.training.processes import Processes
from postfilter.training.recipe import Recipe
from postfilter.training.schedule import Lesson
from postfilter.training.start import start_as_identity, start_from

__all__ = ["Learner"]

# About the median of a run, on code values and on relative errors; it evens out the rare batch of hard patches, which
# can throw a run off for good.
MAX_GRADIENT_NORM, MAX_RELATIVE_GRADIENT_NORM = 5.0, 1.0

QUIET = 0.1


class Learner:
    """One network with its optimizer.

    Args:
        recipe: decides the initial weights and the loss.
        weights: start from these instead of random ones; see `start_from`.
        processes: those that share each batch; their gradients are averaged, so that all have the same weights.
    """

    def __init__(self, recipe: Recipe, *, weights: Path | None, processes: Processes) -> None:
        self._recipe = recipe
        self._device = processes.device
        self.residual = models.card(recipe.model).residual
        """Whether the network's output is added to its input."""
        torch.manual_seed(recipe.seed)
        self.network = models.build(recipe.model)
        start_as_identity(self.network)
        if weights is not None:
            start_from(self.network, weights, model=recipe.model)
        _to_device(self.network, self._device)
        self.average = models.build(recipe.model).requires_grad_(False).eval()
        """The running average of the network's weights, which is what is validated and kept."""
        _to_device(self.average, self._device)
        self.average.load_state_dict(self.network.state_dict())
        self._optimizer = Muon(self.network.parameters(), lr=recipe.lr)
        self._parallel: Callable[[Tensor], Tensor] = self.network
        if processes.count > 1:
            self._parallel = DistributedDataParallel(self.network)

    def state(self) -> dict[str, Any]:
        """All that `load` needs to go on: `network`, `average`, `optimizer`."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])

    @torch.no_grad()
    def quieten(self) -> None:
        """Make the network's corrections a tenth as strong.

        Those of JPEG pictures are far too strong for video. Left to itself, a small network unlearns them by way of its
        biases, until a whole layer of Relus is silent for good.
        """
        for network in (self.network, self.average):
            last = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))][-1]
            last.weight.mul_(QUIET)
            if last.bias is not None:
                last.bias.mul_(QUIET)

    def learn(self, batch: Batch, *, step: int, learning_rate: float, lesson: Lesson, leak: float = 0.0) -> float:
        """Take one step; return the loss of the batch before it.

        Args:
            batch: patches; of several processes each has its own.
            step: how many steps were taken before: the average begins as a plain one.
            learning_rate: Muon's.
            lesson: what the patches are for.
            leak: of the network's ReLUs, where they can; those of the average, which is judged, never do.
        """
        if isinstance(self.network, Edge):
            self.network.leak = leak
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        relative = self._recipe.degradation != "jpeg"
        loss = self._loss(batch, relative=relative, lesson=lesson)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        limit = MAX_RELATIVE_GRADIENT_NORM if relative else MAX_GRADIENT_NORM
        nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        self._optimizer.step()
        _blend(self.average, self.network, min(self._recipe.ema, (2 + step) / (11 + step)))
        return float(loss.detach())

    def _loss(self, batch: Batch, *, relative: bool, lesson: Lesson) -> Tensor:
        degraded, clean = self._unit(batch.degraded), self._unit(batch.clean)
        errors = torch.from_numpy(batch.errors).to(self._device)
        with _autocast(self._device):
            output = self._parallel(degraded)
        if lesson == "teacher":
            taught = torch.from_numpy(batch.taught).to(self._device).float() / (255 * STEPS_A_CODE)
            return distance(output.float(), taught, errors)
        picture = degraded[:, : clean.shape[1]]
        filtered = output.float() + picture if self.residual else output.float()
        if relative:
            harm = self._recipe.harm if lesson == "clean" else 0.0
            return relative_error(filtered, clean, picture, errors, harm=harm)
        loss = patch_error(filtered, clean)
        if self._recipe.deblocking:
            loss = loss + self._recipe.deblocking * excess_blocking(filtered, clean, errors)
        return loss

    def _unit(self, samples: Samples) -> Tensor:
        """uint8 samples to float32 in 0..1, in the memory layout that convolutions are fast in."""
        tensor = torch.from_numpy(samples).to(self._device)
        return (tensor.float() / 255).contiguous(memory_format=torch.channels_last)


def _to_device(network: nn.Module, device: torch.device) -> None:
    network.to(device)
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _autocast(device: torch.device) -> AbstractContextManager[object]:
    """bf16 where the processor multiplies it: nearly twice as fast, and with float32 weights no worse here."""
    if device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@torch.no_grad()
def _blend(average: nn.Module, network: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
