"""Demux and decode: several frames at once while all is well, one after another as soon as something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import av
from av import Packet, VideoFrame
from av.stream import Stream
from av.video.stream import VideoStream

from postfilter.video.reading.damage import Damage

__all__ = ["Decoding", "Track", "reason"]

_READ_ERRORS = 16
"""After so many errors without a packet between them, nothing more is to be had from a container."""
_MOST_PIXELS = 1 << 27
"""16384x8192: what a damaged header claims beyond it is refused by the decoder before memory is taken."""
_FAILURES = (av.FFmpegError, OSError, ValueError, EOFError)


@dataclass
class Track:
    """The track to decode, of which nothing has been decoded yet; its decoder's threads are set."""

    container: Any
    stream: VideoStream
    packets: Callable[[], Iterator[Packet[Stream]]]
    """Yields the packets of all tracks from where the container is, and at the end an empty one for each track."""
    take: Callable[[Packet[Any]], None] | None = None
    """Is shown each packet of the track before it is decoded."""

    def __post_init__(self) -> None:
        context = self.stream.codec_context
        context.options = {**context.options, "max_pixels": str(_MOST_PIXELS)}

    def decode(self, packet: Packet[Any]) -> list[VideoFrame]:
        """Return the frames that come out of the decoder with this packet."""
        if self.take is not None:
            self.take(packet)
        return self.stream.decode(packet)

    def rest(self) -> None:
        """Bring the decoder's threads to rest, so that it can be freed.

        PyAV frees it with Python's lock held. A thread of its own that is still at work and has something to log would
        wait for that lock, and the two for each other forever.
        """
        self.stream.codec_context.flush_buffers()


class Decoding:
    """Decoded frames of one track, and packets of all others, in the order of the file.

    Decoders that work on several frames at once lose frames at an error, and what they make of a damaged frame depends
    on the moment. So at the first sign of damage, and for clips that begin without a key frame, the file is decoded
    again by one thread up to where it was, and on from there: the same file gives the same frames, always.

    Args:
        track: what to decode.
        damage: counts what goes wrong.
        on_damage: called with a sentence and the time in seconds (None: unknown); it may raise.
        reopen: gives the same track once more, decoded by one thread; None where it cannot be read twice.
    """

    def __init__(
        self,
        track: Track,
        *,
        damage: Damage,
        on_damage: Callable[[str, float | None], None],
        reopen: Callable[[], Track] | None,
    ) -> None:
        self.packets_hidden = 0
        """Of the decoded track: an edit list says not to show them."""
        self.packets_of_late_tracks = 0
        """Of tracks that were not there when the file was opened; PyAV answers them with an IndexError."""
        self._track, self._reopen = track, reopen
        self._again: Track | None = None
        self._damage, self._on_damage = damage, on_damage
        self._frames = self._packets = 0

    def items(self) -> Iterator[VideoFrame | Packet[Stream]]:
        """Yield frames and packets until the end, or until nothing more can be read. Can be iterated once.

        Raises:
            InputError: what `on_damage` makes of damage.
        """
        if self._reopen is None:
            yield from self._through_damage(self._track)
            return
        if (yield from self._while_sound()):
            return
        frames, packets = self._frames, self._packets
        self._track.rest()
        self._again = self._reopen()
        for item in self._through_damage(self._again):
            if isinstance(item, VideoFrame):
                frames -= 1
                if frames < 0:
                    yield item
            else:
                packets -= 1
                if packets < 0:
                    yield item

    def close(self) -> None:
        """Stop the decoder, and close the file where it was opened again: packets point into it, so not earlier."""
        self._track.rest()
        if self._again is not None:
            self._again.rest()
            self._again.container.close()

    def _while_sound(self) -> Generator[VideoFrame | Packet[Stream], None, bool]:
        """Read as long as nothing is wrong; return whether that was to the end."""
        begun, index = False, self._track.stream.index
        try:
            for packet in self._track.packets():
                if packet.stream.index != index:
                    if packet.size or packet.dts is not None:
                        self._packets += 1
                        yield packet
                    continue
                if not begun and packet.size and not packet.is_keyframe:
                    return False
                begun = True
                if packet.size or packet.dts is None:
                    self.packets_hidden += packet.is_discard
                    for frame in self._track.decode(packet):
                        if frame.is_corrupt:
                            return False
                        self._frames += 1
                        yield frame
        except (*_FAILURES, IndexError):
            return False
        return True

    def _through_damage(self, track: Track) -> Iterator[VideoFrame | Packet[Stream]]:
        """Read on behind every error, and count it."""
        self.packets_hidden = 0
        begun = False
        for packet in self._packets_of(track):
            if packet.stream.index != track.stream.index:
                if packet.size or packet.dts is not None:
                    yield packet
                continue
            if not packet.size and packet.dts is not None:
                continue  # an empty packet would tell the decoder that this is the end
            self.packets_hidden += packet.is_discard
            try:
                frames = track.decode(packet)
            except _FAILURES as error:
                self._tell_undecodable(packet, error, begun=begun)
                continue
            for frame in frames:
                begun = True
                if frame.is_corrupt:
                    self._damage.frames_corrupt += 1
                    self._on_damage("a frame is decoded with errors", _seconds(frame))
                yield frame

    def _packets_of(self, track: Track) -> Iterator[Packet[Any]]:
        """Yield packets, behind errors too, and at the end the one that makes the decoder give what it still holds."""
        failed = 0
        while failed < _READ_ERRORS:
            packets = track.packets()
            while True:
                try:
                    packet = next(packets)
                except StopIteration:
                    return
                except IndexError:
                    self.packets_of_late_tracks += 1
                    break
                except _FAILURES as error:
                    failed += 1
                    if failed == 1:
                        self._damage.read_errors += 1
                        self._on_damage(f"the container cannot be read on ({reason(error)})", None)
                    break
                if packet.size:
                    failed = 0
                yield packet
        flush: Packet[Any] = Packet()
        flush.stream = track.stream
        yield flush

    def _tell_undecodable(self, packet: Packet[Any], error: Exception, *, begun: bool) -> None:
        if begun:
            self._damage.packets_undecodable += 1
        else:
            self._damage.packets_before_start += 1
        self._on_damage(f"a packet cannot be decoded ({reason(error)})", _seconds(packet))


def reason(error: Exception) -> str:
    """FFmpeg's words for an error, without its number."""
    return getattr(error, "strerror", None) or str(error)


def _seconds(item: Any) -> float | None:
    at = item.pts if item.pts is not None else item.dts
    return None if at is None or item.time_base is None else float(at * item.time_base)
