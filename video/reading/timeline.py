"""Timestamps that run on where a stream begins anew: after a restart, a wrap of its counter or a splice."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["Timeline"]

_FORWARD = Fraction(10)
_BACK = Fraction(1, 5)
"""Seconds by which a track's decoding times may differ from where they should go on, before that is a new beginning."""


class Timeline:
    """Tells by how much timestamps are to be shifted so that they run on from 0.

    Tracks follow the same shift: the first one to jump decides it, the others take it over as soon as it fits them, so
    that sound and picture stay together.

    Args:
        start: what becomes 0, in seconds; None for the first timestamp that is seen.
    """

    def __init__(self, start: Fraction | None = None) -> None:
        self.shift = None if start is None else -start
        """Seconds to add, for tracks too sparse to be followed."""
        self.jumps = 0
        """Times that the stream began anew."""
        self._tracks: dict[int, tuple[Fraction, Fraction]] = {}

    def follow(self, track: int, at: Fraction, duration: Fraction) -> Fraction:
        """Return the seconds to add to the timestamps of a packet.

        Args:
            track: its track, one that has packets all the time.
            at: its decoding time.
            duration: how long it lasts, 0 where that is unknown.
        """
        if self.shift is None:
            self.shift = -at
        expected, shift = self._tracks.get(track, (at + self.shift, self.shift))
        for candidate in (shift, self.shift):
            if -_BACK <= at + candidate - expected <= _FORWARD:
                shift = candidate
                break
        else:
            shift = self.shift = expected - at
            self.jumps += 1
        self._tracks[track] = (at + shift + duration, shift)
        return shift
