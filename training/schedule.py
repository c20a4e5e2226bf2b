"""Which part of a run is on, and the learning rate there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from postfilter.training.recipe import Recipe

__all__ = ["Lesson", "Schedule", "learning_rate_share"]

Lesson = Literal["jpeg", "teacher", "clean"]
"""What a part of a run learns: JPEG pictures, a teacher's corrections of video, or the clean pictures themselves."""

LEAK, LEAK_SHARE = 0.1, 0.3
"""ReLUs leak so much at first and nothing from that share of a run on, well before a teacher's part ends. Without, a
channel that turns negative all over the picture learns nothing any more: in one run of `edge-m` 20 of the 32 channels
of two layers fell silent so."""
WARM_UP_SHARE = 0.02
FINAL_LR_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What a run does when.

    Args:
        recipe: its length and learning rates.
        jpeg: share of the run that is spent on JPEG pictures, before video.
        teacher: share of the run that is then spent with a teacher. The rest is for the clean pictures.
    """

    recipe: Recipe
    jpeg: float = 0.0
    teacher: float = 0.0

    def done(self, step: int, seconds: float) -> float:
        """How much of the run is behind: 0 at its beginning, 1 and more at its end."""
        if self.recipe.steps is not None:
            return step / self.recipe.steps
        return seconds / (60 * (self.recipe.minutes or 1))

    def lesson(self, done: float) -> Lesson:
        """What is learned there."""
        if done < self.jpeg:
            return "jpeg"
        return "teacher" if done < self.jpeg + self.teacher else "clean"

    def leak(self, done: float) -> float:
        """What ReLUs let pass of negative values there; it falls to 0 linearly."""
        return LEAK * max(1 - done / LEAK_SHARE, 0.0)

    def learning_rate(self, done: float) -> float:
        """Muon's; it warms up and falls in each part anew."""
        lesson = self.lesson(done)
        if lesson == "jpeg":
            return self.recipe.lr_jpeg * learning_rate_share(done / self.jpeg)
        if lesson == "teacher":
            return self.recipe.lr_taught * learning_rate_share((done - self.jpeg) / self.teacher)
        before = self.jpeg + self.teacher
        rate = self.recipe.lr_jpeg if self.recipe.degradation == "jpeg" else self.recipe.lr
        return rate * learning_rate_share((done - before) / (1 - before))


def learning_rate_share(done: float) -> float:
    """The learning rate as a share of the recipe's: linear warm-up, then a cosine.

    Args:
        done: 0 at the first step of a part of a run, 1 at its end.
    """
    if done < WARM_UP_SHARE:
        return (done + 1e-3) / (WARM_UP_SHARE + 1e-3)
    cosine = (1 + math.cos(math.pi * (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2
    return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * cosine
