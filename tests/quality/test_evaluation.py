"""Several filters, codecs and QPs in one evaluation; filters that read the QP; coded clips that are kept."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data

from postfilter.errors import InputError
from postfilter.quality import CodedStore, Method, evaluate_clips, evaluate_methods, flicker, ssim
from postfilter.quality.codec import RoundTrip, planes_of
from postfilter.video.reading.qp import QpReader


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A pan over a photograph, stored without loss."""
    path, picture = tmp_path_factory.mktemp("clips") / "pan.mkv", data.astronaut()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for t in range(9):
            view = np.ascontiguousarray(picture[80:176, 100 + 2 * t : 228 + 2 * t])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def smooth(planes: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(planes[0, 0], (3, 3), 0.5)[None, None]


class Ahead:
    """Streams, and reads a number of frames ahead."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def stream(self, planes):
        waiting = []
        for each in planes:
            waiting.append(smooth(each))
            if len(waiting) > self.frames:
                yield waiting.pop(0)
        yield from waiting


def test_methods_share_the_coded_clips_and_get_what_each_gets_alone(clip):
    methods = [
        Method(name="a", filter=smooth),
        Method(name="b", filter=Ahead(4)),
        Method(name="none", filter=lambda x: x),
    ]
    result = evaluate_methods(clip, methods, codecs=["h264", "hevc"], qps=[27, 37], frames=6)
    assert [(row["codec"], row["qp"], row["method"]) for row in result["rows"]] == [
        (codec, qp, name) for codec in ("h264", "hevc") for qp in (27, 37) for name in ("a", "b", "none")
    ]
    for row in result["rows"]:
        alone = evaluate_clips(clip, smooth, method="b", codec=row["codec"], qp=row["qp"], frames=6)["rows"][0]
        if row["method"] == "b":
            assert row == alone
        elif row["method"] == "none":
            assert row["delta_psnr"] == 0 and row["psnr_decoded"] == alone["psnr_decoded"]
    of_a = [row["delta_psnr"] for row in result["rows"] if row["method"] == "a"]
    assert result["average"]["delta_psnr"] == pytest.approx(np.mean(of_a))
    assert [(each["method"], each["codec"], each["qp"]) for each in result["averages"][:3]] == [
        ("a", "h264", 27),
        ("b", "h264", 27),
        ("none", "h264", 27),
    ]


def test_every_metric_is_the_mean_of_its_frames(clip):
    metrics = ("psnr", "ssim", "xpsnr", "flicker")
    result = evaluate_methods(clip, [Method(name="smooth", filter=smooth)], codecs=["h264"], qps=[35], metrics=metrics)
    (row,) = result["rows"]
    with av.open(str(clip)) as container:
        frames = list(container.decode(video=0))
    source = np.stack([planes_of(frame)[0] for frame in frames])
    decoded = np.stack([planes_of(frame)[0] for frame in RoundTrip(codec="h264", qp=35, fps=30)(frames)])
    filtered = np.stack([smooth(frame[None, None])[0, 0] for frame in decoded])
    errors = [((shown.astype(float) - source) ** 2).mean(axis=(1, 2)) for shown in (decoded, filtered)]
    before, after = (10 * np.log10(255**2 / error) for error in errors)
    assert row["psnr_sd_decoded"] == pytest.approx(before.std())
    assert row["psnr_sd_filtered"] == pytest.approx(after.std())
    assert row["worst_frame"] == (after - before).argmin()
    assert row["ssim_filtered"] == pytest.approx(np.mean([ssim(f, s) for f, s in zip(filtered, source, strict=True)]))
    assert row["flicker_decoded"] == pytest.approx(np.mean(flicker(decoded, source)))
    assert row["flicker_filtered"] == pytest.approx(np.mean(flicker(filtered, source)))
    assert row["delta_xpsnr"] == pytest.approx(row["xpsnr_filtered"] - row["xpsnr_decoded"])
    assert abs(row["xpsnr_decoded"] - row["psnr_decoded"]) < 8 and row["xpsnr_decoded"] != row["psnr_decoded"]
    assert {"delta_ssim", "delta_xpsnr", "delta_flicker", "psnr_sd_filtered"} <= result["average"].keys()


def test_the_qp_of_each_frame_reaches_the_filters_that_read_it(clip):
    seen: dict[str, list[np.ndarray]] = {"call": [], "stream": []}

    def call(planes, *, inputs):
        seen["call"].append(inputs["qp"])
        return planes

    class Streams:
        def stream(self, items):
            for planes, inputs in items:
                seen["stream"].append(inputs["qp"])
                yield planes

    methods = [
        Method(name="call", filter=call, reads_qp=True),
        Method(name="stream", filter=Streams(), reads_qp=True, item=lambda planes, inputs: (planes, inputs)),
        Method(name="blind", filter=smooth),
    ]
    for codec in ("h264", "hevc"):
        for maps in seen.values():
            maps.clear()
        evaluate_methods(clip, methods, codecs=[codec], qps=[30], watch=QpReader)
        assert len(seen["call"]) == 9 and all(each.shape == (1, 6, 8) for each in seen["call"])
        # Constant QP: that of P frames is 30, of I frames 3 less, of B frames about 2 more.
        assert {27, 30} <= {float(value) for each in seen["call"] for value in each.ravel()} <= set(range(27, 34))
        assert all(map(np.array_equal, seen["call"], seen["stream"]))


def test_bd_measures_stand_for_each_clip_and_on_average(clip):
    pytest.importorskip("bjontegaard")
    methods = [Method(name="none", filter=lambda x: x)]
    result = evaluate_methods(clip, methods, codecs=["h264"], qps=[22, 27, 32, 37], frames=3)
    assert [each["clip"] for each in result["bd"]] == ["pan", None]
    assert all(each["bd_rate_percent"] == pytest.approx(0) == each["bd_psnr_db"] for each in result["bd"])
    assert evaluate_clips(clip, lambda x: x, method="none", frames=1)["bd"] == []


def test_a_kept_clip_is_not_coded_again_and_gives_the_same(clip, tmp_path, monkeypatch):
    store = CodedStore(tmp_path / "coded")
    methods = [Method(name="smooth", filter=smooth)]
    options = {"codecs": ["h264", "hevc"], "qps": [33], "store": store}
    fresh = evaluate_methods(clip, methods, **options)
    assert len(list(store.folder.glob("pan-*.npz"))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(RoundTrip, "_open_encoder", lambda *_: pytest.fail("coded again"))
        assert evaluate_methods(clip, methods, **options) == fresh
    for file in store.folder.iterdir():
        file.write_bytes(file.read_bytes()[:300])
    assert evaluate_methods(clip, methods, **options) == fresh
    assert evaluate_methods(clip, methods, **options, frames=4)["rows"][0]["frames"] == 4


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_encoders_with_several_threads_give_the_same_stream_each_time(clip, codec):
    def coded() -> list:
        with av.open(str(clip)) as container:
            trip = RoundTrip(codec=codec, qp=30, keep=True)
            for _ in trip(container.decode(video=0)):
                pass
        return trip.packets

    assert coded() == coded()


def test_what_makes_no_sense_is_told(clip):
    same = [Method(name="a", filter=smooth), Method(name="a", filter=smooth)]
    with pytest.raises(InputError, match="another name"):
        evaluate_methods(clip, same)
    with pytest.raises(InputError, match="metric 'lpips'; there are psnr, ssim"):
        evaluate_methods(clip, same[:1], metrics=["lpips"])
