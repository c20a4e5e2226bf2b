"""The folder of a training run: recipe, what made it, log, checkpoint, weights, curve.

Every file is written whole or not at all, the logs line by line.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from postfilter.errors import InputError, OutputError
from postfilter.training.curve import draw_curve
from postfilter.training.provenance import made_by
from postfilter.training.recipe import Recipe

__all__ = ["Checkpoint", "RunFolder"]

RECIPE = "recipe.json"
MADE_BY = "made_by.jsonl"
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped."""

    step: int
    seconds: float
    best: float
    """Validation gain of the weights saved so far, in dB."""
    network: dict[str, Any]
    average: dict[str, Any]
    optimizer: dict[str, Any]

    @property
    def state(self) -> dict[str, Any]:
        """What a `Learner` loads."""
        return {"network": self.network, "average": self.average, "optimizer": self.optimizer}


class RunFolder:
    """What a run leaves behind, and goes on from.

    Args:
        path: the folder; `open` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "weights.safetensors"
        self._log = path / "log.jsonl"
        self._checkpoint = path / CHECKPOINT

    def open(self, recipe: Recipe, *, resume: bool) -> None:
        """Make the folder, or take up the run that is in it.

        Raises:
            OutputError: it holds a run and `resume` is not asked for, or it cannot be written.
            InputError: the run in it has another recipe, or its files are damaged.
        """
        self.check(self.path, recipe, resume=resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _write(self.path / RECIPE, json.dumps(recipe.as_json(), indent=2).encode())
            _append(self.path / MADE_BY, made_by())
        except OSError as error:
            raise OutputError(
                f"cannot write the run folder {self.path}: {error.strerror}; choose another --output"
            ) from error

    @classmethod
    def check(cls, path: Path, recipe: Recipe, *, resume: bool) -> None:
        """Raise what `open` would of a run that is in the folder already, and write nothing."""
        if not (path / CHECKPOINT).exists():
            return
        if not resume:
            raise OutputError(f"{path} holds a training run; continue it with --resume, or choose another --output")
        try:
            before = json.loads((path / RECIPE).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path / RECIPE} cannot be read ({error}); train anew in another --output") from error
        now = recipe.as_json()
        # A run of an earlier release did what the defaults of later fields stand for.
        before = Recipe.defaults() | before
        # How long to train and on how many threads may change between parts of a run.
        fixed = [key for key in now if key not in ("steps", "minutes", "threads")]
        changed = [f"{key} was {before.get(key)}, is {now[key]}" for key in fixed if before.get(key) != now[key]]
        if changed:
            raise InputError(
                f"the run in {path} is another: {'; '.join(changed)}; use the same options, or another --output"
            )

    def checkpoint(self) -> Checkpoint | None:
        """The last checkpoint, or None before the first.

        Raises:
            InputError: it is damaged.
        """
        if not self._checkpoint.exists():
            return None
        try:
            return Checkpoint(**torch.load(self._checkpoint, map_location="cpu", weights_only=True))
        except Exception as error:  # torch.load raises anything on a damaged file
            raise InputError(f"{self._checkpoint} cannot be read ({error}); train anew in another --output") from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        temporary = self._checkpoint.with_suffix(".partial")
        torch.save(vars(checkpoint), temporary)
        temporary.replace(self._checkpoint)

    def log(self, **figures: Any) -> None:
        """Append one line of figures."""
        _append(self._log, figures)

    def history(self) -> list[dict[str, Any]]:
        """All logged figures, oldest first; a line that a kill left half-written is passed over."""
        rows = []
        for line in self._log.read_text().splitlines() if self._log.exists() else ():
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
        return rows

    def draw_curve(self) -> None:
        """Draw the log into `curve.png`; without a log there is nothing to draw."""
        if history := self.history():
            draw_curve(history, self.path / "curve.png")


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(content)
    temporary.replace(path)


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
