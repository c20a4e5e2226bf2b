"""A candidate of `export-engine --auto` whose engine was made: where it is, what it keeps, how fast it was."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from postfilter.export.search.candidates import CHOSEN, PASSES_GATE, AutoRow, Candidate

__all__ = ["Entry"]


@dataclass(kw_only=True, eq=False)
class Entry:
    """A candidate and what is known of it so far."""

    candidate: Candidate
    folder: Path
    """Of its engine, which other entries may share that run it in another way."""
    precision_run: str
    psnr_db: float
    delta_psnr: float
    kept: float
    objection: str
    """Why it is refused; empty where it passes."""
    passes: tuple[str, ...]
    requests: int = 0
    """Frames in flight; known once it was timed, as all below."""
    ms: list[float] = field(default_factory=list)
    """The median of single frames in milliseconds, of each round."""
    fps: list[float] = field(default_factory=list)
    """Frames a second of a stream, of each round."""
    peak_memory_mb: float | None = None

    @property
    def speed(self) -> float:
        """Frames a second in the fastest round, as what else the machine does only ever costs."""
        return max(self.fps)

    def run_as(self, candidate: Candidate) -> Entry:
        """Return the same engine run in another way, not timed yet."""
        return dataclasses.replace(self, candidate=candidate, requests=0, ms=[], fps=[])

    def row(self, *, chosen: bool = False) -> AutoRow:
        """Return its row of the table."""
        candidate = self.candidate
        return AutoRow(
            backend=candidate.backend,
            device=candidate.device,
            precision=candidate.precision,
            precision_run=self.precision_run,
            passes=self.passes,
            int8_layers=candidate.layers,
            piece=candidate.piece,
            requests=self.requests or None,
            threads=candidate.threads,
            ms_p50=round(min(self.ms), 3) if self.ms else None,
            fps=round(self.speed, 2) if self.fps else None,
            psnr_db=self.psnr_db,
            delta_psnr=round(self.delta_psnr, 4),
            kept=round(self.kept, 4),
            peak_memory_mb=None if self.peak_memory_mb is None else round(self.peak_memory_mb, 1),
            verdict=f"refused: {self.objection}" if self.objection else CHOSEN if chosen else PASSES_GATE,
        )
