"""What was chosen for a clip, from what, and what decided."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postfilter.export import Precision
    from postfilter.runtime.piece_rule import Piece
    from postfilter.video.filtering.guard import GuardMode
    from postfilter.video.writing.encoder import EncoderSettings

__all__ = ["Candidate", "Choice", "Wishes"]


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for that decides how fast a clip is filtered."""

    precision: Precision | None = None
    """The only one to be considered; None for the fastest that is still the same filter."""
    encoding: EncoderSettings | None = None
    """None where nothing is written."""
    hwaccel: str | None = None
    """The device that decodes; models that read the QP are then left out, which such decoders do not tell."""
    skip_below_qp: float | None = None
    tile_reuse: bool = True
    guard: GuardMode = "redo"
    threads: int | None = None
    """Of the engine, as all that follow; see `runtime.load_engine`."""
    requests: int | None = None
    piece: Piece = "auto"
    memory_limit_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model, and what is known of its speed on this clip."""

    model: str
    precision: str
    gain_db: float | None
    """What its card says it gains at the clip's codec and QP; None where it says nothing."""
    expected_fps: float | None = None
    """With decoding and encoding; None where nothing is known."""
    basis: str = "unknown"
    """Where that comes from: `clip` (its first frames), `engine` (its time for this size), `estimate` (from the
    multiply-accumulates, an engine was not built)."""
    real_time: bool = False
    """Whether it is expected to keep up with the clip."""
    reason: str | None = None
    """Why there is no engine, where there can be none."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen, and from what."""

    model: str
    precision: str
    expected_fps: float
    """With decoding, and with encoding as asked for, if nothing else takes the cores."""
    clip_fps: float
    real_time: bool
    """Whether that is enough; where no model is, the fastest was chosen."""
    candidates: tuple[Candidate, ...]
    """All, the one that gains most first."""
    cached: bool
    """Whether this was found by an earlier run."""

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes."""
        return asdict(self)

    def sentence(self, *, width: int, height: int) -> str:
        """Tell it to a person, in one line."""
        rank = [each.model for each in self.candidates].index(self.model)
        gain = self.candidates[rank].gain_db
        harm = "" if gain is None or gain > 0 else ", though its card tells of no gain at this codec and QP"
        name = f"{self.model} {self.precision}"
        where = f"{width}x{height} at {self.clip_fps:.4g} fps"
        if not self.real_time:
            return (
                f"no model is expected to keep up with {where} here: {name}, the fastest, will reach "
                f"{self.expected_fps:.3g}{harm}; --model NAME to choose"
            )
        others = [*reversed(self.candidates[:rank]), *self.candidates[rank + 1 :]]
        other = next((each for each in others if each.expected_fps is not None), None)
        beside = f" ({other.model} {other.precision} would reach {other.expected_fps:.3g})" if other else ""
        return f"{name}: {self.expected_fps:.3g} fps expected for {where}{harm}{beside}; --model NAME to choose"
