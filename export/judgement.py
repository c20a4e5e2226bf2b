"""Is a quantized engine worth having? What it keeps of the fp32 model's gain, and what it saves in time."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from postfilter.errors import VerificationError
from postfilter.quality.metrics import finite_psnr
from postfilter.runtime.measure import sample_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from postfilter.export.judged_frames import Pair
    from postfilter.runtime import Engine

    Samples: TypeAlias = NDArray[np.uint8]

__all__ = ["ADDED_LOSS_AT_MOST_DB", "KEPT_AT_LEAST", "Judgement", "check_judgement", "mean_gain_db", "side_by_side_ms"]

KEPT_AT_LEAST = 0.95
"""Of the fp32 model's ΔPSNR."""
ADDED_LOSS_AT_MOST_DB = 0.002
"""At QP 22: by how much the frames may be worse than decoded, beyond what fp32 or the next higher precision makes
them, whichever makes them worse: that precision is what would be taken instead."""
_GAIN_AT_LEAST_DB = 0.02
"""What fp32 has to gain on the frames, for a share of it to mean anything."""
_SECONDS, _ROUNDS = 1.5, 7


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """An engine against the fp32 model and against an engine of the next higher precision."""

    delta_psnr_fp32: float
    """What the model gains in fp32 over the decoded frames, in dB."""
    delta_psnr: float
    """What the engine gains on the same frames, in dB."""
    frames: int
    """How many there were."""
    source: str
    """What they were: `drawn`, or the names of the user's files. None of them was calibrated on."""
    ms: float
    """The engine's time for one frame in milliseconds, median."""
    higher: str
    """The next higher precision."""
    higher_ms: float
    """The time of an engine of that precision, measured in turns with this one."""
    width: int
    """Of the frames timed, as `height`."""
    height: int
    fine_fp32: float = 0.0
    """ΔPSNR of the model in fp32 on frames at QP 22, in dB, for models that read the QP."""
    fine: float = 0.0
    """The same of the engine."""
    fine_higher: float = 0.0
    """The same of an engine of the next higher precision."""

    @property
    def kept(self) -> float:
        """The share of fp32's ΔPSNR that is kept; 0 where fp32 gains nothing that could be shared."""
        return self.delta_psnr / self.delta_psnr_fp32 if self.delta_psnr_fp32 >= _GAIN_AT_LEAST_DB else 0.0

    @property
    def added_loss_db(self) -> float:
        """How much worse than decoded the engine leaves frames at QP 22, beyond what a higher precision does.

        0 where it still gains there.
        """
        return max(0.0, min(self.fine_fp32, self.fine_higher, 0.0) - self.fine)

    @property
    def faithful(self) -> bool:
        """Whether enough of the gain is kept, and no harm is done where there is little to gain."""
        return self.kept >= KEPT_AT_LEAST and self.added_loss_db <= ADDED_LOSS_AT_MOST_DB

    def objections(self) -> list[str]:
        """Return why the engine should not be used, in sentences; none where it should."""
        found = []
        if self.delta_psnr_fp32 < _GAIN_AT_LEAST_DB:
            found.append(
                f"fp32 itself gains {self.delta_psnr_fp32:+.3f} dB on the frames ({self.source}), so what is kept of "
                "that cannot be told: give sources that the filter is made for with --judge-with"
            )
        elif self.kept < KEPT_AT_LEAST:
            found.append(
                f"it keeps {self.kept:.1%} of what fp32 gains ({self.delta_psnr:+.3f} of {self.delta_psnr_fp32:+.3f} "
                f"dB on {self.frames} frames), at least {KEPT_AT_LEAST:.0%} is required"
            )
        if self.added_loss_db > ADDED_LOSS_AT_MOST_DB:
            found.append(
                f"at QP 22 it makes frames {self.added_loss_db:.4f} dB worse than fp32 and {self.higher} do "
                f"({self.fine:+.4f} against {self.fine_fp32:+.4f} and {self.fine_higher:+.4f} dB), at most "
                f"{ADDED_LOSS_AT_MOST_DB} is allowed"
            )
        if self.ms >= self.higher_ms:
            found.append(
                f"it is no faster than {self.higher} on this machine ({self.ms:.2f} ms a frame of "
                f"{self.width}x{self.height} against {self.higher_ms:.2f})"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Return what `engine.json` holds under `quantization.judgement`."""
        return dataclasses.asdict(self) | {"kept": self.kept, "added_loss_db": self.added_loss_db}


def check_judgement(judgement: Judgement, *, precision: str, name: str) -> None:
    """Refuse an engine to which there is an objection.

    Raises:
        VerificationError: with the numbers.
    """
    found = judgement.objections()
    if found:
        calibrate = "--calibrate with clips of your own kind, " if not judgement.faithful else ""
        raise VerificationError(
            f"the {precision} engine of {name} is refused: {'; '.join(found)}. Try --{judgement.higher}, {calibrate}or "
            "--force to have it all the same"
        )


def mean_gain_db(filter: Callable[..., Samples], pairs: Sequence[Pair]) -> float:  # noqa: A002 (what it is)
    """Return ΔPSNR in dB, averaged over frames: how much nearer to the source the filter brings what was decoded.

    Args:
        filter: uint8 [1, C, H, W] to the same: an engine, or any function. It is given `inputs` where a pair has some.
        pairs: decoded frames and their sources.
    """

    def gain(pair: Pair) -> float:
        filtered = filter(pair.decoded, **({"inputs": pair.inputs} if pair.inputs else {}))
        return finite_psnr(filtered, pair.source) - finite_psnr(pair.decoded, pair.source)

    return statistics.fmean(map(gain, pairs))


def side_by_side_ms(engines: Mapping[str, Engine], *, width: int, height: int) -> dict[str, float]:
    """Time engines in turns, so that whatever else the machine does hits all alike; return the median of each in ms.

    Args:
        engines: by any name; made for that size, or for any.
        width: of the frames, as `height`.
        height: see `width`.
    """
    frames = {name: sample_frames(engine, width=width, height=height, count=2) for name, engine in engines.items()}
    for name, engine in engines.items():
        engine(frames[name][0])
    times: dict[str, list[float]] = {name: [] for name in engines}
    begin = time.perf_counter()
    while len(times[next(iter(times))]) < _ROUNDS or time.perf_counter() - begin < _SECONDS:
        for name, engine in engines.items():
            start = time.perf_counter()
            engine(frames[name][len(times[name]) % 2])
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(each) for name, each in times.items()}
