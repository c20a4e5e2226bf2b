"""What a model's card says it gains."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from postfilter import models
from postfilter.models import ModelCard

ROWS = [
    {"codec": "hevc", "qp": 27, "delta_psnr": 0.1},
    {"codec": "hevc", "qp": 37, "delta_psnr": 0.4},
    {"codec": "h264", "qp": 37, "delta_psnr": 0.6},
]


class _Evaluated(ModelCard):
    def training(self) -> dict[str, Any]:
        return {"results": {"rows": ROWS}}


class _Untrained(ModelCard):
    def training(self) -> dict[str, Any]:
        return {}


def _as(kind: type[ModelCard]) -> ModelCard:
    plain = models.card("fastarcnn-luma")
    return kind(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})


@pytest.mark.parametrize(
    ("codec", "qp", "gain"),
    [("hevc", 22, 0.1), ("hevc", 31, 0.1), ("hevc", 33.5, 0.4), ("h264", 27, 0.6), ("vp9", 40, 0.5), ("vp9", 20, 0.1)],
)
def test_the_gain_is_that_of_the_codec_at_the_nearest_qp(codec: str, qp: float, gain: float) -> None:
    assert _as(_Evaluated).gain_db(codec, qp) == pytest.approx(gain)


def test_a_card_of_pictures_tells_their_mean_gain() -> None:
    card = models.card("fastarcnn")
    rows = card.training()["results"]["rows"]
    own, coded = ([row["psnr"] for row in rows if row["method"] == name] for name in ("fastarcnn", "jpeg"))
    assert card.gain_db("h264", 30) == pytest.approx(statistics.fmean(own) - statistics.fmean(coded))


def test_models_without_results_tell_no_gain() -> None:
    assert _as(_Untrained).gain_db("hevc", 37) is None


def test_shipped_models_for_video_tell_their_gain() -> None:
    luma = [each for each in map(models.card, models.names(shipped=True)) if each.layout == "luma"]
    assert luma and all(each.gain_db("hevc", 37) is not None for each in luma)
