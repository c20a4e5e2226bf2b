"""Frames moved onto their neighbours: what moved lies where it lay, and what shows something else is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import InputError
from postfilter.export.pictures import drawn_scene
from postfilter.quality import luma_of
from postfilter.runtime.further_inputs import FurtherInput, complaints_of, pack
from postfilter.runtime.neighbours import NEIGHBOURS, aligned, in_threes, neighbours_of

Plane = NDArray[Any]
PICTURES = tuple(FurtherInput(name=name, kind="picture") for name in NEIGHBOURS)


@pytest.fixture(scope="module")
def scene() -> Plane:
    return luma_of(drawn_scene(400, 260, seed=3))


def view(scene: Plane, x: int, y: int = 0) -> Plane:
    return np.ascontiguousarray(scene[y : y + 200, x : x + 320])


def error(one: Plane, other: Plane) -> float:
    inner = np.s_[16:-16, 16:-16]  # what came in at the border is in no other frame
    return float(np.abs(one[inner].astype(float) - other[inner]).mean())


@pytest.mark.parametrize("shift", [(1, 0), (5, 3), (-9, 14)])
def test_what_moved_lies_where_it_lay(scene: Plane, shift: tuple[int, int]) -> None:
    frame, other = view(scene, 20, 20), view(scene, 20 + shift[0], 20 + shift[1])
    assert error(aligned(frame, other), frame) < error(other, frame) / 4


def test_samples_of_more_bits_move_alike(scene: Plane) -> None:
    frame, other = view(scene, 20), view(scene, 26)
    ten = aligned(frame.astype(np.uint16) << 2, other.astype(np.uint16) << 2)
    assert ten.dtype == np.uint16 and int(ten.max()) <= 1023
    # The interpolated samples are rounded at another place.
    assert np.abs((ten / 4) - aligned(frame, other)).max() <= 1


def test_a_still_picture_and_another_scene_leave_the_frame_itself(scene: Plane) -> None:
    frame = view(scene, 20)
    assert aligned(frame, frame.copy()) is frame
    assert aligned(frame, np.ascontiguousarray(255 - frame[::-1, ::-1])) is frame
    assert aligned(frame, view(luma_of(drawn_scene(400, 260, seed=8)), 30)) is frame


def test_frames_too_small_for_a_search_are_taken_as_they_lie(scene: Plane) -> None:
    frame, other = scene[:16, :24].copy(), scene[:16, 1:25].copy()
    assert np.array_equal(aligned(frame, other), other)


def test_the_ends_of_a_clip_and_other_sizes_are_their_own_neighbours(scene: Plane) -> None:
    frame = view(scene, 20)[None, None]
    for before, after in ((None, None), (frame[..., :100], frame[:, :, :64])):
        around = neighbours_of(frame, before, after)
        assert sorted(around) == sorted(NEIGHBOURS)
        assert all(np.array_equal(each, frame[:, 0]) for each in around.values())


def test_fields_have_the_fields_of_their_own_parity_as_neighbours(scene: Plane) -> None:
    fields, before = (np.stack([view(scene, x), view(scene, x + 40)])[:, None] for x in (10, 14))
    previous = neighbours_of(fields, before, None)["previous"]
    for parity in (0, 1):
        assert np.array_equal(previous[parity], aligned(fields[parity, 0], before[parity, 0]))


def test_threes_hold_what_was_there_before_it_was_written_to() -> None:
    planes = [np.full((1, 1, 4, 4), value, np.uint8) for value in range(1, 5)]
    seen = []
    for item, own, before, after in in_threes(zip("abcd", planes, strict=True)):
        seen.append((item, *(None if each is None else int(each[0, 0, 0, 0]) for each in (before, own, after))))
        own[...] = 99
    assert seen == [("a", None, 1, 2), ("b", 1, 2, 3), ("c", 2, 3, 4), ("d", 3, 4, None)]
    assert list(in_threes([])) == []


def test_pictures_are_packed_as_they_are_and_replaced_by_the_frame() -> None:
    planes = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    packed = pack(planes, PICTURES, {"next": planes[:, 0] + 100}, peak=255)
    assert np.array_equal(packed[:, 1], planes[:, 0]) and np.array_equal(packed[:, 2], planes[:, 0] + 100)
    for wrong in (planes[:, 0].astype(np.uint16), planes[:, 0, :2], np.float32(3)):
        with pytest.raises(InputError, match="give a picture like the one that is filtered, uint8"):
            pack(planes, PICTURES, {"next": wrong}, peak=255)
    assert complaints_of([{"name": "next", "kind": "picture", "maximum": 1.0, "default": None}]) == []
    assert all(each.optional for each in PICTURES)
