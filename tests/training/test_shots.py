"""Coded shots: the same for the same seed, and kept on disk."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from postfilter.training.pool import Samples
from postfilter.training.shots import KEPT_FRAMES, CodingMix, code_shots

MIX = CodingMix(codecs=("h264", "hevc"), quality=(27, 42), presets=("veryfast",), constant=1)
# x264 reads memory that it never wrote when it analyses frames of few blocks: at a rate factor, a tiny clip may come
# out in several ways.


@dataclass(frozen=True)
class Clip:
    """Footage that counts how often it is asked for its frames."""

    samples: Samples
    name: str
    read: list[str]

    @property
    def key(self):
        return self.name

    def frames(self):
        self.read.append(self.name)
        return self.samples


@pytest.fixture
def footage(moving):
    read: list[str] = []
    return [Clip(np.ascontiguousarray(moving[:12, :, 4 * n : 4 * n + 112]), f"clip {n}", read) for n in range(3)]


def coded(footage, cache, *, seed=1, threads=2, repeats=2, **options):
    return code_shots(footage, MIX, repeats=repeats, seed=seed, cache=cache, threads=threads, **options)


def same(some, others):
    return all(
        np.array_equal(getattr(a, part), getattr(b, part))
        for a, b in zip(some, others, strict=True)
        for part in ("degraded", "clean", "qp")
    )


def test_a_shot_holds_neighbouring_frames_and_their_qp(footage, tmp_path, moving):
    shots = coded(footage, tmp_path)
    assert len(shots) == 6
    for number, shot in enumerate(shots):
        assert shot.degraded.shape == shot.clean.shape == (KEPT_FRAMES, 96, 112)
        assert shot.qp.shape == (KEPT_FRAMES, 6, 7)
        source = footage[number // 2].samples
        assert any(np.array_equal(shot.clean, source[first : first + KEPT_FRAMES]) for first in range(5))
        assert 0 < np.square(shot.degraded.astype(float) - shot.clean).mean() < 150


def test_shots_are_decided_by_the_seed_and_not_by_the_number_of_threads(footage, tmp_path):
    one, two, other = (
        coded(footage, tmp_path / str(number), seed=seed, threads=threads, repeats=1)
        for number, (seed, threads) in enumerate(((1, 1), (1, 2), (2, 1)))
    )
    assert same(one, two) and not same(one, other)


def test_what_is_on_disk_is_not_coded_again(footage, tmp_path):
    first = coded(footage, tmp_path)
    footage[0].read.clear()
    assert same(coded(footage, tmp_path), first)
    assert not footage[0].read


def test_a_killed_run_goes_on_with_the_shots_that_it_lacks(footage, tmp_path):
    def kill(done, total):
        assert total == 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        coded(footage, tmp_path, threads=1, on_progress=kill)
    lost = set(footage[0].read)
    assert "clip 2" not in lost, "what has not begun must not be waited for"
    # One shot of the first piece of footage is lost, too, half-written.
    victim = next(tmp_path.glob("*/00000-1.npz"))
    victim.rename(victim.with_suffix(".partial"))
    footage[0].read.clear()
    resumed = coded(footage, tmp_path)
    assert {"clip 0", "clip 2"} <= set(footage[0].read)
    assert same(resumed, coded(footage, tmp_path / "anew"))


def test_other_settings_are_other_shots(footage, tmp_path):
    coded(footage[:1], tmp_path, repeats=1)
    coded(footage[1:2], tmp_path, repeats=1)
    coded(footage[:1], tmp_path, repeats=1, seed=9)
    assert len(list(tmp_path.iterdir())) == 3


def test_rate_factors_stop_at_40():
    mix = replace(MIX, constant=0.75)
    drawn = [mix.draw(np.random.default_rng(seed)) for seed in range(400)]
    constant = {each.quality for each in drawn if each.constant}
    factors = {each.quality for each in drawn if not each.constant}
    assert constant == set(range(27, 43)) and max(factors) == 40
    assert 0.68 < np.mean([each.constant for each in drawn]) < 0.82
    assert {each.codec for each in drawn} == {"h264", "hevc"}


def test_what_is_drawn_is_no_coarser_than_its_codec_knows():
    mix = CodingMix(codecs=("mpeg2", "av1"), quality=(20, 47), constant=1)
    drawn = [mix.draw(np.random.default_rng(seed)) for seed in range(400)]
    highest = {codec: max(each.quality for each in drawn if each.codec == codec) for codec in mix.codecs}
    assert highest == {"mpeg2": 39, "av1": 41}
