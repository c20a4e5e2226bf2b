"""Decoding times over several encoders in a row."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import pairwise

import av
import pytest

from postfilter.video.writing.timestamps import DecodeTimes

Stamp = tuple[int, int]


def encoded(times: list[int], *, options: dict[str, str]) -> list[av.Packet]:
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 64, 48, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 1000), Fraction(25)
    context.options = options
    packets = []
    for at in times:
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([len(packets)]) * plane.buffer_size)
        frame.pts, frame.time_base = at, Fraction(1, 1000)
        packets += context.encode(frame)
    return packets + context.encode(None)


def stamped(times: list[int], *, segment: int, options: dict[str, str]) -> list[Stamp]:
    track, found = DecodeTimes(), []
    for start in range(0, len(times), segment):
        part = times[start : start + segment]
        track.add_frames(part)
        for packet in encoded(part, options=options):
            found += track.stamp([packet])
        found += track.stamp([], last=True)
    return [(each.pts, each.dts) for each in found]


OPTIONS = [{"bf": "3", "b-pyramid": "normal"}, {"bf": "2", "b-pyramid": "none"}, {"bf": "0"}]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_single_encoder_keeps_its_own_times(options: dict[str, str]) -> None:
    times = [40 * i for i in range(50)]
    packets, track = encoded(times, options=options), DecodeTimes()
    own = [each.dts for each in packets]
    track.add_frames(times)
    assert [each.dts for each in track.stamp(packets, last=True)] == own


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("segment", [7, 16])
def test_they_increase_over_encoders_and_rates(options: dict[str, str], segment: int) -> None:
    rng = random.Random(segment)
    times = [0]
    for _ in range(60):
        times.append(times[-1] + rng.choice([1, 7, 40, 41, 400]))
    found = stamped(times, segment=segment, options=options)
    assert sorted(pts for pts, _ in found) == times
    assert all(before < after for (_, before), (_, after) in pairwise(found))
    assert all(dts <= pts for pts, dts in found)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_clip_shorter_than_the_encoders_delay(frames: int) -> None:
    found = stamped([40 * i for i in range(frames)], segment=250, options=OPTIONS[0])
    assert len(found) == frames
    assert all(before < after for (_, before), (_, after) in pairwise(found))
    assert all(dts <= pts for pts, dts in found)
