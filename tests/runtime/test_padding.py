from __future__ import annotations

import numpy as np
import pytest

from postfilter.runtime.padding import crop, pad_to, padded_size


@pytest.mark.parametrize(
    ("size", "multiple", "expected"), [((7, 5), 4, (8, 8)), ((8, 4), 4, (8, 4)), ((1, 1), 1, (1, 1))]
)
def test_sizes_are_rounded_up(size: tuple[int, int], multiple: int, expected: tuple[int, int]) -> None:
    assert padded_size(*size, multiple=multiple) == expected


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_padding_repeats_the_edge(kind: type) -> None:
    samples = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7)).astype(kind)
    padded = pad_to(samples, width=12, height=8)
    assert np.array_equal(padded, np.pad(samples, ((0, 0), (0, 0), (0, 3), (0, 5)), mode="edge"))
    assert padded.dtype == kind
    back = crop(padded, width=7, height=5)
    assert back.flags.c_contiguous
    assert np.array_equal(back, samples)


def test_what_fits_is_not_copied() -> None:
    samples = np.zeros((1, 1, 4, 6), np.uint8)
    assert pad_to(samples, width=6, height=4) is samples
    assert crop(samples, width=6, height=4) is samples
