"""The engines that may filter a clip: in the cache or built now, and how fast they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.errors import ArtefactError, MissingDependencyError, PostfilterError, VerificationError, WeightsError
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

    def standing(self, card: ModelCard) -> bool:
        """Whether the engine to be taken is in the cache: in the first precision that was not refused.

        Where nothing can be built, any of them will do.
        """
        for precision in self.ladder:
            if self._refusal(card, precision) is not None:
                continue
            if self.current(card, precision) is not None:
                return True
            if can_build():
                return False
        return False

    def measured(self, card: ModelCard) -> tuple[Path, float]:
        """Return the fastest engine that is the same filter and takes the clip, and what it takes for a frame.

        What is not in the cache is built, and what is not known of its speed is measured.

        Returns:
            Its folder, and processor time in seconds.

        Raises:
            PostfilterError: there is none, and none can be built.
        """
        from postfilter.export import cached_engine

        failure: PostfilterError | None = None
        for precision in self.ladder:
            if self._refusal(card, precision) is not None:
                continue
            folder = self.current(card, precision)
            if folder is None and not can_build():
                continue
            try:
                folder = folder or cached_engine(card.name, precision=precision, backend=BACKEND, on_step=self._step)
                return folder, self._seconds(card, precision, folder)
            # It is no longer the same filter or no faster, has no ranges for int8, or does not take so many bits.
            except (VerificationError, WeightsError, ArtefactError) as error:
                failure = error
                self._kept.put("refused", self._refusal_key(card, precision), str(error))
        raise failure or self._none(card)

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

    def _seconds(self, card: ModelCard, precision: str, folder: Path) -> float:
        """The processor time of a whole frame of the clip, measured for its class of sizes now or before."""
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

    def _refusal(self, card: ModelCard, precision: str) -> Any:
        """Why this precision was refused before; None where it was not."""
        return self._kept.get("refused", self._refusal_key(card, precision))

    def _refusal_key(self, card: ModelCard, precision: str) -> str:
        return f"{card.name} {precision} {self._clip.bit_depth} bits {digest(self.parts(card, precision))}"

    def _none(self, card: ModelCard) -> PostfilterError:
        if can_build():
            refused = [f"{each}: {self._refusal(card, each)}" for each in self.ladder]
            return VerificationError(f"no engine of {card.name} does for this clip ({'; '.join(refused)})")
        return MissingDependencyError(
            "torch",
            "no engine that fits is in this machine's cache, and building one",
            "export",
            ModuleNotFoundError("No module named 'torch' or 'onnx'", name="torch"),
            remedy="install postfilter[export] here, or make an engine with export-engine elsewhere and give its "
            "folder with --engine",
        )


def can_build() -> bool:
    """Whether this installation has what engines are built with."""
    return find_spec("torch") is not None and find_spec("onnx") is not None


def digest(content: Any) -> str:
    """Return a short name for content that JSON can hold, or tell as text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
