"""Several processes train as one does."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from postfilter.errors import InputError
from postfilter.training import Recipe
from postfilter.training.learner import Learner
from postfilter.training.pool import PatchPool
from postfilter.training.processes import Processes


def test_the_shares_of_all_processes_are_the_batch():
    rng = np.random.default_rng(0)
    clean = [rng.integers(0, 200, (1, 48, 64), dtype=np.uint8) for _ in range(3)]
    pool = PatchPool(
        [picture + np.uint8(number) for number, picture in enumerate(clean)],
        clean,
        [rng.integers(1, 51, (3, 4), dtype=np.uint8) for _ in clean],
    )

    def draw(share):
        options = {"batch_size": 12, "patch_size": 32, "augmentation": True, "blind": 0.3}
        return pool.draw(np.random.default_rng(5), **options, share=share)

    whole = draw(slice(None))
    parts = [draw(Processes(rank=rank, count=3).share(12)) for rank in range(3)]
    for which in range(3):
        assert np.array_equal(np.concatenate([part[which] for part in parts]), whole[which])


def test_a_batch_that_cannot_be_divided_is_refused_with_ones_that_can():
    with pytest.raises(InputError, match="--batch-size 30 or 33"):
        Processes(count=3).share(32)
    with pytest.raises(InputError, match="--batch-size 4 or 8"):
        Processes(count=4).share(2)


def test_one_process_alone_needs_no_others():
    alone = Processes()
    alone.wait()
    assert alone.first and alone.from_first(lambda: 7) == 7 and alone.share(5) == slice(0, 5)


# In bf16 a gradient has a precision of 1/256, which Adam turns into whole steps where it is faint.
IN_FLOAT32 = """
import contextlib, sys
from postfilter.__main__ import main
from postfilter.training import learner

learner._autocast = lambda device: contextlib.nullcontext()
sys.exit(main())
"""


def run(arguments, *, processes, folder):
    (folder / "main.py").write_text(IN_FLOAT32)
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, folder / "main.py", "train-model", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
def test_two_processes_end_where_one_does(photograph, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(3):
        cv2.imwrite(str(images / f"{index}.png"), photograph[100 * index : 100 * index + 160, :192, ::-1])
    options = ["edge-s", "--images", images, "--degradation", "h264", "--patch-size", "32", "--batch-size", "8"]
    options += ["--threads", "1", "--cache", tmp_path / "shots", "--json"]
    states = {}
    for count in (1, 2):
        output = tmp_path / str(count)
        # The second part goes on from the first one's checkpoint.
        for steps, more in ((6, []), (12, ["--resume"])):
            done = run([*options, "--steps", steps, "--output", output, *more], processes=count, folder=tmp_path)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["steps"] == steps, "one process alone prints the result"
        states[count] = torch.load(output / "checkpoint.pt", weights_only=True)["network"]
        assert len((output / "log.jsonl").read_text().splitlines()) == 2
    recipe = Recipe(model="edge-s", degradation="h264")
    start = Learner(recipe, weights=None, processes=Processes()).network.state_dict()
    moved, apart = (
        torch.cat([(a[key] - b[key]).flatten() for key in start]).norm()
        for a, b in ((states[1], start), (states[2], states[1]))
    )
    assert float(apart / moved) < 1e-3, float(apart / moved)
    again = run([*options, "--steps", 12, "--output", tmp_path / "2"], processes=2, folder=tmp_path)
    assert again.returncode != 0
    assert again.stderr.count("continue it with --resume") == 1
    assert 'main.py", line' not in again.stderr, "a user's mistake has no traceback, but for torchrun's own"
