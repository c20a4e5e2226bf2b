"""The training loop: draw, learn, validate, keep."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from postfilter import models
from postfilter.models.weights import save_weights
from postfilter.training.data import TrainingData
from postfilter.training.learner import Learner
from postfilter.training.losses import BLOCK
from postfilter.training.pool import Batch
from postfilter.training.processes import Processes
from postfilter.training.recipe import Recipe
from postfilter.training.run_folder import Checkpoint, RunFolder
from postfilter.training.schedule import Lesson, Schedule
from postfilter.training.validation import mean_gain_db

__all__ = ["TrainingResult", "train"]

CHECKPOINT_SECONDS = 120.0


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
    processes: Processes | None = None,
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
        weights: start from these instead of random ones; see `start_from`. They are validated first, so that a run that
            only makes them worse gives them back.
        processes: those that train together, of which this is one; each must call this with the same arguments.
        checkpoint_seconds: how often to validate and to write a checkpoint.
        on_progress: called as `on_progress(done, total, loss=…, gain_db=…, steps_per_second=…)`.

    Raises:
        OutputError: the folder holds another run, or cannot be written.
        InputError: the checkpoint is of another recipe, or the processes cannot share a batch evenly.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    processes = processes or Processes()
    run = _Run(recipe, data, RunFolder(output), weights=weights, processes=processes)
    run.open(resume=resume)
    try:
        run.go(checkpoint_seconds=checkpoint_seconds, on_progress=on_progress)
    finally:
        if processes.first:
            run.folder.draw_curve()
    return processes.from_first(run.result)


class _Run:
    """A run under way."""

    def __init__(
        self, recipe: Recipe, data: TrainingData, folder: RunFolder, *, weights: Path | None, processes: Processes
    ) -> None:
        self.recipe, self.data, self.folder, self.processes = recipe, data, folder, processes
        self.share = processes.share(recipe.batch_size)
        self.learner = Learner(recipe, weights=weights, processes=processes)
        self.starts_from_weights = weights is not None
        self.schedule = Schedule(
            recipe=recipe,
            jpeg=recipe.jpeg_first if data.first is not None else 0.0,
            teacher=recipe.distil if data.taught is not None else 0.0,
        )
        self.reads_qp = "qp" in models.card(recipe.model).inputs
        self.step, self.seconds = 0, 0.0
        self.best, self.gain = -math.inf, math.nan
        self.losses: list[float] = []
        """Since the last validation."""

    def open(self, *, resume: bool) -> None:
        """Begin anew, or where the folder's checkpoint was written."""

        def opened() -> Checkpoint | None:
            self.folder.open(self.recipe, resume=resume)
            return self.folder.checkpoint()

        checkpoint = self.processes.from_first(opened)
        if checkpoint is not None:
            self.learner.load(checkpoint.state)
            self.step, self.seconds, self.best = checkpoint.step, checkpoint.seconds, checkpoint.best
        elif self.starts_from_weights and self.processes.first:
            # A run that only makes them worse gives them back.
            self.judge()

    def go(self, *, checkpoint_seconds: float, on_progress: Callable[..., None] | None) -> None:
        """Train to the end."""
        started = time.monotonic() - self.seconds
        validated, validated_at = self.seconds, self.step
        lesson = self.schedule.lesson(self.schedule.done(max(self.step - 1, 0), self.seconds))
        with ThreadPoolExecutor(1) as worker:
            # Drawn while the step before is computed. Which pictures a step is on is known then, too.
            drawn: Future[Batch] | None = None
            while (done := self.schedule.done(self.step, self.seconds)) < 1:
                before, lesson = lesson, self.schedule.lesson(done)
                if lesson != before:
                    drawn = None
                    if before == "jpeg":
                        self.learner.quieten()
                batch = drawn.result() if drawn is not None else self.draw(self.step, lesson)
                drawn = worker.submit(self.draw, self.step + 1, lesson)
                rate = self.schedule.learning_rate(done)
                leak = self.schedule.leak(done)
                loss = self.learner.learn(batch, step=self.step, learning_rate=rate, lesson=lesson, leak=leak)
                self.losses.append(loss)
                self.step += 1
                self.seconds = self._clock(started)
                finished = self.schedule.done(self.step, self.seconds) >= 1
                pace = (self.step - validated_at) / max(self.seconds - validated, 1e-9)
                if self.processes.first and (finished or self.seconds - validated >= checkpoint_seconds):
                    self.validate(learning_rate=rate, steps_per_second=pace)
                    self.seconds = time.monotonic() - started
                    validated, validated_at = self.seconds, self.step
                    self.save()
                if on_progress is not None:
                    self._tell(on_progress, pace)

    def draw(self, step: int, lesson: Lesson) -> Batch:
        """Draw this process's patches of a step."""
        pool = {"jpeg": self.data.first, "teacher": self.data.taught, "clean": self.data.pool}[lesson]
        assert pool is not None
        return pool.draw(
            # The step's own generator: a resumed run draws the patches that an unbroken one would have drawn.
            np.random.default_rng((self.recipe.seed, step)),
            batch_size=self.recipe.batch_size,
            patch_size=self.recipe.patch_size,
            augmentation=self.recipe.augmentation,
            grid=BLOCK if self.recipe.degradation == "jpeg" or lesson == "jpeg" else 1,
            blind=self.recipe.blind if self.reads_qp else None,
            share=self.share,
        )

    def validate(self, **figures: float) -> None:
        """Log what `judge` finds, with the loss since the last time."""
        gains = self.judge()
        loss = float(np.mean(self.losses))
        self.losses.clear()
        self.folder.log(step=self.step, seconds=self.seconds, loss=loss, gain_db=self.gain, gains_db=gains, **figures)

    def judge(self) -> dict[str, float]:
        """Measure the gain of the averaged weights, and keep them where they are the best so far."""
        average, residual = self.learner.average, self.learner.residual
        gains = {
            name: mean_gain_db(average, pool, residual=residual, told=self.reads_qp)
            for name, pool in self.data.validation.items()
        }
        self.gain = float(np.mean(list(gains.values())))
        if self.gain > self.best:
            self.best = self.gain
            save_weights(average, self.folder.weights, residual=residual)
        return gains

    def save(self) -> None:
        """Write a checkpoint."""
        self.folder.save(Checkpoint(step=self.step, seconds=self.seconds, best=self.best, **self.learner.state()))

    def result(self) -> TrainingResult:
        """What the first process knows at the end."""
        return TrainingResult(weights=self.folder.weights, steps=self.step, seconds=self.seconds, gain_db=self.best)

    def _clock(self, started: float) -> float:
        """Seconds of the run; where they decide its end, all processes go by the first one's clock."""
        if self.recipe.minutes is None:
            return time.monotonic() - started
        return self.processes.from_first(lambda: time.monotonic() - started)

    def _tell(self, on_progress: Callable[..., None], pace: float) -> None:
        by_steps = self.recipe.steps is not None
        on_progress(
            self.step if by_steps else self.seconds,
            self.recipe.steps if by_steps else (self.recipe.minutes or 0) * 60,
            loss=self.losses[-1] if self.losses else math.nan,
            gain_db=self.gain,
            steps_per_second=pace,
        )
