from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.export.calibration_frames import read_calibration_frames

Pictures = Iterable[NDArray[np.uint8]]


def _encode(
    path: Path, pictures: Pictures, *, codec: str = "libx264", pix_fmt: str = "yuv420p", **options: str
) -> Path:
    with av.open(str(path), "w") as container:
        stream = None
        for picture in pictures:
            if stream is None:
                if codec == "libx265":
                    options["x265-params"] = f"qp={options.pop('qp')}:log-level=none:pools=1"
                stream = container.add_stream(codec, rate=25, options=options)
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], pix_fmt
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    return path


def _views(photograph: NDArray[np.uint8], count: int = 24, *, step: int = 2) -> list[NDArray[np.uint8]]:
    return [photograph[60 + step * t : 188 + step * t, 100:292] for t in range(count)]


def _same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def test_frames_come_as_planes_of_the_layout(clip_pair):
    luma = read_calibration_frames(clip_pair.coded, "luma", limit=5)
    rgb = read_calibration_frames([clip_pair.coded], "rgb", limit=5)
    assert [frame.shape for frame in luma] == [(1, 1, 128, 192)] * 5
    assert [frame.shape for frame in rgb] == [(1, 3, 128, 192)] * 5
    assert {frame.dtype for frame in (*luma, *rgb)} == {np.dtype(np.uint8)}


def test_they_are_the_decoded_frames_themselves_in_order(clip_pair):
    with av.open(str(clip_pair.coded)) as container:
        decoded = [frame.to_ndarray()[:128, :192] for frame in container.decode(video=0)]
    frames = read_calibration_frames(clip_pair.coded, "luma", limit=6)
    places = [next(k for k, each in enumerate(decoded) if np.array_equal(each, frame[0, 0])) for frame in frames]
    assert places == sorted(places) and len(set(places)) == 6


def test_all_frames_of_a_short_clip_come_once(clip_pair):
    frames = read_calibration_frames(clip_pair.coded, "luma", limit=100)
    assert len(frames) == 24
    assert len({frame.tobytes() for frame in frames}) == 24


def test_the_same_files_give_the_same_frames(clip_pair):
    first, *others = (read_calibration_frames([clip_pair.coded, clip_pair.clean], "luma", limit=7) for _ in range(12))
    assert all(_same(first, each) for each in others)


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "264"), ("libx265", "265"), ("mpeg2video", "m2v")])
def test_coarse_and_fine_are_covered_whether_or_not_the_codec_tells_its_qp(photograph, tmp_path, codec, suffix):
    # Two streams of one still, which are one when put together: 14 coarse frames, then 2 fine ones.
    still, streams = photograph[60:188, 100:292], []
    for count, qp, scale in ((14, "45", "28"), (2, "15", "2")):
        options = {"qmin": scale, "qmax": scale} if codec == "mpeg2video" else {"qp": qp}
        streams.append(_encode(tmp_path / f"{qp}.{suffix}", [still] * count, codec=codec, g="1", **options))
    whole = tmp_path / f"whole.{suffix}"
    whole.write_bytes(b"".join(stream.read_bytes() for stream in streams))
    luma = av.VideoFrame.from_ndarray(np.ascontiguousarray(still), format="rgb24").reformat(format="gray").to_ndarray()
    luma = luma * (219 / 255) + 16
    frames = read_calibration_frames(whole, "luma", limit=2)
    errors = sorted(float(np.abs(frame[0, 0] - luma).mean()) for frame in frames)
    assert errors[0] < errors[1] / 2


def test_dark_and_bright_are_covered(photograph, tmp_path):
    still = photograph[60:188, 100:292]
    scenes = [still] * 20 + [still // 8] * 2 + [255 - (255 - still) // 8] * 2
    clip = _encode(tmp_path / "scenes.mkv", scenes, qp="20", g="1")
    means = [float(frame.mean()) for frame in read_calibration_frames(clip, "luma", limit=4)]
    assert min(means) < 45 and max(means) > 200


def test_still_and_moving_are_covered(photograph, tmp_path):
    still = photograph[60:188, 100:292]
    moving = [np.roll(still, 30 * k, axis=1) for k in (1, 2)]
    clip = _encode(tmp_path / "moves.mkv", [still] * 22 + moving, qp="20", g="1")
    first, second = read_calibration_frames(clip, "luma", limit=2)
    assert np.abs(first.astype(int) - second).mean() > 10


def test_every_picture_type_is_covered(photograph, tmp_path):
    clip = _encode(tmp_path / "gop.mkv", _views(photograph), qp="30", g="100", bf="2")
    kinds = {}
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            kinds[frame.to_ndarray()[:128, :192].tobytes()] = int(frame.pict_type)
    assert set(kinds.values()) == {1, 2, 3}
    frames = read_calibration_frames(clip, "luma", limit=3)
    assert {kinds[frame[0, 0].tobytes()] for frame in frames} == {1, 2, 3}


def test_each_clip_gives_the_same_number_and_folders_are_searched_for_clips_and_pictures(photograph, tmp_path):
    _encode(tmp_path / "long.mkv", _views(photograph, 40), qp="30")
    _encode(tmp_path / "short.mp4", [view[:64, :96] for view in _views(photograph, 3)], qp="30")
    cv2.imwrite(str(tmp_path / "still.jpg"), photograph[:80, :112])
    (tmp_path / "notes.txt").write_text("no clip")
    told: list[tuple[int, int]] = []
    frames = read_calibration_frames(
        tmp_path, "luma", limit=7, on_progress=lambda done, total: told.append((done, total))
    )
    widths = [frame.shape[3] for frame in frames]
    # The picture has one frame, the short clip three: no more than the long one's.
    assert widths == [192] * 3 + [96] * 3 + [112]
    assert told == [(done, 6) for done in range(1, 7)]


def test_luma_of_a_jpeg_file_is_what_the_file_holds(photograph, tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), photograph[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 20])
    with av.open(str(tmp_path / "a.jpg")) as container:
        held = next(container.decode(video=0)).to_ndarray()[:512, :512]
    (frame,) = read_calibration_frames(tmp_path / "a.jpg", "luma")
    np.testing.assert_array_equal(frame[0, 0], held)
    assert held.min() == 0 and held.max() == 255  # full range, as it is


def test_other_samplings_and_bit_depths_give_the_same_luma(photograph, tmp_path):
    views = _views(photograph, 3)
    (plain, *_), (full, *_), (deep, *_) = (
        read_calibration_frames(_encode(tmp_path / f"{pix_fmt}.mkv", views, codec="ffv1", pix_fmt=pix_fmt), "luma")
        for pix_fmt in ("yuv420p", "yuv444p", "yuv422p10le")
    )
    for other in (full, deep):
        assert np.abs(plain.astype(int) - other).max() <= 1


def test_rgb_is_made_with_the_matrix_of_the_clip(photograph, tmp_path):
    view = photograph[60:188, 100:292]
    frames = {}
    for matrix, number in (("bt709", 1), ("smpte170m", 6)):
        path = tmp_path / f"{matrix}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
            stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
            stream.codec_context.colorspace = number
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=number)))
            container.mux(stream.encode(None))
        (frames[matrix],) = read_calibration_frames(path, "rgb")
    assert np.abs(frames["bt709"].astype(int) - frames["smpte170m"]).mean() < 2
    assert np.abs(frames["bt709"][0].transpose(1, 2, 0).astype(int) - view).mean() < 5


def test_of_large_pictures_a_window_is_kept(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (1100, 1300, 3), dtype=np.uint8)
    for k in range(2):
        cv2.imwrite(str(tmp_path / f"{k}.png"), picture)
    first, second = read_calibration_frames(tmp_path, "rgb")
    assert first.shape == second.shape == (1, 3, 1024, 1024)
    np.testing.assert_array_equal(first[0].transpose(1, 2, 0)[..., ::-1], picture[:1024, :1024])
    np.testing.assert_array_equal(second[0].transpose(1, 2, 0)[..., ::-1], picture[:1024, 128:1152])


def test_what_can_be_decoded_of_a_damaged_clip_is_taken_and_told(clip_pair, tmp_path, caplog):
    content, cut = clip_pair.clean.read_bytes(), tmp_path / "cut.mkv"
    cut.write_bytes(content[: len(content) // 2])
    assert 5 < len(read_calibration_frames(cut, "luma", limit=100)) < 24
    content, holed = clip_pair.coded.read_bytes(), tmp_path / "holed.mp4"
    middle = len(content) // 2
    holed.write_bytes(content[:middle] + bytes(600) + content[middle + 600 :])
    with caplog.at_level(logging.WARNING):
        assert 5 < len(read_calibration_frames(holed, "luma", limit=100)) < 24
    assert f"{holed} is damaged" in caplog.text
    # MP4 has its index at the end.
    (tmp_path / "headless.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"headless\.mp4"):
        read_calibration_frames(tmp_path / "headless.mp4", "luma")


def test_nothing_to_decode_is_told(clip_pair, tmp_path):
    (tmp_path / "text.mkv").write_text("not a clip")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"cannot decode .*text\.mkv"):
        read_calibration_frames([clip_pair.coded, tmp_path / "text.mkv"], "luma")
    with pytest.raises(InputError, match=r"empty holds no clips and no pictures"):
        read_calibration_frames(empty, "luma")
    with pytest.raises(InputError, match=r"absent does not exist"):
        read_calibration_frames(tmp_path / "absent", "luma")
    with pytest.raises(InputError, match="nothing to calibrate on"):
        read_calibration_frames([], "luma")
    with pytest.raises(InputError, match="limit = 0"):
        read_calibration_frames(clip_pair.coded, "luma", limit=0)
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(InputError, match=r"sound\.wav has no video"):
        read_calibration_frames(sound, "luma")
