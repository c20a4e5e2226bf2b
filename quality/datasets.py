"""Test sets by the folders in which they are published; most bring their degraded files, which are taken as they are.

- TID2008 (Ponomarenko et al., Advances of Modern Radioelectronics 10, 2009): `reference_images/I01.BMP` and
  `distorted_images/I01_10_1.bmp`, which is image 01, distortion type 10, level 1; in either case of letters. Type 10 is
  JPEG, at 4 levels. TID2013 has the same layout, and JPEG under the same number, at 5.
- MCL-JCI (Jin et al., EI 2016): a source `ImageJND_SRC01.bmp` and its JPEG files `ImageJND_SRC01_001.jpg` to `_100`,
  where the last number is the JPEG quality. Code that reads the set has them in `source_images/[BMP]/` and
  `distorted_image/ImageJND_SRC01/`; since copies differ, both are looked for in all folders below.
- MCL-JCV (Wang et al., ICIP 2016): 1080p sources `videoSRC01_1920x1080_30.yuv` (or in a container) and their H.264
  files, `videoSRC01_27.mp4` in `1080PAVCFQPvideoSRC01/`, or `…_qp_27.264` as in VideoSet of the same makers, where the
  last number is taken to be the QP. That is what code which reads the set expects; its makers' own description was not
  found, so files are looked for by name in all folders below.
- LIU4K (Liu et al., "A Comprehensive Benchmark for Single Image Compression Artifact Reduction", TIP 2020), version 2:
  clean PNG files in `LIU4K_v2_valid/Animal`, `Building`, `Mountain` and `Street`. They are coded as JPEG here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from postfilter.errors import InputError
from postfilter.quality.codec import Watcher
from postfilter.quality.coded_file import CodedFile
from postfilter.quality.evaluation import CodedJob
from postfilter.quality.images import SUFFIXES, ImagePair

__all__ = ["DATASETS", "Dataset", "liu4k_pictures", "mcl_jci_pairs", "mcl_jcv_jobs", "tid2008_pairs"]

Dataset = Literal["liu4k", "mcl-jci", "mcl-jcv", "tid2008"]
DATASETS: dict[Dataset, Literal["images", "clips"]] = {
    "liu4k": "images",
    "mcl-jci": "images",
    "mcl-jcv": "clips",
    "tid2008": "images",
}
"""Name -> what it holds."""
_TID_JPEG = 10
_VIDEO = r"\.(?:mp4|mkv|avi|y4m|mov|yuv|264|h264)"


@dataclass(frozen=True)
class _Found:
    source: Path
    levels: dict[int, Path]


def tid2008_pairs(folder: Path, levels: Sequence[int] | None = None) -> list[ImagePair]:
    """Return the JPEG files of TID2008 with their sources; see the module.

    Args:
        folder: where `reference_images` and `distorted_images` are.
        levels: only these; all where None.

    Raises:
        InputError: it holds none, or a file whose source is missing.
    """
    return _pairs(folder, r"(i\d+)\.bmp", rf"(i\d+)_{_TID_JPEG:02d}_(\d+)\.bmp", levels, "TID2008")


def mcl_jci_pairs(folder: Path, qualities: Sequence[int] | None = None) -> list[ImagePair]:
    """Return the JPEG files of MCL-JCI with their sources; see the module.

    Args:
        folder: the set's.
        qualities: only these JPEG qualities; all hundred where None.

    Raises:
        InputError: it holds none, or a file whose source is missing.
    """
    source = r"(imagejnd_src\d+)"
    return _pairs(folder, rf"{source}\.(?:bmp|png)", rf"{source}_(\d+)\.jpe?g", qualities, "MCL-JCI")


def mcl_jcv_jobs(folder: Path, qps: Sequence[int] | None = None, *, watch: Watcher | None = None) -> list[CodedJob]:
    """Return the coded clips of MCL-JCV with their sources; see the module.

    Args:
        folder: the set's.
        qps: only these; all where None.
        watch: what reads the QP of frames, for methods that read it.

    Raises:
        InputError: it holds none, or a file whose source is missing.
    """
    found = _found(
        folder,
        rf"(videosrc\d+)_\d+x\d+_\d+{_VIDEO}",
        rf"(videosrc\d+)(?:_\d+x\d+_\d+_qp)?_(\d+){_VIDEO}",
        qps,
        "MCL-JCV",
    )
    return [
        CodedJob(clip=each.source.stem.split("_")[0], source=each.source, coding=CodedFile(file, qp=qp, watch=watch))
        for each in found
        for qp, file in sorted(each.levels.items())
    ]


def liu4k_pictures(folder: Path) -> list[Path]:
    """Return the clean pictures of LIU4K, of all its categories; see the module.

    Args:
        folder: `LIU4K_v2_valid`, or one that holds it.

    Raises:
        InputError: it holds none.
    """
    categories = {"animal", "building", "mountain", "street"}
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.parent.name.lower() in categories and file.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise InputError(f"{folder} holds no LIU4K; looked for pictures in folders {', '.join(sorted(categories))}")
    return files


def _pairs(folder: Path, source: str, degraded: str, levels: Sequence[int] | None, name: str) -> list[ImagePair]:
    found = _found(folder, source, degraded, levels, name)
    numbers = sorted({level for each in found for level in each.levels})
    return [
        ImagePair(source=each.source, degraded=each.levels[level], level=level)
        for level in numbers
        for each in found
        if level in each.levels
    ]


def _found(folder: Path, source: str, degraded: str, levels: Sequence[int] | None, name: str) -> list[_Found]:
    """Match all files below a folder by two patterns: of sources, (key), and of what was made of them, (key, level)."""
    sources: dict[str, Path] = {}
    made: dict[str, dict[int, Path]] = {}
    for file in sorted(folder.rglob("*")):
        lower = file.name.lower()
        if match := re.fullmatch(source, lower):
            sources[match[1]] = file
        elif (match := re.fullmatch(degraded, lower)) and (levels is None or int(match[2]) in levels):
            made.setdefault(match[1], {})[int(match[2])] = file
    if not made:
        wanted = "" if levels is None else f" of {', '.join(map(str, levels))}"
        raise InputError(f"{folder} holds no files of {name}{wanted}; give the folder in which the set was unpacked")
    if missing := sorted(made.keys() - sources.keys()):
        raise InputError(f"{folder} lacks the source of {missing[0]}; {name} is evaluated against its sources")
    return [_Found(sources[key], made[key]) for key in sorted(made)]
