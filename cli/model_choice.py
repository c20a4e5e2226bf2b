"""`filter-video` without `--model` and `--engine`: the best model that filters the clip in real time here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter.cli.engine_choice import DEFAULT_FILTER, FILTER_PRECISION
from postfilter.cli.options import DEFAULT_BACKEND

if TYPE_CHECKING:
    from postfilter.cli.command import Reporter
    from postfilter.video import ClipInfo
    from postfilter.video.writing.encoder import EncoderSettings

__all__ = ["choose_by_speed"]

_DECIDED = {"weights": None, "residual": None, "size": None, "device": None}
"""Options that belong to one engine or device, and what they are where they leave the choice open."""


def choose_by_speed(
    arguments: argparse.Namespace, clip: ClipInfo, reporter: Reporter, *, encoding: EncoderSettings | None
) -> dict[str, Any] | None:
    """Set `model` and `precision` to the best that keeps up with the clip, where the user named no engine.

    Beside options that are of one engine or device, of which no speed is known beforehand, the default stays.

    Args:
        arguments: as parsed by filter-video.
        clip: the input.
        reporter: of the command; is told the choice in one line.
        encoding: how the output is encoded; None where nothing is written.

    Returns:
        What `--json` prints under `choice`; None where nothing was to be chosen.

    Raises:
        PostfilterError: see `video.choosing.search.choose_model`.
    """
    if arguments.engine is not None or arguments.model is not None:
        return None
    given = [f"--{name}" for name, open_value in _DECIDED.items() if getattr(arguments, name) != open_value]
    given += ["--backend"] if arguments.backend not in (None, DEFAULT_BACKEND) else []
    if given:
        reporter.note(
            f"with {', '.join(given)} no model is chosen by its speed: {DEFAULT_FILTER} in "
            f"{arguments.precision or FILTER_PRECISION}; --model NAME to choose"
        )
        return None
    from postfilter.video.choosing.choice import Wishes
    from postfilter.video.choosing.search import choose_model

    wishes = Wishes(
        precision=arguments.precision,
        encoding=encoding,
        hwaccel=arguments.hwaccel,
        skip_below_qp=arguments.skip_below_qp,
        tile_reuse=arguments.tile_reuse,
        guard=arguments.guard,
        threads=arguments.threads,
        requests=arguments.requests,
        piece=arguments.piece,
        memory_limit_mb=arguments.memory_limit,
    )
    choice = choose_model(Path(arguments.input), clip, wishes, on_step=reporter.note)
    reporter.note(choice.sentence(width=clip.width, height=clip.height))
    arguments.model, arguments.precision = choice.model, choice.precision
    return choice.as_json()
