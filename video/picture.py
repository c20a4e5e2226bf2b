"""Filter one picture; on a clean one, show what filtering its JPEG is worth."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postfilter.errors import InputError, OutputError
from postfilter.quality.images import jpeg_round_trip
from postfilter.quality.jpeg_tables import table_of_file
from postfilter.quality.metrics import finite_psnr, finite_psnr_b, luma_of, ssim
from postfilter.quality.strength import TILE, Strength, estimate_strength
from postfilter.video.filtering.guard import Guard, GuardMode, ReferenceEngine
from postfilter.video.target import check_source, check_target

if TYPE_CHECKING:
    from postfilter.runtime import Engine

__all__ = ["ImageQuality", "ImageResult", "ImageStrength", "check_paths", "filter_image"]

Picture = NDArray[np.uint8]

_SMALLEST = 16
"""Samples a side below which SSIM and PSNR-B are not defined."""


@dataclass(frozen=True, kw_only=True)
class ImageQuality:
    """The JPEG and its filtered form against the clean picture, over R'G'B' (or grey)."""

    jpeg_quality: int
    psnr_jpeg: float
    psnr_filtered: float
    ssim_jpeg: float
    ssim_filtered: float
    psnr_b_jpeg: float
    psnr_b_filtered: float
    delta_psnr: float
    """psnr_filtered - psnr_jpeg."""


@dataclass(frozen=True, kw_only=True)
class ImageStrength(Strength):
    """How strongly the picture was compressed before it was filtered."""

    source: str
    """Where this comes from: `estimated`, from the samples."""
    file_jpeg_quality: int | None
    """What the quantization tables of a JPEG file tell; None of other files."""


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """What came of filtering one picture."""

    input: Path
    output: Path
    engine: str
    """Model, precision and backend."""
    width: int
    height: int
    seconds: float
    """In the engine alone, after it was compiled."""
    quality: ImageQuality | None
    """Where the input was compressed here."""
    guard: str | None = None
    """What came out black, flat, shifted or otherwise not filtered, and what was done about it."""
    strength: ImageStrength | None = None
    """Where it was asked for, or the engine is told the QP."""

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        content = dict(vars(self))
        content["input"], content["output"] = str(self.input), str(self.output)
        content["quality"] = None if self.quality is None else dict(vars(self.quality))
        content["strength"] = None if self.strength is None else {**vars(self.strength), "coded": self.strength.coded}
        return content


def filter_image(
    source: str | Path,
    target: str | Path,
    engine: Engine,
    *,
    jpeg_quality: int | None = None,
    report_quality: bool = False,
    overwrite: bool = False,
    guard: GuardMode = "redo",
    guard_engine: ReferenceEngine = None,
) -> ImageResult:
    """Filter a picture and write it.

    A luma engine filters Y' of the JFIF Y'CbCr and leaves colour as it is; an RGB engine filters R'G'B'; a grey
    picture stays grey with a luma engine. Transparency is kept. A rotation that the file's EXIF data asks for is
    applied to the samples, since the output carries no EXIF data.

    Args:
        source: a picture of 8 bits that OpenCV reads.
        target: the file to write; its suffix names the format. JPEG is written at quality 95.
        engine: loaded for 8 bits.
        jpeg_quality: the picture is clean: compress it as JPEG at this quality (1 to 100) first, filter that, and
            compare both with the clean one.
        report_quality: whether to estimate how strongly the picture was compressed; also done for engines that read
            the QP, which are told it.
        overwrite: whether an existing `target` may be replaced.
        guard: see `filter_video`.
        guard_engine: see `filter_video`.

    Raises:
        InputError: the picture cannot be read, has more than 8 bits, or the engine or the quality does not fit.
        OutputError: the target exists or cannot be written.
    """
    source, target = Path(source), Path(target)
    check_paths(source, target, overwrite=overwrite)
    _check(engine, jpeg_quality)
    picture, alpha = _read(source)
    clean = picture
    if jpeg_quality is not None:
        picture = jpeg_round_trip(clean, quality=jpeg_quality)
    planes = _planes(picture, engine)
    reads_qp = any(each.name == "qp" for each in engine.inputs)
    strength = _strength(picture, source if jpeg_quality is None else None) if report_quality or reads_qp else None
    told = {"qp": np.float32(strength.cautious_qp)} if reads_qp and strength is not None else {}
    engine.prepare(width=picture.shape[1], height=picture.shape[0])
    started = time.perf_counter()
    filtered_planes = engine(planes, inputs=told)
    seconds = time.perf_counter() - started
    with Guard(engine, mode=guard, reference=guard_engine) as checks:
        filtered_planes, objection = checks.check(planes, filtered_planes, frame=0, pts_seconds=0.0, inputs=told)
    filtered = _picture(picture, planes, filtered_planes)
    quality = None if jpeg_quality is None else _compare(clean, picture, filtered, jpeg_quality)
    _write(target, filtered, alpha)
    return ImageResult(
        input=source,
        output=target,
        engine=engine.manifest.label,
        width=picture.shape[1],
        height=picture.shape[0],
        seconds=seconds,
        quality=quality,
        guard=objection,
        strength=strength,
    )


def check_paths(source: Path, target: Path, *, overwrite: bool) -> None:
    """Refuse what can be refused before any work is done.

    Raises:
        InputError: there is no such picture.
        OutputError: the target is the input itself, exists (and `overwrite` is false), or its folder is absent.
    """
    check_source(source, wanted="a picture")
    check_target(target, source=source, overwrite=overwrite)


def _check(engine: Engine, jpeg_quality: int | None) -> None:
    if engine.bit_depth != 8:
        raise InputError(f"the engine is loaded for {engine.bit_depth} bits; pictures have 8: load it with bit_depth=8")
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
        raise InputError(f"got JPEG quality {jpeg_quality}; give 1 to 100")


def _strength(picture: Picture, file: Path | None) -> ImageStrength | None:
    """Estimate it, and read what the file tells; None for less than a tile."""
    luma = picture if picture.ndim == 2 else luma_of(picture)
    if min(luma.shape) < TILE:
        return None
    table = None if file is None else table_of_file(file.read_bytes())
    found = estimate_strength(luma)
    return ImageStrength(**vars(found), source="estimated", file_jpeg_quality=None if table is None else table.quality)


def _read(source: Path) -> tuple[Picture, Picture | None]:
    """Return R'G'B' [H, W, 3] or grey [H, W], and the alpha plane if there is one."""
    import cv2

    data = source.read_bytes()
    picture = _decoded(data, cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise InputError(f"{source} is no picture that OpenCV reads, or it is damaged; give a JPEG, PNG, WebP or TIFF")
    if picture.dtype != np.uint8:
        raise InputError(f"{source} has {picture.dtype} samples; convert it to 8 bits first")
    if picture.ndim == 3 and picture.shape[2] == 4:
        return _as_bytes(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB)), picture[:, :, 3].copy()
    # Only the plain readings turn the picture as EXIF asks; IMREAD_UNCHANGED does not.
    grey = picture.ndim == 2
    turned = _decoded(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    picture = picture if turned is None else turned
    return (picture if grey else _as_bytes(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))), None


def _decoded(data: bytes, flag: int) -> Any | None:
    import cv2

    return cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None


def _as_bytes(array: Any) -> Picture:
    return np.asarray(array, np.uint8)


def _planes(picture: Picture, engine: Engine) -> Picture:
    """The engine's input, [1, C, H, W]."""
    if engine.layout == "rgb":
        colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        return np.ascontiguousarray(colour.transpose(2, 0, 1))[None]
    return (picture if picture.ndim == 2 else luma_of(picture))[None, None]


def _picture(picture: Picture, before: Picture, after: Picture) -> Picture:
    """The picture with the engine's output in place of its input.

    A change of luma is added to red, green and blue alike, which is what replacing Y' and keeping Cb and Cr means;
    colour that the engine did not touch is not rounded on its way through Y'CbCr.
    """
    if before.shape[1] == 3:
        filtered = np.ascontiguousarray(after[0].transpose(1, 2, 0))
        if picture.ndim == 3:
            return filtered
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        return np.clip(np.rint(filtered.astype(np.float32) @ weights), 0, 255).astype(np.uint8)
    if picture.ndim == 2:
        return after[0, 0]
    change = after[0, 0].astype(np.int16) - before[0, 0]
    return np.clip(picture + change[..., None], 0, 255).astype(np.uint8)


def _compare(clean: Picture, jpeg: Picture, filtered: Picture, quality: int) -> ImageQuality:
    if min(clean.shape[:2]) < _SMALLEST:
        raise InputError(f"the picture is {clean.shape[1]}x{clean.shape[0]}; SSIM and PSNR-B need 16 samples a side")
    before, after = finite_psnr(jpeg, clean), finite_psnr(filtered, clean)
    return ImageQuality(
        jpeg_quality=quality,
        psnr_jpeg=before,
        psnr_filtered=after,
        ssim_jpeg=ssim(jpeg, clean),
        ssim_filtered=ssim(filtered, clean),
        psnr_b_jpeg=finite_psnr_b(jpeg, clean),
        psnr_b_filtered=finite_psnr_b(filtered, clean),
        delta_psnr=after - before,
    )


def _write(target: Path, picture: Picture, alpha: Picture | None) -> None:
    import cv2

    if alpha is not None and target.suffix.lower() in (".jpg", ".jpeg"):
        raise OutputError(
            f"the picture has transparency, which {target.suffix} cannot hold; give a name ending in .png"
        )
    coded = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    if alpha is not None:
        coded = np.dstack([coded, alpha])
    temporary = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        written, data = cv2.imencode(target.suffix, coded)
    except cv2.error as error:
        raise OutputError(
            f"OpenCV knows no picture format by the suffix {target.suffix!r}; give .png, .jpg, .webp or .tif"
        ) from error
    if not written:
        raise OutputError(f"the picture cannot be written as {target.suffix}; give a name ending in .png")
    try:
        temporary.write_bytes(data.tobytes())
        temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target} ({error.strerror}); give another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
