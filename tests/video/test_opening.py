"""SVT-AV1 makes real-time threads where it may, as root: none of them is left once an encoder is open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from postfilter.quality.opening import opening_encoder
from postfilter.runtime import Engine
from postfilter.training.coding import Coding, code
from postfilter.video import filter_video
from postfilter.video.writing import resumable
from postfilter.video.writing.encoder import twin_encoder

TASKS = Path("/proc/self/task")

pytestmark = pytest.mark.skipif(
    not TASKS.is_dir() or os.geteuid() != 0, reason="only root on Linux makes threads real-time"
)


@pytest.fixture(autouse=True)
def ordinary_afterwards() -> Iterator[None]:
    """What fails here must not starve the tests that follow."""
    yield
    for task in TASKS.iterdir():
        os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))


def policies() -> set[int]:
    return {os.sched_getscheduler(int(task.name)) for task in TASKS.iterdir()}


def opened() -> Any:
    context: Any = av.CodecContext.create("libsvtav1", "w")
    context.width, context.height, context.pix_fmt = 64, 64, "yuv420p"
    context.framerate, context.options = 25, {"preset": "12", "svtav1-params": "lp=1"}
    context.open()
    return context


def test_an_encoder_opened_within_leaves_every_thread_as_it_was() -> None:
    with opening_encoder():
        context = opened()
        assert os.SCHED_FIFO in policies()  # else this is needed no more
    assert policies() == {os.SCHED_OTHER}
    del context


def test_threads_that_were_real_time_before_stay_so() -> None:
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with opening_encoder():
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
    assert os.sched_getscheduler(0) == os.SCHED_RR
    assert os.sched_getparam(0).sched_priority == 1


def test_clips_are_coded_for_training_by_ordinary_threads() -> None:
    code(np.zeros((3, 64, 64), np.uint8), Coding(codec="av1", quality=40))
    assert policies() == {os.SCHED_OTHER}


def test_filtered_clips_are_encoded_by_ordinary_threads(
    engine: Callable[..., Engine], clip_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[int]] = []

    def watched(*arguments: Any) -> Any:
        context = twin_encoder(*arguments)
        assert context.is_open
        seen.append(policies())
        return context

    monkeypatch.setattr(resumable, "twin_encoder", watched)
    filter_video(
        clip_pair.coded, tmp_path / "out.mkv", engine("same-luma"), codec="libsvtav1", preset="ultrafast", guard="off"
    )
    assert seen == [{os.SCHED_OTHER}]
    assert policies() == {os.SCHED_OTHER}
