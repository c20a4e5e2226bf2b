"""Test sets by their layout, imitated small."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data

from postfilter.errors import InputError
from postfilter.quality import (
    Method,
    evaluate_coded,
    evaluate_pairs,
    jpeg_round_trip,
    liu4k_pictures,
    mcl_jci_pairs,
    mcl_jcv_jobs,
    psnr,
    tid2008_pairs,
)
from postfilter.video.reading.qp import QpReader

PICTURE = data.astronaut()[80:144, 100:180]


def write(path: Path, picture: np.ndarray = PICTURE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


def test_tid2008_takes_the_jpeg_files_alone_in_either_case(tmp_path):
    for number in (1, 2):
        write(tmp_path / f"reference_images/I{number:02d}.BMP", np.roll(PICTURE, number, axis=1))
        for level in (1, 2):
            coded = jpeg_round_trip(np.roll(PICTURE, number, axis=1), quality=60 // level)
            letter = "Ii"[number - 1]
            write(tmp_path / f"distorted_images/{letter}{number:02d}_10_{level}.bmp", coded)
            write(tmp_path / f"distorted_images/{letter}{number:02d}_08_{level}.bmp", coded)
    pairs = tid2008_pairs(tmp_path)
    assert [(pair.level, pair.degraded.name, pair.source.name) for pair in pairs] == [
        (1, "I01_10_1.bmp", "I01.BMP"),
        (1, "i02_10_1.bmp", "I02.BMP"),
        (2, "I01_10_2.bmp", "I01.BMP"),
        (2, "i02_10_2.bmp", "I02.BMP"),
    ]
    rows = evaluate_pairs(pairs, lambda x: x, layout="rgb", method="none", dataset="tid2008")
    assert [(row["quality"], row["method"], row["images"]) for row in rows] == [
        (1, "jpeg", 2),
        (1, "none", 2),
        (2, "jpeg", 2),
        (2, "none", 2),
    ]
    want = [psnr(jpeg_round_trip(p, quality=60), p) for p in (np.roll(PICTURE, n, axis=1) for n in (1, 2))]
    assert rows[0]["psnr"] == pytest.approx(np.mean(want)) and rows[2]["psnr"] < rows[0]["psnr"]
    assert [pair.level for pair in tid2008_pairs(tmp_path, [2])] == [2, 2]


def test_mcl_jci_finds_sources_and_qualities_below_the_folder(tmp_path):
    write(tmp_path / "source_images/[BMP]/ImageJND_SRC01.bmp")
    for quality in (1, 27, 100):
        path = tmp_path / f"distorted_image/ImageJND_SRC01/ImageJND_SRC01_{quality:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), PICTURE[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert [pair.level for pair in mcl_jci_pairs(tmp_path)] == [1, 27, 100]
    rows = evaluate_pairs(mcl_jci_pairs(tmp_path, [27]), lambda x: x, layout="luma", method="none", dataset="mcl-jci")
    assert rows[0]["quality"] == 27 and rows[0]["plane"] == "luma" and 20 < rows[0]["psnr"] < 45


def test_mcl_jcv_reads_coded_clips_beside_raw_sources(tmp_path):
    source = np.stack([data.astronaut()[80:128, 100 + n : 148 + n, 1] for n in range(5)])
    (tmp_path / "source").mkdir()
    grey = np.full((5, 24, 48), 128, np.uint8)
    raw = np.concatenate([source, grey], axis=1)
    (tmp_path / "source/videoSRC01_48x48_30.yuv").write_bytes(raw.tobytes())
    for qp in (27, 40):
        path = tmp_path / f"1080PAVCFQPvideoSRC01/videoSRC01_{qp:02d}.mp4"
        path.parent.mkdir(exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"qp": str(qp)})
            stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
            for frame in raw:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="yuv420p")))
            container.mux(stream.encode(None))
    seen = []

    def reads(planes, *, inputs):
        seen.append(float(inputs["qp"].mean()))
        return planes

    jobs = mcl_jcv_jobs(tmp_path, watch=QpReader)
    rows = evaluate_coded(jobs, [Method(name="none", filter=reads, reads_qp=True)], frames=4)["rows"]
    assert [(row["clip"], row["codec"], row["qp"], row["frames"]) for row in rows] == [
        ("videoSRC01", "h264", 27, 4),
        ("videoSRC01", "h264", 40, 4),
    ]
    assert rows[0]["psnr_decoded"] > rows[1]["psnr_decoded"] > 20 and rows[0]["kbps"] > rows[1]["kbps"]
    assert len(seen) == 8 and max(seen[:4]) < min(seen[4:])
    assert [job.coding.qp for job in mcl_jcv_jobs(tmp_path, [40])] == [40]
    (tmp_path / "source/videoSRC01_48x48_30.yuv").rename(tmp_path / "source/other.yuv")
    with pytest.raises(InputError, match="lacks the source of videosrc01"):
        mcl_jcv_jobs(tmp_path)


def test_liu4k_takes_all_categories_and_nothing_else(tmp_path):
    for name in ("Animal/1.png", "Street/1.png", "Building/2.png", "notes/3.png"):
        write(tmp_path / "LIU4K_v2_valid" / name)
    assert [str(file.relative_to(tmp_path / "LIU4K_v2_valid")) for file in liu4k_pictures(tmp_path)] == [
        "Animal/1.png",
        "Building/2.png",
        "Street/1.png",
    ]


@pytest.mark.parametrize("load", [tid2008_pairs, mcl_jci_pairs, mcl_jcv_jobs, liu4k_pictures])
def test_another_folder_is_refused(tmp_path, load):
    write(tmp_path / "photo.png")
    with pytest.raises(InputError, match="holds no"):
        load(tmp_path)


def test_a_source_of_another_size_is_refused(tmp_path):
    write(tmp_path / "reference_images/I01.BMP", PICTURE[:, 4:])
    write(tmp_path / "distorted_images/I01_10_1.bmp")
    with pytest.raises(InputError, match="another size"):
        evaluate_pairs(tid2008_pairs(tmp_path), lambda x: x, layout="rgb", method="x", dataset="tid2008")
