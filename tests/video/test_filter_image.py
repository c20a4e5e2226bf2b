"""One picture in, one out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError, OutputError
from postfilter.quality.metrics import psnr, psnr_b, ssim
from postfilter.runtime import Engine
from postfilter.video import filter_image

Engines = Callable[..., Engine]
Picture = NDArray[np.uint8]


def save(path: Path, rgb: Picture, *options: int) -> Path:
    cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb, options)
    return path


def load(path: Path, flag: int = cv2.IMREAD_COLOR) -> Any:
    picture = cv2.imread(str(path), flag)
    assert picture is not None
    return picture[..., ::-1] if picture.ndim == 3 and picture.shape[2] == 3 else picture


@pytest.fixture
def clean(photograph: Picture) -> Picture:
    return np.ascontiguousarray(photograph[40:140, 160:281])


def luma(rgb: Any) -> NDArray[np.float64]:
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


def test_a_luma_engine_filters_luma_and_keeps_colour(engine: Engines, clean: Picture, tmp_path: Path) -> None:
    source = save(tmp_path / "in.jpg", clean, cv2.IMWRITE_JPEG_QUALITY, 50)
    result = filter_image(source, tmp_path / "out.png", engine())
    before, after = load(source), load(tmp_path / "out.png")
    smooth = engine()(np.rint(luma(before)).astype(np.uint8)[None, None])[0, 0]
    inside = (before > 20).all(axis=2) & (before < 235).all(axis=2)  # nothing is clipped there
    inside[[0, -1]] = inside[:, [0, -1]] = False
    assert inside.mean() > 0.3
    assert np.abs(luma(after) - smooth)[inside].max() < 1.01
    colour_before, colour_after = (p[..., [0, 2]] - luma(p)[..., None] for p in (before, after))
    assert np.abs(colour_before - colour_after)[inside].max() < 1.01
    assert (result.width, result.height, result.quality) == (121, 100, None)


def test_an_rgb_engine_filters_each_channel(engine: Engines, clean: Picture, tmp_path: Path) -> None:
    filter_image(save(tmp_path / "in.png", clean), tmp_path / "out.png", engine("smooth-rgb"))
    expected = engine("smooth-rgb")(np.ascontiguousarray(clean.transpose(2, 0, 1))[None])[0]
    assert np.array_equal(load(tmp_path / "out.png").transpose(2, 0, 1), expected)


@pytest.mark.parametrize("layout", ["luma", "rgb"])
@pytest.mark.parametrize("shape", ["colour", "grey"])
def test_an_engine_that_changes_nothing_changes_nothing(
    layout: str, shape: str, engine: Engines, clean: Picture, tmp_path: Path
) -> None:
    picture = clean if shape == "colour" else np.ascontiguousarray(clean[..., 1])
    filter_image(save(tmp_path / "in.png", picture), tmp_path / "out.png", engine(f"same-{layout}"))
    assert np.array_equal(load(tmp_path / "out.png", cv2.IMREAD_UNCHANGED), picture)


def test_transparency_is_kept_or_refused(engine: Engines, clean: Picture, tmp_path: Path) -> None:
    alpha = np.tile(np.arange(clean.shape[1], dtype=np.uint8), (clean.shape[0], 1))
    cv2.imwrite(str(tmp_path / "in.png"), np.dstack([clean[..., ::-1], alpha]))
    filter_image(tmp_path / "in.png", tmp_path / "out.png", engine())
    after = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert after is not None and np.array_equal(after[..., 3], alpha)
    with pytest.raises(OutputError, match=r"transparency.*\.png"):
        filter_image(tmp_path / "in.png", tmp_path / "out.jpg", engine())
    assert not (tmp_path / "out.jpg").exists()


def test_a_clean_picture_is_compressed_and_compared(engine: Engines, clean: Picture, tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", clean)
    result = filter_image(source, tmp_path / "out.png", engine(), jpeg_quality=10)
    coded = load(save(tmp_path / "coded.jpg", clean, cv2.IMWRITE_JPEG_QUALITY, 10))
    filtered = load(tmp_path / "out.png")
    quality = result.quality
    assert quality is not None and quality.jpeg_quality == 10
    assert quality.psnr_jpeg == pytest.approx(psnr(coded, clean))
    assert quality.psnr_filtered == pytest.approx(psnr(filtered, clean))
    assert quality.ssim_filtered == pytest.approx(ssim(filtered, clean))
    assert quality.psnr_b_jpeg == pytest.approx(psnr_b(coded, clean))
    assert quality.delta_psnr == pytest.approx(quality.psnr_filtered - quality.psnr_jpeg)
    told = json.loads(json.dumps(result.as_json()))
    assert set(told) == {"input", "output", "engine", "width", "height", "seconds", "quality", "guard", "strength"}


def test_a_picture_that_jpeg_does_not_change_gives_numbers_that_json_holds(engine: Engines, tmp_path: Path) -> None:
    flat = save(tmp_path / "flat.png", np.full((48, 64, 3), 128, np.uint8))
    result = filter_image(flat, tmp_path / "out.png", engine(), jpeg_quality=100)
    told = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert told["quality"]["psnr_jpeg"] == told["quality"]["psnr_b_jpeg"] == 100


def test_the_rotation_of_exif_is_applied(engine: Engines, clean: Picture, tmp_path: Path) -> None:
    source = save(tmp_path / "in.jpg", clean)
    content = source.read_bytes()
    # Orientation 6: to be turned by 90 degrees clockwise.
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff
    source.write_bytes(content[:2] + exif + content[2:])
    result = filter_image(source, tmp_path / "out.png", engine("same-luma"))
    assert (result.width, result.height) == (100, 121)
    assert load(tmp_path / "out.png").shape == (121, 100, 3)


def test_what_is_refused(engine: Engines, clean: Picture, tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", clean)
    (tmp_path / "junk.png").write_bytes(b"no picture")
    save(tmp_path / "deep.png", clean.astype(np.uint16) * 256)
    cases: list[tuple[type[Exception], str, str, str, dict[str, Any]]] = [
        (InputError, "does not exist", "absent.png", "out.png", {}),
        (InputError, "no picture that OpenCV reads", "junk.png", "out.png", {}),
        (InputError, "uint16", "deep.png", "out.png", {}),
        (InputError, "quality 0", "in.png", "out.png", {"jpeg_quality": 0}),
        (OutputError, "the input itself", "in.png", "in.png", {"overwrite": True}),
        (OutputError, "exists", "in.png", "junk.png", {}),
        (OutputError, "does not exist", "in.png", "absent/out.png", {}),
        (OutputError, r"suffix '\.xyz'", "in.png", "out.xyz", {}),
    ]
    for error, message, name, target, options in cases:
        with pytest.raises(error, match=message):
            filter_image(tmp_path / name, tmp_path / target, engine(), **options)
    with pytest.raises(InputError, match="10 bits"):
        filter_image(source, tmp_path / "out.png", engine(bit_depth=10))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["deep.png", "in.png", "junk.png"]
