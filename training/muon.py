"""The optimizer: Muon for the weights of convolutions, Adam for all else."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Muon"]

MOMENTUM = 0.95
BETAS = (0.9, 0.99)
SCALAR_LR_SHARE = 0.1
"""Adam's learning rate for biases and slopes, as a share of that of the weights."""
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
STEPS = 5
TINY = 1e-12


class Muon(torch.optim.Optimizer):
    """Momentum whose steps go equally far in all directions of a weight matrix.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", for the weights of convolutions:
    torch's own takes matrices alone. The signal of compression artefacts is faint beside that of the picture: a few
    directions hold almost all of the gradient, and Adam, which scales weights one by one, is slower at the others.

    Args:
        parameters: of a network; those of four dimensions are weights of convolutions.
        lr: the length of a step in the spectral norm.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change the parameters by their gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.dim() == 4:
                    self._step_matrix(parameter, group["lr"])
                else:
                    self._step_adam(parameter, group["lr"] * SCALAR_LR_SHARE)

    def _step_matrix(self, parameter: nn.Parameter, lr: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - MOMENTUM)
        update = gradient.lerp(momentum, MOMENTUM).contiguous().flatten(1)
        length = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        parameter.add_(_orthogonal(update).view(parameter.shape), alpha=-lr * length)

    def _step_adam(self, parameter: nn.Parameter, lr: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        count = float(state["step"])
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - BETAS[1])
        mean = state["mean"] / (1 - BETAS[0] ** count)
        square = state["square"] / (1 - BETAS[1] ** count)
        parameter.sub_(lr * mean / (square.sqrt() + 1e-8))


def _orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with all singular values about 1, by Newton and Schulz's iteration."""
    a, b, c = NEWTON_SCHULZ
    x = matrix / (matrix.norm() + TINY)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
