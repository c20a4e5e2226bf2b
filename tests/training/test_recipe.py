"""Recipes refuse contradictions."""

import pytest

from postfilter.errors import InputError
from postfilter.training import Recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "either"),
        ({"minutes": 3.0}, "not both"),
        ({"degradation": "vp8"}, "known: jpeg"),
        ({"jpeg_quality": (0,)}, "1 to 100"),
        ({"jpeg_quality": ()}, "1 to 100"),
        ({"qp": (40, 30)}, "lower end first"),
        ({"patch_size": 30}, "multiple of 8"),
        ({"lr": 0.0}, "positive"),
        ({"harm": -1.0}, "positive"),
        ({"jpeg_first": 1.0}, "below 1"),
        ({"blind": 1.5}, "0 to 1"),
        ({"jpeg_twice": 1.5}, "twice must be 0 to 1"),
        ({"jpeg_sampling": ("4:1:0",)}, "4:2:2"),
        ({"clip_scale": 0.0}, "scales"),
    ],
)
def test_contradictory_recipes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Recipe(**{"model": "fastarcnn", "degradation": "jpeg"} | change)


def test_epochs_become_steps():
    recipe = Recipe(model="fastarcnn", degradation="jpeg", batch_size=4, patch_size=16)
    assert recipe.for_epochs(2, samples=4 * 16 * 16 * 10).steps == 20
    with pytest.raises(InputError, match="epochs"):
        recipe.for_epochs(0, samples=1)
