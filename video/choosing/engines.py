"""The engines that may filter a clip: in the cache or built now, and how fast they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.errors import MissingDependencyError, PostfilterError, VerificationError, WeightsError
from postfilter.runtime import load_engine, read_manifest
from postfilter.runtime.backend import usable_cores
from postfilter.video.choosing.beginning import engine_seconds
from postfilter.video.choosing.kept import Kept

if TYPE_CHECKING:
    from postfilter.export import Precision
    from postfilter.models import ModelCard
    from postfilter.runtime import Engine
    from postfilter.video.choosing.choice import Wishes
    from postfilter.video.reading.clip_info import ClipInfo

__all__ = ["BACKEND", "PRECISIONS", "Engines", "can_build", "digest"]

BACKEND = "openvino"
"""It runs on every machine's CPU, which is what processor time can be told of."""
PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")
"""The fastest first; int8 is refused where it keeps too little or is no faster, fp16 where it changes the model."""
_CLASSES = {"480p": 720 * 576, "720p": 1280 * 720, "1080p": 1920 * 1088, "2160p": 4096 * 2160}
"""Name of a class of sizes -> the most samples that it holds."""


class Engines:
    """Finds, builds, measures and opens engines for one clip.

    Args:
        clip: what `probe` tells of it.
        wishes: what the user asked for.
        kept: what is known of this machine.
        on_step: told in a few words what begins.
    """

    def __init__(self, clip: ClipInfo, wishes: Wishes, kept: Kept, on_step: Callable[[str], None]) -> None:
        self._clip, self._wishes, self._kept, self._step = clip, wishes, kept, on_step
        self.ladder = PRECISIONS if wishes.precision is None else (wishes.precision,)
        """The precisions that are considered."""

    def parts(self, card: ModelCard, precision: str) -> dict[str, Any]:
        """Return all that decides an engine; see `export.request_parts`."""
        from postfilter.export import request_parts

        return request_parts(card.name, precision=precision, backend=BACKEND)

    def current(self, card: ModelCard, precision: str) -> Path | None:
        """Return the folder of the engine in the cache; None where there is none that would be built now."""
        from postfilter.export import cached_standing

        found = cached_standing(self.parts(card, precision))
        return found.engine if found.current else None

    def standing(self, card: ModelCard) -> tuple[str, Path] | None:
        """Return precision and folder of the engine to be taken, if it is in the cache.

        That is the first precision which was not refused; where nothing can be built, the first that is there.
        """
        for precision in self.ladder:
            folder = self.current(card, precision)
            if folder is not None:
                return precision, folder
            if can_build() and not self._was_refused(card, precision):
                return None
        return None

    def engine(self, card: ModelCard) -> tuple[str, Path]:
        """Return precision and folder of the fastest engine that is the same filter, built if need be.

        Raises:
            PostfilterError: there is none, and none can be built.
        """
        from postfilter.export import build_key, cached_engine

        standing = self.standing(card)
        if standing is not None:
            return standing
        if not can_build():
            absent = ModuleNotFoundError("No module named 'torch' or 'onnx'", name="torch")
            raise MissingDependencyError(
                "torch",
                "no engine that fits is in this machine's cache, and building one",
                "export",
                absent,
                remedy="install postfilter[export] here, or make an engine with export-engine elsewhere and give its "
                "folder with --engine",
            )
        failure: PostfilterError | None = None
        for precision in self.ladder:
            if self._was_refused(card, precision):
                continue
            try:
                return precision, cached_engine(card.name, precision=precision, backend=BACKEND, on_step=self._step)
            except (VerificationError, WeightsError) as error:
                failure = error
                self._kept.put("refused", build_key(self.parts(card, precision)), str(error))
        raise failure or VerificationError(f"{card.name} was refused in {', '.join(self.ladder)}; name another --model")

    def seconds(self, card: ModelCard, precision: str, folder: Path) -> float:
        """Return the processor time of a whole frame of the clip, measured for its class of sizes now or before."""
        clip, wishes = self._clip, self._wishes
        samples = clip.width * clip.height
        size = next((name for name, most in _CLASSES.items() if samples <= most), "larger")
        run = [clip.bit_depth, usable_cores(), wishes.threads, wishes.requests, wishes.piece, wishes.memory_limit_mb]
        key = f"{card.name} {precision} {size} {digest([read_manifest(folder).build_key, *run])}"
        kept = self._kept.get("seconds_per_megapixel", key)
        if not isinstance(kept, float):
            self._step(f"measuring {card.name} {precision} at {clip.width}x{clip.height}")
            with self.open(folder) as engine:
                kept = engine_seconds(engine, width=clip.width, height=clip.height) / (samples / 1e6)
            self._kept.put("seconds_per_megapixel", key, kept)
        return kept * samples / 1e6

    def open(self, folder: Path) -> Engine:
        """Return the engine in a folder as the run will load it."""
        wishes = self._wishes
        return load_engine(
            folder,
            bit_depth=self._clip.bit_depth,
            threads=wishes.threads,
            requests=wishes.requests,
            piece=wishes.piece,
            memory_limit_mb=wishes.memory_limit_mb,
        )

    def _was_refused(self, card: ModelCard, precision: str) -> bool:
        from postfilter.export import build_key

        return self._kept.get("refused", build_key(self.parts(card, precision))) is not None


def can_build() -> bool:
    """Whether this installation has what engines are built with."""
    return find_spec("torch") is not None and find_spec("onnx") is not None


def digest(content: Any) -> str:
    """Return a short name for content that JSON can hold, or tell as text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
