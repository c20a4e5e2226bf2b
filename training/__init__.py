"""Training: degraded and clean pictures in, weights with a card out. Needs torch."""

from __future__ import annotations

from postfilter.training.data import TrainingData, load_data
from postfilter.training.pool import PatchPool
from postfilter.training.processes import Processes, joined
from postfilter.training.recipe import DEGRADATIONS, Degradation, Recipe
from postfilter.training.run_folder import RunFolder
from postfilter.training.trainer import TrainingResult, train

__all__ = [
    "DEGRADATIONS",
    "Degradation",
    "PatchPool",
    "Processes",
    "Recipe",
    "RunFolder",
    "TrainingData",
    "TrainingResult",
    "joined",
    "load_data",
    "train",
]
