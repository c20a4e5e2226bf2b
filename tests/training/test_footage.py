"""What is coded: pans over stills and stretches of clips."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from postfilter.errors import InputError
from postfilter.training import camera
from postfilter.training.footage import FRAMES, Stretch, pans_of, stretches_of


@pytest.fixture(scope="module")
def luma(pictures):
    return np.ascontiguousarray(pictures[0][:, :, 1])


def rng(seed=0):
    return np.random.default_rng(seed)


def detail(picture):
    return float(np.abs(cv2.Laplacian(picture, cv2.CV_32F)).mean())


def test_a_camera_moves_smoothly_over_the_picture(luma):
    clip = camera.drift(luma, rng(2), frames=7, size=(96, 80))
    assert clip.shape == (7, 80, 96) and clip.dtype == np.uint8
    steps = [np.abs(a.astype(float) - b).mean() for a, b in pairwise(clip)]
    assert min(steps) > 0 and max(steps) < np.abs(clip[0].astype(float) - clip[-1]).mean() * 1.5


def test_the_middle_of_a_drift_is_the_middle_of_the_picture(luma):
    clip = camera.drift(luma, rng(2), frames=7, size=(96, 80))
    assert np.abs(clip[3].astype(float) - luma[24:104, 24:120]).mean() < 1


def test_sharpening_adds_detail_and_keeps_flat_areas(luma):
    assert detail(camera.sharpened(luma, strength=1.0)) > 1.2 * detail(luma)
    assert np.array_equal(camera.sharpened(luma, strength=0.0), luma)
    flat = np.full((16, 16), 77, np.uint8)
    assert np.array_equal(camera.sharpened(flat, strength=1.0), flat)


def test_lettering_is_drawn_on_a_copy(luma):
    before = luma.copy()
    drawn = camera.lettered(luma, rng(1))
    assert np.array_equal(luma, before)
    assert (drawn != luma).mean() > 0.05 and detail(drawn) > detail(luma)


def test_grain_is_new_in_every_frame_and_centred(luma):
    clip = np.full((4, 32, 32), 100, np.uint8)
    grainy = camera.grainy(clip, rng(1))
    assert 0.2 < grainy.std() < 2.2 and abs(grainy.mean() - 100) < 0.1
    assert not np.array_equal(grainy[0], grainy[1])


def test_fading_keeps_black_and_changes_brightness_evenly():
    black, white = (np.full((9, 4, 4), level, np.uint8) for level in (16, 235))
    assert np.array_equal(camera.faded(black, rng(3)), black)
    levels = camera.faded(white, rng(3))[:, 0, 0].astype(int)
    steps = np.diff(levels)
    assert len(set(np.sign(steps))) == 1 and np.ptp(steps) <= 1 and levels.max() <= 235


def test_pans_are_decided_by_still_scale_and_seed(folder):
    stills = sorted(folder.iterdir())[:2]
    pans = pans_of(stills, repeats=3, scales=(1.0, 0.5), seed=4)
    assert [(pan.still, pan.scale) for pan in pans[:4]] == [(s, 1.0) for s in stills] + [(s, 0.5) for s in stills]
    assert len({pan.key for pan in pans}) == 6
    clip = pans[0].frames()
    assert clip.shape == (FRAMES, 80, 96)
    assert np.array_equal(clip, pans_of(stills, repeats=1, scales=(1.0,), seed=4)[0].frames())
    assert not np.array_equal(clip, pans_of(stills, repeats=1, scales=(1.0,), seed=5)[0].frames())


def test_a_pan_is_in_limited_range(tmp_path):
    cv2.imwrite(str(tmp_path / "white.png"), np.full((128, 128, 3), 255, np.uint8))
    pans = pans_of([tmp_path / "white.png"], repeats=8, scales=(1.0,), seed=0)
    # Those without lettering, grain and fading.
    assert any(np.all(pan.frames() == 235) for pan in pans)


def test_a_key_follows_the_file_and_not_its_name(folder, tmp_path):
    still = folder / "0.png"
    copy = tmp_path / "other.png"
    copy.write_bytes(still.read_bytes())
    one, other = (pans_of([path], repeats=1, scales=(1.0,), seed=0)[0].key for path in (still, copy))
    assert one == other


def test_a_stretch_is_the_clips_own_frames(clip_pair):
    (stretch,) = stretches_of([clip_pair.clean], scale=0.5)
    frames = stretch.frames()
    assert frames.shape == (24, 64, 96)
    later = Stretch(clip_pair.clean, 10, 0.5)
    assert np.array_equal(later.frames(), frames[10:]) and later.key != stretch.key


def test_what_is_no_clip_is_refused_by_name(folder):
    with pytest.raises(InputError, match=r"yuv420p|readable"):
        stretches_of([folder / "0.png"], scale=1.0)
