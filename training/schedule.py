"""How far a run is, on which pictures it is, and the learning rate there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from postfilter.training.recipe import Recipe

__all__ = ["Schedule", "learning_rate_share"]

WARM_UP_SHARE = 0.02
FINAL_LR_SHARE = 0.01


@dataclass(frozen=True)
class Schedule:
    """What a run does when.

    Args:
        recipe: its length and learning rate.
        jpeg_share: share of the run that is spent on JPEG pictures first; 0 where it begins with its own.
    """

    recipe: Recipe
    jpeg_share: float

    def done(self, step: int, seconds: float) -> float:
        """How much of the run is behind: 0 at its beginning, 1 and more at its end."""
        if self.recipe.steps is not None:
            return step / self.recipe.steps
        return seconds / (60 * (self.recipe.minutes or 1))

    def on_jpeg(self, done: float) -> bool:
        """Whether a run on a video codec is still on JPEG pictures."""
        return done < self.jpeg_share

    def learning_rate(self, done: float) -> float:
        """Adam's; it warms up and falls twice where a run has two parts."""
        if self.on_jpeg(done):
            return self.recipe.lr * learning_rate_share(done / self.jpeg_share)
        return self.recipe.lr * learning_rate_share((done - self.jpeg_share) / (1 - self.jpeg_share))


def learning_rate_share(done: float) -> float:
    """The learning rate as a share of the recipe's: linear warm-up, then a cosine.

    Args:
        done: 0 at the first step of a part of a run, 1 at its end.
    """
    if done < WARM_UP_SHARE:
        return (done + 1e-3) / (WARM_UP_SHARE + 1e-3)
    cosine = (1 + math.cos(math.pi * (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2
    return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * cosine
