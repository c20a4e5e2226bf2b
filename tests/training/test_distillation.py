"""Learning from a teacher: its corrections are kept on disk, and a student comes to make them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from postfilter import models
from postfilter.errors import InputError
from postfilter.models import Model
from postfilter.training import PatchPool, Recipe
from postfilter.training.learner import Learner
from postfilter.training.lessons import STEPS_A_CODE, read_lessons, write_lessons
from postfilter.training.losses import distance
from postfilter.training.muon import Muon
from postfilter.training.processes import Processes
from postfilter.training.schedule import Schedule


@pytest.fixture
def teacher() -> Model:
    torch.manual_seed(1)
    network = models.build("edge-s").eval().requires_grad_(False)
    return Model(card=models.card("edge-s"), network=network, weights_sha256="a teacher")


@pytest.fixture
def pool() -> PatchPool:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (1, height, 48), dtype=np.uint8) for height in (32, 64)]
    qp = [np.full((-(-picture.shape[1] // 16), 3), 30, np.uint8) for picture in pictures]
    return PatchPool(pictures, pictures, qp)


def test_lessons_are_the_corrections_of_the_teacher_told_the_qp(pool, teacher, tmp_path) -> None:
    lessons = read_lessons(write_lessons(pool, teacher, cache=tmp_path), pool)
    for picture, levels, lesson in zip(pool.degraded, pool.qp or (), lessons, strict=True):
        plane = np.kron(levels * 5, np.ones((16, 16), np.uint8))[None, : picture.shape[1], : picture.shape[2]]
        given = torch.from_numpy(np.concatenate([picture, plane]))[None].float() / 255
        wanted = teacher.network(given)[0].numpy() * 255
        assert lesson.shape == picture.shape
        # Half a step, and the 8 bits of bf16's significand.
        tolerance = 0.5 / STEPS_A_CODE + 0.02 * np.abs(wanted).max()
        assert np.abs(lesson / STEPS_A_CODE - np.clip(wanted, -15.8, 15.8)).max() < tolerance


def test_lessons_are_computed_once_for_a_teacher_and_anew_for_another(pool, teacher, tmp_path) -> None:
    first = write_lessons(pool, teacher, cache=tmp_path)
    written = first.stat().st_mtime_ns
    assert write_lessons(pool, teacher, cache=tmp_path).stat().st_mtime_ns == written
    other = Model(card=teacher.card, network=teacher.network, weights_sha256="another")
    assert write_lessons(pool, other, cache=tmp_path) != first


def test_patches_carry_the_lesson_of_their_own_place(pool) -> None:
    same = [(picture.astype(np.int16) - 128).astype(np.int8) for picture in pool.degraded]
    taught = PatchPool(pool.degraded, pool.clean, pool.qp, same)
    batch = taught.draw(np.random.default_rng(3), batch_size=8, patch_size=16, augmentation=True)
    assert np.array_equal(batch.taught, (batch.clean.astype(np.int16) - 128).astype(np.int8))


def test_distance_is_that_of_corrections_in_lengths_of_the_teachers() -> None:
    taught = torch.full((2, 1, 8, 8), 2 / 255)
    errors = torch.full((2,), 1e-6)
    assert distance(torch.zeros_like(taught), taught, errors) == pytest.approx(1, rel=1e-3)
    assert distance(taught, taught, errors) < 0.01


def test_a_run_learns_from_jpeg_then_a_teacher_then_the_clean_pictures_each_with_its_own_rate() -> None:
    recipe = Recipe(model="edge-s", degradation="mixed", steps=100, teacher="edge-x")
    schedule = Schedule(recipe=recipe, jpeg=0.1, teacher=0.6)
    assert [schedule.lesson(done) for done in (0, 0.09, 0.11, 0.69, 0.71)] == [
        "jpeg",
        "jpeg",
        "teacher",
        "teacher",
        "clean",
    ]
    peaks = [max(schedule.learning_rate(low + k * (high - low) / 99) for k in range(99)) for low, high in PARTS]
    assert peaks == pytest.approx([recipe.lr_jpeg, recipe.lr_taught, recipe.lr], rel=0.05)
    assert schedule.learning_rate(0.6999) < 0.02 * recipe.lr_taught


PARTS = ((0.0, 0.1), (0.1, 0.7), (0.7, 1.0))


def test_a_recipe_without_time_for_the_clean_pictures_is_refused() -> None:
    with pytest.raises(InputError, match="leave some"):
        Recipe(model="edge-s", degradation="mixed", teacher="edge-x", jpeg_first=0.3, distil=0.7)


def test_muon_moves_a_weight_matrix_equally_far_in_all_directions_that_its_gradient_has() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(8, 4, 3, 3))
    # Directions of very different gradients, as a faint signal beside a strong one.
    left, right = torch.linalg.qr(torch.randn(8, 8))[0], torch.linalg.qr(torch.randn(36, 8))[0]
    weight.grad = (left @ torch.diag(torch.logspace(0, -2, 8)) @ right.T).view_as(weight)
    Muon([weight], lr=0.1).step()
    steps = torch.linalg.svdvals(weight.detach().flatten(1)) / 0.1
    assert steps.min() > 0.3
    assert steps.max() < 1.3


def test_corrections_are_a_tenth_as_strong_when_a_run_turns_from_jpeg_to_video() -> None:
    learner = Learner(Recipe(model="edge-s", degradation="mixed"), weights=None, processes=Processes())
    picture = torch.rand(1, 2, 32, 32)
    with torch.no_grad():
        learner.network.layers[-1].bias.fill_(0.3)
        before = learner.network(picture)
        learner.quieten()
        assert torch.allclose(learner.network(picture), before / 10, atol=1e-6)


def test_relus_leak_at_first_and_not_at_all_at_the_end() -> None:
    schedule = Schedule(recipe=Recipe(model="edge-s", degradation="mixed", steps=100), jpeg=0.1)
    leaks = [schedule.leak(done) for done in (0, 0.1, 0.2, 0.29)]
    assert leaks == sorted(leaks, reverse=True) and 0.05 < leaks[0] <= 0.2
    assert schedule.leak(0.31) == schedule.leak(1) == 0


def test_a_silent_channel_learns_while_its_relu_leaks_and_the_average_never_does(pool) -> None:
    moved = {}
    for leak in (0.0, 0.1):
        recipe = Recipe(model="edge-s", degradation="mixed", steps=10, patch_size=16, batch_size=4)
        learner = Learner(recipe, weights=None, processes=Processes())
        first = learner.network.layers[0]
        with torch.no_grad():
            first.bias[3] = -50.0
            learner.network.layers[-1].weight.normal_(std=0.1)
        before = first.weight[3].clone()
        batch = pool.draw(np.random.default_rng(0), batch_size=4, patch_size=16, augmentation=False, blind=0.0)
        batch = batch._replace(clean=(batch.clean // 2).astype(np.uint8))
        learner.learn(batch, step=0, learning_rate=0.01, lesson="clean", leak=leak)
        moved[leak] = float((first.weight[3] - before).abs().max())
        assert learner.average.leak == 0.0
    assert moved[0.0] == 0 < moved[0.1]
