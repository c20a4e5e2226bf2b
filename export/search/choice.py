"""Which candidate is the fastest of those that pass: all timed shortly, the leaders refined, the last timed in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from postfilter.errors import PostfilterError, VerificationError
from postfilter.export.search.candidates import AutoRow, Candidate, in_order, unavailable, ways_to_run
from postfilter.export.search.entry import Entry
from postfilter.export.search.trials import Search

__all__ = ["Choice", "choose_engine"]

_SECOND_LOOK = 0.5
"""Candidates that reach less of the fastest one's frames a second are not timed again."""
_NEAR = 0.8
"""Candidates that reach less are not refined."""
_LEADERS = 2
"""Candidates that are refined, at most."""
_IN_THE_END = 0.93
"""Candidates and refinements that reach less are not timed in the end."""
_ROUNDS, _LAST_ROUNDS = 2, 4
"""How often each is timed on the way, and in the end."""
_GAIN = 1.02
"""A refinement has to be so many times faster to be worth it. Among candidates as near as that the plainest is chosen,
and of equally plain ones the one that gains most: less is lost in what other work does to a measurement."""


@dataclass(kw_only=True)
class Choice:
    """All that was tried."""

    entries: list[Entry] = field(default_factory=list)
    """What was made and judged."""
    absent: list[AutoRow] = field(default_factory=list)
    """What cannot be had."""
    final: list[Entry] = field(default_factory=list)
    """What was timed in the end, in turn, so that their speeds can be compared closely."""
    chosen: Entry | None = None

    @property
    def passing(self) -> list[Entry]:
        """What passes, the fastest first."""
        return sorted((each for each in self.entries if not each.objection), key=lambda each: -each.speed)

    def within(self, share: float) -> list[Entry]:
        """Return what passes and reaches that share of the fastest one's frames a second, the fastest first."""
        passing = self.passing
        return [each for each in passing if each.speed >= share * passing[0].speed]

    def rows(self) -> list[AutoRow]:
        """Return the table."""
        return in_order([*(each.row(chosen=each is self.chosen) for each in self.entries), *self.absent])

    def refuse_chosen(self, reason: str) -> None:
        """Have the chosen engine refused after all, however it is run."""
        for each in self.entries:
            if self.chosen is not None and each.folder == self.chosen.folder:
                each.objection = reason

    def choose(self) -> Entry:
        """Choose the fastest that passes; return it.

        Raises:
            VerificationError: nothing does; the message tells what was found of each.
        """
        passing = self.passing
        if not passing:
            found = [f"{each.backend} {each.precision or ''}".strip() + f" {each.verdict}" for each in self.rows()]
            remedy = "other weights, or one precision such as --fp32 to see its numbers"
            remedy = remedy if self.entries else "another --backend, or none to have all tried"
            raise VerificationError(f"no candidate passes: {'; '.join(found)}. Try {remedy}")
        pool = [each for each in passing if each in self.final] or passing
        near = [each for each in pool if each.speed * _GAIN > pool[0].speed]
        self.chosen = min(near, key=lambda each: (each.candidate.departures, -each.delta_psnr))
        return self.chosen


def choose_engine(search: Search, candidates: Sequence[Candidate], absent: Sequence[AutoRow] = ()) -> Choice:
    """Try candidates and refinements of the fastest that pass.

    1. Each is made, judged and timed shortly. Int8 that is fast and keeps too little gets layers back in float.
    2. Those within reach of the fastest are timed again.
    3. The leaders are tried with further rewrites, in pieces, and with other numbers of frames in flight and threads.
       What seems to pay is tried together as well.
    4. What is about as fast as the fastest is timed in turn.

    Args:
        search: makes, judges and times them.
        candidates: what to try first.
        absent: rows of what is known not to be had.

    Raises:
        VerificationError: nothing passes; the message tells what was found of each.
    """
    choice = Choice(absent=list(absent))
    for index, candidate in enumerate(candidates):
        search.step(f"{index + 1} of {len(candidates)}: {candidate}")
        if entry := _enter(search, choice, candidate):
            search.time([entry])
    _mix(search, choice)
    choice.choose()
    again = choice.within(_SECOND_LOOK)
    search.step(f"timing the fastest {len(again)} in turn")
    search.time(again, rounds=_ROUNDS)
    for leader in choice.within(_NEAR)[:_LEADERS]:
        search.step(f"refining {leader.candidate}")
        refined = _refined(search, choice, leader)
        both = _together(leader, refined)
        if both is not None and (entry := _try(search, choice, leader, both)):
            search.time([entry], rounds=_ROUNDS)
    choice.final = choice.within(_IN_THE_END)
    search.step(f"timing the last {len(choice.final)} in turn")
    search.time(choice.final, rounds=_LAST_ROUNDS, anew=True)
    search.weigh(choice.final)
    choice.choose()
    return choice


def _enter(search: Search, choice: Choice, candidate: Candidate) -> Entry | None:
    """Make and judge a candidate; None where it cannot be had."""
    found = search.enter(candidate)
    if isinstance(found, AutoRow):
        choice.absent.append(found)
        return None
    choice.entries.append(found)
    return found


def _mix(search: Search, choice: Choice) -> None:
    """Try int8 with layers in float where all in int8 would be the fastest, but keep too little."""
    fastest = max((each.speed for each in choice.passing), default=0.0)
    for entry in list(choice.entries):
        candidate = entry.candidate
        if candidate.precision != "int8" or not entry.objection or entry.speed <= fastest:
            continue
        search.step(f"{candidate}: {entry.objection}; looking for layers that have to stay in float")
        try:
            mixed = search.mixed(candidate)
        except PostfilterError as error:
            choice.absent.append(unavailable(candidate.backend, candidate.device, candidate.precision, str(error)))
            continue
        if mixed is not None and (made := _enter(search, choice, mixed)):
            search.time([made])


def _refined(search: Search, choice: Choice, leader: Entry) -> list[Entry]:
    """Try what may make a leader faster; return what passes."""
    ways = [*search.other_passes(leader.candidate), *search.in_pieces(leader), *ways_to_run(leader.candidate)]
    found = [made for each in ways if (made := _try(search, choice, leader, each))]
    search.step(f"timing it and {len(found)} refinements in turn")
    search.time([leader, *found], rounds=_ROUNDS, anew=True)
    return [each for each in found if not each.objection]


def _try(search: Search, choice: Choice, leader: Entry, candidate: Candidate) -> Entry | None:
    """Enter a refinement: the leader's engine run in another way, or another engine where its rewrites differ."""
    if candidate.passes != leader.candidate.passes:
        return _enter(search, choice, candidate)
    entry = leader.run_as(candidate)
    choice.entries.append(entry)
    return entry


def _together(leader: Entry, refined: Sequence[Entry]) -> Candidate | None:
    """Return the leader with all refinements that pay, of each kind the fastest; None where no two do."""
    changes: dict[str, object] = {}
    for each in sorted(refined, key=lambda each: each.speed):
        if each.speed >= _GAIN * leader.speed:
            changes |= {
                name: getattr(each.candidate, name)
                for name in ("passes", "piece", "requests", "threads")
                if getattr(each.candidate, name) != getattr(leader.candidate, name)
            }
    return dataclasses.replace(leader.candidate, **changes) if len(changes) > 1 else None  # type: ignore[arg-type]
