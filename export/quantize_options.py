"""How int8 is made and judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postfilter.errors import InputError
from postfilter.runtime.manifest import sha256_of_file

__all__ = ["QuantizeOptions"]


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """What a user may say about int8. Other precisions have no use for it."""

    calibrate: tuple[Path, ...] = ()
    """Decoded clips, pictures or folders of them to find the ranges on; those recorded with the weights where empty."""
    judge_with: tuple[Path, ...] = ()
    """Clips or pictures of good quality to judge on; drawn scenes where empty."""
    layers: tuple[str, ...] | None = None
    """The convolutions to quantize; where None all, or as many as keep enough of the model's gain."""
    force: bool = False
    """Keep the engine whatever the judgement says."""

    def as_json(self) -> dict[str, Any]:
        """Return what decides the engine, for its key: of files their content, not their names.

        Raises:
            InputError: a file or folder does not exist.
        """
        return {
            "calibrate": [sha256_of_file(file) for path in self.calibrate for file in _files(path)],
            "judge_with": [sha256_of_file(file) for path in self.judge_with for file in _files(path)],
            "layers": None if self.layers is None else list(self.layers),
            "force": self.force,
        }


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(each for each in path.iterdir() if each.is_file())
    if not path.is_file():
        raise InputError(f"{path} does not exist; give clips, pictures or folders of them")
    return [path]
