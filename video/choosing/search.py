"""Which model filters a clip: of those that this machine runs in real time, the one that gains most.

1. Models are ranked by what their cards say they gain at the clip's codec and QP.
2. Engines that are there are measured, else that of the model with the fewest multiply-accumulates; their rate of them
   tells which models cannot be fast enough, whose engines are not built.
3. From the best of the others downwards, engines are built and measured until one leaves room for decoding and
   encoding, and holds what was expected on the clip's first frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from postfilter import models
from postfilter.errors import PostfilterError
from postfilter.runtime import read_manifest
from postfilter.runtime.backend import usable_cores
from postfilter.video.choosing.beginning import Beginning
from postfilter.video.choosing.choice import Candidate, Choice, Wishes
from postfilter.video.choosing.engines import Engines, can_build, digest
from postfilter.video.choosing.kept import Kept
from postfilter.video.filtering.qp_skip import FEEDS
from postfilter.video.writing.journal import input_identity

if TYPE_CHECKING:
    from postfilter.models import ModelCard
    from postfilter.video.reading.clip_info import ClipInfo

__all__ = ["MARGIN", "choose_model"]

MARGIN = 1.15
"""Times the clip's rate: what the cores allow is never quite reached, and clips have parts that take longer."""
_HEADROOM = 2.0
"""Times the best rate of multiply-accumulates measured so far: what another network may reach at the most."""
_TYPICAL_QP = 32.0
"""Where the QP is not known."""
_FAMILY = {"mpeg1video": "h264", "mpeg2video": "h264", "mpeg4": "h264", "h263": "h264", "av1": "hevc", "vp9": "hevc"}
"""Codecs -> the one among those of the cards that is most like it."""


def choose_model(path: Path, clip: ClipInfo, wishes: Wishes, *, on_step: Callable[[str], None] | None = None) -> Choice:
    """Choose the model that filters a clip.

    The engine of the chosen model is in the cache afterwards. What was measured is kept for this machine: engines by
    model, precision and class of size, choices by clip and wishes. Without torch only engines that are in the cache
    already are considered.

    Args:
        path: the clip, a file.
        clip: what `probe` tells of it.
        wishes: what else decides.
        on_step: told in a few words what goes on, while something is built or measured.

    Raises:
        MissingDependencyError: no engine is in the cache, and torch is not there to build one.
        PostfilterError: no engine could be built, or the clip cannot be read, filtered or encoded as asked for.
    """
    step = on_step or (lambda text: None)
    kept = Kept()
    engines = Engines(clip, wishes, kept, step)
    layout = "rgb" if clip.format.rgb else "luma"
    cards = [models.card(name) for name in models.names(shipped=True)]
    cards = [each for each in cards if each.layout == layout and _can_be_fed(each, wishes)]
    parts = [engines.parts(card, precision) for card in cards for precision in engines.ladder]
    key = digest([input_identity(path), asdict(wishes), usable_cores(), MARGIN, parts])
    earlier = _earlier(kept.get("choices", key), engines)
    if earlier is not None:
        return earlier
    step("looking for the best model that filters this clip in real time")
    with Beginning(path, encoding=wishes.encoding, hwaccel=wishes.hwaccel) as first:
        search = _Search(clip, wishes, engines, first, step)
        qp = _TYPICAL_QP if first.qp is None else first.qp
        codec = _FAMILY.get(first.codec, first.codec)
        gains = {card.name: card.gain_db(codec, qp) for card in cards}
        ranked = [Candidate(model=name, precision=engines.ladder[0], gain_db=gain) for name, gain in gains.items()]
        ranked.sort(key=lambda each: float("inf") if each.gain_db is None else -each.gain_db)
        chosen = search.run(ranked)
    choice = Choice(
        model=chosen.model,
        precision=chosen.precision,
        expected_fps=chosen.expected_fps or 0.0,
        clip_fps=float(clip.frame_rate),
        real_time=chosen.real_time,
        candidates=tuple(ranked),
        cached=False,
    )
    kept.put("choices", key, choice.as_json())
    return choice


class _Search:
    """One search; what is found is filled into the list of candidates."""

    def __init__(
        self, clip: ClipInfo, wishes: Wishes, engines: Engines, first: Beginning, step: Callable[[str], None]
    ) -> None:
        self._clip, self._wishes, self._engines, self._first, self._step = clip, wishes, engines, first, step
        self._share = first.changing() if wishes.tile_reuse else 1.0
        self._needed = MARGIN * float(clip.frame_rate)
        self._cores = usable_cores()
        self._folders: dict[str, Path] = {}
        self._seconds: dict[str, float] = {}
        """Processor time of a whole frame, of the engines measured."""
        self._failure: PostfilterError | None = None

    def run(self, ranked: list[Candidate]) -> Candidate:
        """Return the first of the candidates that keeps up, else the fastest."""
        there = [each for each in ranked if self._engines.standing(models.card(each.model))]
        for each in there:
            self._measure(ranked, each)
        if not self._seconds:
            self._measure_cheapest(ranked)
        for index, each in enumerate(ranked):
            if ranked[index].reason is None and self._may_keep_up(each.model):
                self._measure(ranked, each)
                if ranked[index].real_time:
                    ranked[index] = self._confirmed(ranked[index])
                if ranked[index].real_time:
                    break
        else:
            self._measure_cheapest(ranked)
        for index, each in enumerate(ranked):
            if each.expected_fps is None and each.reason is None:
                ranked[index] = self._told(each)
        able = [each for each in ranked if each.model in self._seconds]
        if not able:
            assert self._failure is not None, "a search without candidates"
            raise self._failure
        keeping_up = [each for each in able if each.real_time and each.basis == "clip"]
        return keeping_up[0] if keeping_up else max(able, key=lambda each: each.expected_fps or 0.0)

    def _measure(self, ranked: list[Candidate], candidate: Candidate) -> None:
        """Fill in the candidate's rate by its engine, which is built and measured if need be; or why it cannot be."""
        index, card = ranked.index(candidate), models.card(candidate.model)
        try:
            if card.name not in self._seconds:
                self._folders[card.name], self._seconds[card.name] = self._engines.measured(card)
        except PostfilterError as error:
            self._failure = error
            ranked[index] = replace(candidate, reason=str(error))
        else:
            ranked[index] = self._told(candidate)

    def _measure_cheapest(self, ranked: list[Candidate]) -> None:
        """Measure the model with the fewest multiply-accumulates, or the next that there can be an engine of."""
        cheapest = sorted(ranked, key=lambda each: self._kmac(each.model)) if can_build() else list(ranked)
        for each in cheapest:
            if each.model not in self._seconds and each.reason is None:
                self._measure(ranked, each)
            if each.model in self._seconds:
                return

    def _may_keep_up(self, model: str) -> bool:
        """Whether it is worth a look: it was measured, or its multiply-accumulates leave hope."""
        if model in self._seconds:
            return True
        return can_build() and self._fps(model, self._estimate(model) * self._share / _HEADROOM) >= self._needed

    def _told(self, candidate: Candidate) -> Candidate:
        """Return the candidate with what is known without trying it on the clip."""
        model = candidate.model
        if model in self._seconds:
            candidate = replace(candidate, precision=read_manifest(self._folders[model]).precision)
            seconds, basis = self._seconds[model], "engine"
        elif self._seconds and can_build():
            seconds, basis = self._estimate(model), "estimate"
        else:
            return replace(candidate, reason="no engine of it is in the cache, and none can be built here")
        fps = self._fps(model, seconds * self._share)
        return replace(candidate, expected_fps=fps, basis=basis, real_time=fps >= self._needed)

    def _confirmed(self, candidate: Candidate) -> Candidate:
        """Return the candidate with its rate on the clip's own frames."""
        wishes = self._wishes
        self._step(f"trying {candidate.model} {candidate.precision} on the first frames")
        with self._engines.open(self._folders[candidate.model]) as engine:
            seconds = self._first.filter_seconds(
                engine, skip_below_qp=wishes.skip_below_qp, tile_reuse=wishes.tile_reuse, guard=wishes.guard
            )
        fps = self._fps(candidate.model, seconds)
        return replace(candidate, expected_fps=fps, basis="clip", real_time=fps >= self._needed)

    def _fps(self, model: str, filter_seconds: float) -> float:
        """Return the rate at which the cores do everything, or the stage that may not use all of them its part."""
        first = self._first
        reads_qp = "qp" in models.card(model).inputs or self._wishes.skip_below_qp is not None
        # Where the QP is read of H.264, the decoder shares out slices, of which a frame often has one.
        decoders = 1 if reads_qp and first.codec == "h264" else self._cores
        total = first.decode_seconds + filter_seconds + first.encode_seconds
        rates = [
            self._cores / max(total, 1e-9),
            usable_cores(self._wishes.threads) / max(filter_seconds, 1e-9),
            decoders / max(first.decode_seconds, 1e-9),
        ]
        return min(rates)

    def _estimate(self, model: str) -> float:
        """The processor time of a whole frame, from the best rate of multiply-accumulates that was measured."""
        rate = max(self._kmac(each) / seconds for each, seconds in self._seconds.items())
        return self._kmac(model) / rate

    def _kmac(self, model: str) -> float:
        """Thousand multiply-accumulates for a sample; of an engine that is there as its manifest tells them."""
        if model in self._folders:
            return float(read_manifest(self._folders[model]).cost["kmac_per_px"])
        from postfilter.export import cost

        return cost(model, self._clip.width, self._clip.height).kmac_per_px


def _earlier(kept: object, engines: Engines) -> Choice | None:
    """Return the choice of an earlier run, if its engine is still there."""
    if not isinstance(kept, dict):
        return None
    try:
        choice = Choice(
            **kept | {"candidates": tuple(Candidate(**each) for each in kept["candidates"]), "cached": True}
        )
    except (TypeError, KeyError):  # of another release
        return None
    return choice if engines.current(models.card(choice.model), choice.precision) else None


def _can_be_fed(card: ModelCard, wishes: Wishes) -> bool:
    """Whether all that the model reads besides the picture can be told of a clip, or need not be."""
    if wishes.hwaccel is not None and "qp" in card.inputs:
        return False  # only the CPU's decoders tell it
    return set(card.inputs) <= {*FEEDS, *card.defaults, *card.pictures}
