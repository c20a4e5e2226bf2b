"""What the demo shows is what its files hold; `make demo` runs the whole of it."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from postfilter.quality import psnr

DEMO = Path(__file__).resolve().parents[2] / "demo"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DEMO))
        from make_clip import make_clip
    return make_clip(tmp_path_factory.mktemp("demo"), width=192, height=128, seconds=0.5)


def luma(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)])


def test_the_clip_has_a_source_artefacts_motion_and_sound(clip):
    source, coded = luma(clip.source), luma(clip.coded)
    assert source.shape == coded.shape == (15, 128, 192)
    assert 22 < psnr(coded, source) < 40
    assert psnr(source[0], source[-1]) < 25
    with av.open(str(clip.coded)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 24_000
        assert 0 < clip.kbps < 2000


def test_the_picture_shows_where_most_was_gained(clip, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DEMO))
    from before_after import before_after

    # A perfect filter: its output is the source.
    crops = before_after(clip.coded, clip.source, clip.source, tmp_path / "p.png", title="test")
    source, coded = luma(clip.source).astype(float), luma(clip.coded)
    assert len(crops) == 3
    for crop in crops:
        decoded, filtered, clean = crop.pictures
        assert decoded.shape == (80, 80, 3)
        assert np.array_equal(filtered, clean) and not np.array_equal(decoded, clean)
        assert crop.psnr_filtered == 100
        errors = (coded[crop.frame] - source[crop.frame]) ** 2
        here = errors[crop.y : crop.y + 80, crop.x : crop.x + 80].sum()
        places = [(slice(y, y + 80), slice(x, x + 80)) for y in range(49) for x in range(113)]
        # Crops that are nearly black or white are passed over.
        everywhere = [errors[place].sum() for place in places if 60 <= source[crop.frame][place].mean() <= 200]
        assert here == pytest.approx(max(everywhere))
    with Image.open(tmp_path / "p.png") as sheet:
        assert sheet.width == 3 * 80 * 5 + 4 * 14 and sheet.height > 3 * 80 * 5
