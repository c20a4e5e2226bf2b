"""Real streams with oddities: each is filtered so that everything is kept, or refused with its cause.

The clips are no part of the repository: POSTFILTER_CLIPS names their folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from postfilter.errors import PostfilterError
from postfilter.runtime import Engine
from postfilter.video import filter_video, probe

from .robust_streams import Reading, differences

Engines = Callable[..., Engine]

_FOLDER = Path(os.environ.get("POSTFILTER_CLIPS", "no folder named"))


@dataclass(frozen=True)
class Row:
    """What is expected of one file where it is not that everything is kept, in both outputs, without damage."""

    refused: str = ""
    """Matches the error, where there is one."""
    refused_mkv: str = ""
    """The same where the output is FFV1 in Matroska."""
    differs: tuple[str, ...] = ()
    """What may differ in either output: the beginnings of what `differences` says."""
    damage: tuple[str, ...] = ()
    """Counts of the result's damage that are not 0."""
    why: str = ""


_DATA = "tracks: "
_TABLE = {
    "decord_corrupted.mp4": Row(
        damage=("packets_undecodable", "frames_corrupt", "frames_missing"), why="one packet of 50 is damaged"
    ),
    "exo_h265_with_metadata_track.mp4": Row(
        differs=(_DATA, "packets of track", "times of track"),
        why="FFmpeg does not write the first, a data track",
    ),
    "exo_sample_ac3.mp4": Row(refused=r"holds no video track \(it holds audio\)"),
    "exo_sample_fragmented_clearkey.mp4": Row(refused="is encrypted"),
    "exo_sample_with_color_info.mp4": Row(differs=(_DATA,), why="camera's data tracks, which FFmpeg does not write"),
    "exo_sample_with_sdt.ts": Row(refused="no frame of .* can be decoded", why="4096 bytes without a picture"),
    "fate_SonyXAVC_LongGOP_green_pixelation_early_Frames.mp4": Row(
        differs=(_DATA,), why="MXF's data track has no place in Matroska"
    ),
    "fate_empty_edit_5s.mp4": Row(damage=("frames_corrupt",), why="key frames are missing"),
    "fate_extradata-reload-multi-stsd.mp4": Row(
        refused=r"changes from 256x128 .* to 128x128 .* at frame 2 \(0\.080 s\)"
    ),
    "fate_moviedispmat.mp4": Row(
        differs=("sample aspect", "DISPLAYMATRIX"), why="stretched by a matrix, and Matroska has only angles"
    ),
    "fate_prores4444_with_transparency.mp4": Row(
        refused="libx264 cannot encode yuva444p12le; these can: ffv1", differs=(_DATA,)
    ),
    "fate_ref_10.avi": Row(
        differs=("times over", "times of track"),
        damage=("frames_missing", "timestamps_moved"),
        why="AVI tells the order of decoding only; its index tells of 30 frames and holds 25",
    ),
    "fate_test-4867.mp4": Row(
        differs=("times over",), damage=("timestamps_moved",), why="two timestamps are the wrong way round"
    ),
    "fateav1_av1-1-b8-03-sizeup.mp4": Row(refused="changes from 352x288 .* to 1280x720 .* at frame 10"),
    "fatehevc_dovi-p7.mp4": Row(
        differs=("times over",), damage=("timestamps_moved",), why="the last frame has the time of one before"
    ),
    "fatehevc_loewe.mp4": Row(refused_mkv="aac_latm.* has no place in a matroska file"),
    "fatehevc_multiview.mp4": Row(differs=(_DATA,), why="the second view goes with the coded layers that carried it"),
    "fatempeg2_pmtchange.mp4": Row(refused="no frame of .* can be decoded"),
    "oh264_Error_I_P.264": Row(refused="changes from 352x288 .* to 640x480 .* at frame 2"),
    "oh264_sps_subsetsps_bothVUI.264": Row(refused="cannot open .* as a video"),
    "tc_nasa_13013.mp4": Row(refused_mkv="mov_text.* has no place in a matroska file"),
}
_SUFFIXES = {"mpegts": ".ts", "avi": ".avi", "mpeg": ".mpg"}


def _clips() -> list[Path]:
    return sorted(each for each in _FOLDER.iterdir() if each.is_file()) if _FOLDER.is_dir() else []


@pytest.mark.slow
@pytest.mark.parametrize("clip", _clips(), ids=lambda each: each.name)
def test_a_stream_with_oddities_is_kept_or_refused(clip: Path, engine: Engines, tmp_path: Path) -> None:
    row = _TABLE.get(clip.name, Row())
    for codec in ("ffv1", "libx264"):
        refused = row.refused_mkv if codec == "ffv1" else row.refused
        if codec == "ffv1" and "encode" not in row.refused:
            refused = refused or row.refused
        for each in tmp_path.iterdir():
            each.unlink()
        if refused:
            with pytest.raises(PostfilterError) as caught:
                _filter(clip, tmp_path / "out.mkv", engine, codec)
            assert re.search(refused, str(caught.value)), str(caught.value)
            assert list(tmp_path.iterdir()) == []
            continue
        before = Reading(clip)
        suffix = clip.suffix if "mp4" in before.container else _SUFFIXES.get(before.container, ".mkv")
        target = tmp_path / f"out{'.mkv' if codec == 'ffv1' else suffix}"
        damage = _filter(clip, target, engine, codec)
        assert sorted(name for name, count in damage.items() if count) == sorted(row.damage)
        found = differences(before, Reading(target), lossless=codec == "ffv1")
        assert [each for each in found if not each.startswith(row.differs or ("\0",))] == []


def _filter(clip: Path, target: Path, engine: Engines, codec: str) -> dict[str, int]:
    same = engine("same-luma", bit_depth=probe(clip).bit_depth)
    result = filter_video(clip, target, same, codec=codec, preset="ultrafast", guard="off")
    assert result.frames_in == result.frames_out
    return result.damage.as_json()


def test_the_table_has_no_row_without_a_file() -> None:
    names = {each.name for each in _clips()}
    if not names:
        pytest.skip("the clips are not here")
    assert set(_TABLE) <= names
