"""The folder of a training run: recipe, log, checkpoint, weights, curve. Every file is written whole or not at all."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from postfilter.errors import InputError, OutputError
from postfilter.training.recipe import Recipe

__all__ = ["Checkpoint", "RunFolder"]

RECIPE = "recipe.json"
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


class RunFolder:
    """Use `RunFolder.open`.

    Args:
        path: an existing folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "weights.safetensors"
        self._log = path / "log.jsonl"
        self._checkpoint = path / CHECKPOINT

    @classmethod
    def open(cls, path: Path, recipe: Recipe, *, resume: bool) -> RunFolder:
        """Make the folder, or take up the run that is in it.

        Raises:
            OutputError: it holds a run and `resume` is not asked for, or it cannot be written.
            InputError: the run in it has another recipe, or its files are damaged.
        """
        cls.check(path, recipe, resume=resume)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write(path / RECIPE, json.dumps(recipe.as_json(), indent=2).encode())
        except OSError as error:
            raise OutputError(
                f"cannot write the run folder {path}: {error.strerror}; choose another --output"
            ) from error
        return cls(path)

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
        with self._log.open("a") as file:
            file.write(json.dumps(figures) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """All logged figures, oldest first; a line that a kill left half-written is passed over."""
        rows = []
        for line in self._log.read_text().splitlines() if self._log.exists() else ():
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
        return rows

    def draw_curve(self) -> Path:
        """Draw loss and validation gain against time into `curve.png`; return its path."""
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        history = self.history()
        minutes = [row["seconds"] / 60 for row in history]
        figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6), layout="constrained")
        for name in history[0].get("gains_db", ()) if history else ():
            above.plot(minutes, [row["gains_db"][name] for row in history], linewidth=0.8, alpha=0.7, label=name)
        above.plot(minutes, [row["gain_db"] for row in history], color="black", label="mean")
        above.legend(fontsize="x-small", ncols=2)
        above.set_ylabel("validation ΔPSNR (dB)")
        below.plot(minutes, [row["loss"] for row in history])
        below.set_ylabel("training loss")
        below.set_xlabel("minutes")
        for axis in (above, below):
            axis.grid(visible=True, alpha=0.3)
        target = self.path / "curve.png"
        figure.savefig(target, dpi=120)
        pyplot.close(figure)
        return target


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(content)
    temporary.replace(path)
