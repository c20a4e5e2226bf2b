"""The engine that the guard filters again with."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from postfilter.cli.command import Reporter
from postfilter.cli.engine_choice import open_reference_engine
from postfilter.errors import InputError
from postfilter.runtime import load_engine

_ARGUMENTS = argparse.Namespace(weights=None, threads=1)


def test_an_engine_of_an_unknown_model_has_no_reference(luma_engine: Path) -> None:
    with load_engine(luma_engine, threads=1) as engine, pytest.raises(InputError, match="'smooth' is no model"):
        open_reference_engine(engine, _ARGUMENTS, Reporter(quiet=True))


@pytest.mark.slow  # builds an engine
def test_the_reference_is_the_same_model_in_fp32(luma_engine: Path, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("torch")
    from postfilter.export import cached_engine

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = load_engine(cached_engine("fastarcnn-luma", precision="fp16"), bit_depth=10, threads=1)
    with built, open_reference_engine(built, _ARGUMENTS, Reporter(quiet=True)) as reference:
        assert (reference.manifest.precision, reference.bit_depth) == ("fp32", 10)
        assert reference.manifest.weights_sha256 == built.manifest.weights_sha256
        assert 0.5 < reference.manifest.verification["mean_change"] < 1.5
        built.manifest = dataclasses.replace(built.manifest, weights_sha256="other")
        with pytest.raises(InputError, match="other weights"):
            open_reference_engine(built, _ARGUMENTS, Reporter(quiet=True))
