"""Decoding times for one track that several encoders wrote one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from av import Packet
from av.video.stream import VideoStream

__all__ = ["DecodeTimes"]


class DecodeTimes:
    """Gives packets decoding times that increase strictly, whichever encoder they come from.

    Every encoder begins its decoding times before its first presentation time, by as many frames as it reorders: those
    of the next one would lie before the last ones of the one before. Counted over the whole track there is a rule that
    fits all of them, and is what x264 does for a single one: the packet that is `delay`-th or later in coding order is
    decoded when the frame `delay` places earlier in order of presentation is shown; the packets before it as far ahead
    of their own place as the first one is.

    Presentation times must increase strictly, and no packet may follow in coding order a frame that is shown later
    than the end of its own encoder's part.
    """

    def __init__(self) -> None:
        self._shown: deque[int] = deque()
        """Presentation times not yet used as decoding times, increasing."""
        self._held: list[Packet[VideoStream]] = []
        """The first packets, until the delay is known from them."""
        self._started = False

    def add_frames(self, times: Sequence[int]) -> None:
        """Tell the presentation times of the next frames, in ticks, before the packets that hold them are stamped."""
        self._shown.extend(times)

    def stamp(self, packets: Sequence[Packet[VideoStream]], *, last: bool = False) -> list[Packet[VideoStream]]:
        """Set the decoding times of packets in coding order; return those that have got one, in the same order.

        Args:
            packets: with the decoding times of the encoder, of which only the first encoder's first ones are looked at.
            last: whether no more packets come for what was told of by `add_frames`.
        """
        if self._started:
            for packet in packets:
                packet.dts = self._shown.popleft()
            return list(packets)
        self._held += packets
        first = self._shown[0] if self._shown else 0
        # The packet whose decoding time is the first time of presentation is the one that is delayed by no guess.
        delay = next((i for i, each in enumerate(self._held) if each.dts is None or each.dts >= first), None)
        if delay is None:
            if not last or not self._held:
                return []
            delay = len(self._held) - 1  # a clip shorter than the encoder's delay
        self._started = True
        held, self._held = self._held, []
        ahead = self._shown[delay] - first
        for packet, shown in zip(held[:delay], self._shown, strict=False):
            packet.dts = shown - ahead
        for packet in held[delay:]:
            packet.dts = self._shown.popleft()
        return held
