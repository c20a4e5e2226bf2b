"""The ladder against made-up costs and a made-up clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from postfilter.video.realtime.ladder import Ladder, LadderSettings, Rung

FPS = 30
LATENCY = 0.2
RUNGS = [
    Rung(name="fine", work=0),
    Rung(name="cheap", work=1),
    Rung(name="half", work=1, every=2),
    Rung(name="pass", work=None),
]


@dataclass
class Run:
    ladder: Ladder
    late: int
    steps: list[tuple[float, str]]
    """When the ladder came to which rung."""

    def rung_at(self, seconds: float) -> str:
        return [name for at, name in self.steps if at <= seconds][-1]


def simulate(
    seconds: float, cost: Callable[[int, float], float], *, rungs: Sequence[Rung] = RUNGS, latency: float = LATENCY
) -> Run:
    """One filter thread that takes `cost(work, now)` seconds for a frame; frames come at 30 a second."""
    ladder = Ladder(rungs, interval_seconds=1 / FPS, latency_seconds=latency)
    ladder.begin(0.0)
    now, late, steps = 0.0, 0, [(0.0, ladder.rungs[0].name)]
    for number in range(round(seconds * FPS)):
        moment = number / FPS
        now = max(now, moment)
        choice = ladder.choose(now, slack=moment + latency - now, spacing=1 / FPS)
        if choice.work is not None:
            took = cost(choice.work, now)
            now += took
            ladder.measured(now, choice, took)
        margin = moment + latency - now
        late += margin < 0
        ladder.finished(now, margin=margin)
        name = ladder.rungs[ladder.current].name
        if name != steps[-1][1]:
            steps.append((now, name))
    ladder.end(now)
    return Run(ladder, late, steps)


def loaded(start: float, end: float, factor: float, *costs: float) -> Callable[[int, float], float]:
    return lambda work, now: costs[work] * (factor if start <= now < end else 1)


def test_with_enough_time_nothing_moves() -> None:
    run = simulate(20, loaded(0, 0, 1, 0.025, 0.01))
    assert run.steps == [(0.0, "fine")] and run.late == 0
    assert run.ladder.frames == [600, 0, 0, 0]
    assert run.ladder.seconds[0] == pytest.approx(20, abs=0.1)


def test_load_takes_it_down_and_its_end_takes_it_up() -> None:
    run = simulate(40, loaded(5, 15, 3, 0.025, 0.008))
    assert run.rung_at(4.9) == "fine"
    assert run.rung_at(6) == "cheap" and run.rung_at(15) == "cheap"
    assert run.rung_at(40) == "fine"
    assert run.late <= 1
    assert (run.ladder.steps_down, run.ladder.steps_up) == (1, 1)


def test_every_rung_is_used_when_the_load_asks_for_it() -> None:
    for factor, rung in ((2.0, "cheap"), (4.0, "half"), (8.0, "pass")):
        run = simulate(30, loaded(2, 30, factor, 0.025, 0.012))
        assert run.rung_at(30) == rung, f"under {factor} times the load"
        assert run.late <= 3


def test_a_hopeless_load_costs_few_frames_and_is_probed_ever_less() -> None:
    run = simulate(60, loaded(2, 60, 20, 0.025, 0.012))
    assert run.rung_at(59) == "pass"
    # One frame of 500 ms and one of 240 ms teach it what the engines cost now: 21 frames pass meanwhile. Each try takes
    # 240 ms and makes itself and the next one late; the tries come after 2, 4, 8, 16 and 32 seconds.
    assert run.late <= 21 + 2 * 5
    assert run.ladder.steps_up == 0


def test_it_does_not_flap_where_the_rung_above_just_fails() -> None:
    """The finer engine alone would take 95 % of the time: more than the head-room that is asked for."""
    run = simulate(60, loaded(0, 5, 1.4, 0.0317, 0.01))
    assert len(run.steps) <= 3
    assert run.rung_at(60) == "cheap"


def test_a_rung_that_is_lost_again_and_again_is_tried_less_often() -> None:
    """Each stay above ends after a second: as if the machine heats up."""
    climbed: list[float] = []

    def cost(work: int, now: float) -> float:
        if work == 1:
            climbed.clear()
            return 0.01
        climbed.append(now)
        return 0.02 if now - climbed[0] < 1 else 0.05

    run = simulate(60, cost)
    returns = [at for at, name in run.steps if name == "fine"]
    gaps = [after - before for before, after in itertools.pairwise(returns)]
    assert len(gaps) >= 3 and gaps == sorted(gaps), "waits must grow"


def test_tries_that_use_up_the_slack_are_failures_too() -> None:
    """After the load came, a frame takes 90 ms: each try eats a good part of the slack, and none comes soon again."""
    filtered: list[float] = []

    def cost(work: int, now: float) -> float:
        filtered.append(now)
        return 0.09 if now > 2 else 0.02

    run = simulate(60, cost, rungs=[RUNGS[0], RUNGS[3]])
    assert run.rung_at(60) == "pass" and run.ladder.steps_up == 0 and run.late == 0
    assert sum(at > 4 for at in filtered) <= 3 * 5, "tries after 2, 4, 8, 16 and 32 seconds"


def test_half_is_tried_as_it_would_run() -> None:
    """50 ms for every second frame of 33 ms is sustainable, though three such frames in a row are not."""
    run = simulate(30, lambda work, now: 0.3 if 2 < now < 5 else 0.05, rungs=RUNGS[2:])
    assert run.rung_at(4.9) == "pass" and run.rung_at(30) == "half"


def test_one_slow_frame_costs_one_rung_for_a_while() -> None:
    slow = iter([0.3])
    run = simulate(20, lambda work, now: next(slow, 0.01) if now > 5 else 0.01)
    assert [name for _, name in run.steps] == ["fine", "cheap", "fine"]
    assert run.late <= 10


def test_late_frames_alone_take_it_down() -> None:
    """Where the encoder is what is slow, filtering less leaves it more of the machine."""
    ladder = Ladder(RUNGS, interval_seconds=1 / FPS, latency_seconds=LATENCY)
    ladder.begin(0.0)
    for number in range(60):
        ladder.choose(number / FPS, slack=LATENCY)
        ladder.finished(number / FPS, margin=-0.01)
    assert ladder.rungs[ladder.current].name == "pass" and ladder.steps_down == 3


def test_known_costs_choose_the_first_rung() -> None:
    ladder = Ladder(RUNGS, interval_seconds=1 / FPS, latency_seconds=LATENCY)
    for work, seconds in ((0, 0.5), (1, 0.05)):
        ladder.learn(work, seconds)
    ladder.begin(0.0)
    assert ladder.rungs[ladder.current].name == "half" and ladder.steps_down == 0


def test_half_filters_every_second_frame() -> None:
    ladder = Ladder(RUNGS[2:], interval_seconds=1 / FPS, latency_seconds=LATENCY)
    ladder.begin(0.0)
    works = [ladder.choose(number / FPS, slack=LATENCY).work for number in range(8)]
    assert works.count(1) == 4 and works.count(None) == 4 and works[:2] != works[1:3]


def test_the_rate_is_learnt_where_the_container_tells_a_wrong_one() -> None:
    ladder = Ladder(RUNGS, interval_seconds=1 / 240, latency_seconds=LATENCY)
    ladder.begin(0.0)
    for number in range(200):
        ladder.choose(number / FPS, slack=LATENCY, spacing=1 / FPS)
    assert ladder.interval_seconds == pytest.approx(1 / FPS, rel=0.01)


def test_settings_reach_it() -> None:
    ladder = Ladder(
        RUNGS, interval_seconds=1 / FPS, latency_seconds=LATENCY, settings=LadderSettings(up_after_seconds=0.5)
    )
    ladder.learn(0, 0.1)
    ladder.begin(0.0)
    assert ladder.current == 1
    for number in range(FPS):
        choice = ladder.choose(number / FPS, slack=LATENCY)
        ladder.measured(number / FPS, choice, 0.005)
    assert ladder.current == 0 and ladder.steps_up == 1


def test_a_ladder_ends_in_passing_through() -> None:
    with pytest.raises(ValueError, match="pass"):
        Ladder(RUNGS[:2], interval_seconds=1 / FPS, latency_seconds=LATENCY)
