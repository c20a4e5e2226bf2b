"""What windows cost is told right on a machine that does other things meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.runtime import tile_trial
from postfilter.runtime.jobs import PieceJob, WholeJob, run_jobs
from postfilter.runtime.tile_canvas import Canvas, canvases_for
from postfilter.runtime.tile_trial import Trial, try_canvases

WIDTH, HEIGHT = 1024, 768
CANVASES = canvases_for(WIDTH, HEIGHT, halo=14, multiple=2, period=4)
SHARES = [canvas.size[0] * canvas.size[1] / (WIDTH * HEIGHT) for canvas in CANVASES]


class Unfiltered:
    """A backend, what it compiles and what is under way: the output is the input."""

    def compile(self, shape: tuple[int, ...]) -> Unfiltered:
        return self

    def prepare(self, *, stream: bool) -> None:
        pass

    def start(self, samples: NDArray[Any]) -> Unfiltered:
        started = Unfiltered()
        started.samples = samples.copy()
        return started

    def wait(self) -> NDArray[Any]:
        return self.samples

    def close(self) -> None:
        pass


def tried(monkeypatch: pytest.MonkeyPatch, slowed: Callable[[float], float]) -> Trial:
    """A trial in which what is a share of a frame takes that share of 40 ms, `slowed`, and 0.1 ms besides."""

    def run(job: Any) -> tuple[NDArray[Any], float]:
        (output,) = run_jobs([job], requests=1)
        assert isinstance(job, PieceJob | WholeJob)
        share = np.prod(job._parts[0].size) / (WIDTH * HEIGHT) if isinstance(job, PieceJob) else 1.0
        return output, 1e-4 + 0.04 * share * slowed(share)

    monkeypatch.setattr(tile_trial, "_run", run)
    backend: Any = Unfiltered()
    return try_canvases(CANVASES, shape=(1, 1, HEIGHT, WIDTH), multiple=2, backend=backend, twin=lambda: backend)


@pytest.mark.parametrize("least", [2, *SHARES, 1], ids="nothing {:.2f} {:.2f} {:.2f} whole".format(*SHARES).split())
def test_runs_that_were_slowed_down_do_not_count(monkeypatch: pytest.MonkeyPatch, least: float) -> None:
    """The longer a run takes, the surer other work gets its turn in it, from `least` of a frame on in every one."""
    found = tried(monkeypatch, lambda share: 2.0 if share >= max(least, SHARES[1]) else 1.0)
    assert found.canvases == tuple(CANVASES) and found.reason is None
    whole = 1e-4 + 0.04
    expected = [(1e-4 + 0.04 * share) / whole for share in SHARES]
    assert found.costs == pytest.approx(expected, rel=0.25)
    assert list(found.costs) == sorted(found.costs)


def test_one_canvas_that_differs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: Canvas = CANVASES[1]

    def start(self: Unfiltered, samples: NDArray[Any]) -> Unfiltered:
        started = Unfiltered()
        started.samples = samples + (samples.shape[3] == wrong.size[0])
        return started

    monkeypatch.setattr(Unfiltered, "start", start)
    assert tried(monkeypatch, lambda share: 1.0).canvases == (CANVASES[0], CANVASES[2])
