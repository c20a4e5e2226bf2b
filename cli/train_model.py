"""`train-model`: from folders of pictures and clips to weights with a curve."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from contextlib import redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter import models
from postfilter.cli.command import Command, Reporter, Result
from postfilter.errors import MissingDependencyError, PostfilterError

if TYPE_CHECKING:
    from rich.console import Console

    from postfilter.training import Processes, Recipe

__all__ = ["COMMAND", "main"]

_RECIPE_OPTIONS = (
    "jpeg_quality",
    "jpeg_sampling",
    "jpeg_tables",
    "jpeg_twice",
    "qp",
    "clip_scale",
    "steps",
    "minutes",
    "patch_size",
    "batch_size",
    "teacher",
    "teacher_weights",
    "lr",
    "lr_taught",
    "lr_jpeg",
    "harm",
    "deblocking",
    "augmentation",
    "threads",
    "seed",
)

_SUMMARY = """Train a model's weights, resumably, with the validation gain as it goes.

  train-model fastarcnn --images photos/ --minutes 20
  train-model fastarcnn-luma --images photos/ --clips clean/*.mp4 --degradation mixed --output runs/luma
  train-model fastarcnn --images photos/ --output runs/fastarcnn --resume

  torchrun --nproc-per-node 2 -m postfilter train-model fastarcnn --images photos/

The run folder holds weights.safetensors (for --weights elsewhere), recipe.json, made_by.jsonl, log.jsonl, checkpoint.pt
and curve.png."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; their defaults are those of `postfilter.training.Recipe`."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"one of {', '.join(models.names())}")
    parser.add_argument("--arch", metavar="MODEL", help="the same as MODEL")
    data = parser.add_argument_group("data")
    data.add_argument("--images", type=Path, nargs="+", default=[], metavar="DIR", help="clean pictures to train on")
    data.add_argument("--clips", type=Path, nargs="+", default=[], metavar="CLIP", help="clean clips, or folders")
    data.add_argument(
        "--validation", type=Path, metavar="DIR", help="clean pictures to choose on (default: some of --images)"
    )
    data.add_argument(
        "--degradation",
        choices=("jpeg", "h264", "hevc", "mixed", "mpeg2", "av1", "all"),
        help="default: jpeg for RGB, mixed (H.264 and HEVC) for luma",
    )
    data.add_argument(
        "--jpeg-quality",
        type=int,
        nargs="+",
        metavar="Q",
        help="each as often as listed (default: 10 10 15 20 30 40)",
    )
    data.add_argument(
        "--jpeg-sampling", nargs="+", metavar="S", help="chroma sampling, as often as listed (default: 4:2:0)"
    )
    data.add_argument(
        "--jpeg-tables", type=float, metavar="SHARE", help="of pictures with Photoshop's tables instead (default: 0)"
    )
    data.add_argument(
        "--jpeg-twice", type=float, metavar="SHARE", help="of pictures saved before on other blocks (default: 0)"
    )
    data.add_argument(
        "--qp", type=int, nargs=2, metavar=("LOW", "HIGH"), help="constant QPs to code at (default: 20 47)"
    )
    data.add_argument(
        "--clip-scale",
        type=float,
        metavar="S",
        help="size at which clips are used; use 1 for pristine ones (default: 0.5)",
    )
    data.add_argument("--cache", type=Path, metavar="DIR", help="where coded video is kept (default: the user's cache)")
    how = parser.add_argument_group("training")
    length = how.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="optimizer steps (default: 40000)")
    length.add_argument("--epochs", type=float, help="passes over the training pictures, instead")
    length.add_argument("--minutes", type=float, help="wall time, instead")
    how.add_argument("--patch-size", type=int, metavar="N", help="side of a patch in samples (default: 64)")
    how.add_argument("--batch-size", type=int, metavar="N", help="patches a step (default: 32)")
    how.add_argument("--lr", type=float, help="learning rate on video after the warm-up (default: 0.001)")
    how.add_argument("--lr-taught", type=float, metavar="LR", help="the same under a teacher (default: 0.01)")
    how.add_argument("--lr-jpeg", type=float, metavar="LR", help="the same on JPEG pictures (default: 0.02)")
    how.add_argument("--teacher", metavar="MODEL", help="learn this model's corrections of video first")
    how.add_argument("--teacher-weights", metavar="FILE", help="its weights (default: those in the package)")
    how.add_argument("--harm", type=float, help="weight of making patches worse, on video (default: 0)")
    how.add_argument("--deblocking", type=float, help="weight of remaining block edges, on JPEG (default: 0.25)")
    how.add_argument(
        "--augmentation",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="flips and quarter turns (default: on)",
    )
    how.add_argument("--seed", type=int, help="of everything random (default: 0)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    how.add_argument(
        "--weights",
        metavar="FILE|MODEL",
        help="start from these weights; those of an RGB network are folded for its luma form, those of an edge network "
        "that reads one frame reach three",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="the run folder (default: runs/MODEL)")
    parser.add_argument("--resume", action="store_true", help="continue the run in the output folder")


def run(arguments: argparse.Namespace, reporter: Reporter) -> Result:
    """Make the pools, train, and say where the weights are."""
    name = arguments.model or arguments.arch
    if name is None or (arguments.arch and arguments.model and arguments.arch != arguments.model):
        raise PostfilterError(f"name one model to train: {', '.join(models.names())}")
    card = models.card(name)
    try:
        from postfilter import training
    except ImportError as error:
        raise MissingDependencyError("torch", "training", "train", error) from error
    degradation = arguments.degradation or ("jpeg" if card.layout == "rgb" else "mixed")
    given: dict[str, Any] = {"degradation": degradation} | {
        key: tuple(value) if isinstance(value, list) else value
        for key in _RECIPE_OPTIONS
        if (value := getattr(arguments, key)) is not None
    }
    if arguments.minutes is not None:
        given["steps"] = None
    if arguments.weights is not None:
        given["start"] = arguments.weights
    with training.joined() as processes:
        return _train(training.Recipe(model=name, **given), arguments, reporter, processes)


def _train(recipe: Recipe, arguments: argparse.Namespace, reporter: Reporter, processes: Processes) -> Result:
    from postfilter import training

    name = recipe.model
    output = arguments.output or Path("runs") / name
    # Before the pictures are degraded, which can take minutes.
    processes.share(recipe.batch_size)
    processes.from_first(lambda: training.RunFolder.check(output, recipe, resume=arguments.resume))
    with reporter.progress(f"degrading with {recipe.degradation}") as update:
        data = training.load_data(
            recipe,
            images=arguments.images,
            clips=arguments.clips,
            validation=arguments.validation,
            cache=arguments.cache,
            processes=processes,
            on_progress=update,
        )
    if arguments.epochs is not None:
        recipe = recipe.for_epochs(arguments.epochs, samples=data.pool.samples)
    chosen_on = sum(len(pool.clean) for pool in data.validation.values())
    reporter.note(f"{len(data.pool.clean)} pictures to train on, {chosen_on} to choose on")
    with reporter.progress(f"training {name}") as update:
        result = training.train(
            recipe,
            data=data,
            output=output,
            resume=arguments.resume,
            weights=_weights(arguments.weights),
            processes=processes,
            on_progress=update if reporter.console.is_terminal else _Lines(reporter, recipe),
        )
    return {
        "model": name,
        "output": str(output),
        "weights": str(result.weights),
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "validation_gain_db": round(result.gain_db, 4),
        "recipe": recipe.as_json(),
    }


def render(result: Result, console: Console) -> None:
    """Print where the weights are and what to type next."""
    console.print(
        f"[bold]{result['model']}[/]: {result['steps']} steps in {result['seconds'] / 60:.1f} minutes, "
        f"validation ΔPSNR {result['validation_gain_db']:+.3f} dB\n"
        f"weights  {result['weights']}\ncurve    {Path(result['output']) / 'curve.png'}\n"
        f"next     export-engine {result['model']} --weights {result['weights']}"
    )


class _Lines:
    """Tells of a long run where no bar moves: a line after each validation."""

    def __init__(self, reporter: Reporter, recipe: Recipe) -> None:
        self._reporter, self._recipe = reporter, recipe
        self._started, self._told = time.monotonic(), math.nan
        self._first: float | None = None

    def __call__(self, done: float, total: float, *, gain_db: float, steps_per_second: float, **_: float) -> None:
        if self._first is None:
            self._first = done
        if gain_db == self._told or math.isnan(gain_db):
            return
        self._told = gain_db
        elapsed = time.monotonic() - self._started
        left = elapsed * (total - done) / max(done - self._first, 1e-9)
        self._reporter.note(
            f"{done / total:.1%}  gain {gain_db:+.4f} dB  {steps_per_second:.2f} steps/s  "
            f"{timedelta(seconds=round(left))} left"
        )


def _weights(given: str | None) -> Path | None:
    """A model's name stands for its shipped weights."""
    if given is None:
        return None
    return models.card(given).weights_path if given in models.names() else Path(given)


COMMAND = Command(name="train-model", summary=_SUMMARY, add_arguments=add_arguments, run=run, render=render)


def main() -> int:
    """Run the command; return its exit status. Of several processes of torchrun the first alone prints a result."""
    if os.environ.get("RANK", "0") == "0":
        return COMMAND.main()
    sys.argv.append("--quiet")
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        return COMMAND.main()
