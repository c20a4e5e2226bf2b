"""Small pictures that the tests of training share."""

import cv2
import numpy as np
import pytest

from postfilter.training.footage import FRAMES


@pytest.fixture(scope="session")
def pictures(photograph):
    """Four views of a photograph, R'G'B' uint8 [128, 144, 3]."""
    places = ((60, 100), (200, 180), (300, 20), (0, 300))
    return [np.ascontiguousarray(photograph[y : y + 128, x : x + 144]) for y, x in places]


@pytest.fixture(scope="session")
def folder(pictures, tmp_path_factory):
    """The views as files. Not to be written to."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index}.png"), picture[:, :, ::-1])
    return folder


@pytest.fixture(scope="session")
def moving(photograph):
    """Luma of a view that moves by whole samples, uint8 [24, 96, 128]."""
    luma = photograph[:, :, 1]
    return np.stack([luma[100 + t : 196 + t, 120 + 2 * t : 248 + 2 * t] for t in range(FRAMES)])
