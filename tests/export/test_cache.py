"""The cache finds what is current, names what is not, and does not grow without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postfilter.export.cache import KEPT, cached_folder, cached_standing, standing, tidy, used
from postfilter.export.key import with_key
from postfilter.runtime import EngineManifest, read_manifest, sha256_of_file, write_manifest

PARTS = {
    "model": "arcnn",
    "weights": "a" * 64,
    "residual": None,
    "precision": "fp16",
    "size": None,
    "options": {"rewrite": True},
    "backend": "openvino",
    "backend_version": "2026.4.1",
    "device": "CPU",
    "cpu_features": ["avx2"],
    "schema": 1,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "postfilter" / "engines"


def make(parts: dict, folder: Path | None = None, *, age: float = 0) -> Path:
    """An engine of these parts, as far as a cache looks at it, last used `age` seconds ago."""
    folder = folder or cached_folder(parts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(b"a graph")
    manifest = EngineManifest(
        **{name: parts[name] for name in ("model", "backend", "backend_version", "device", "precision", "size")},
        layout="rgb",
        graph_sha256="1" * 64,
        files={"model.onnx": sha256_of_file(folder / "model.onnx")},
    )
    file = write_manifest(with_key(manifest, parts), folder)
    then = file.stat().st_mtime - age
    os.utime(file, (then, then))
    return folder


def weights(letter: str) -> dict:
    return PARTS | {"weights": letter * 64}


def test_an_engine_is_current_until_a_part_changes(tmp_path: Path):
    folder = make(PARTS, tmp_path / "engine")
    found = standing(folder, PARTS)
    assert found.current and found.exists and found.changes == ()
    changed = PARTS | {"backend_version": "2026.5.0", "options": {"rewrite": False}}
    found = standing(folder, changed)
    assert not found.current
    assert found.as_json()["changes"] == [
        {"part": "options.rewrite", "was": True, "now": False},
        {"part": "backend_version", "was": "2026.4.1", "now": "2026.5.0"},
    ]
    assert found.reason == "options.rewrite: True -> False, backend_version: 2026.4.1 -> 2026.5.0"
    assert standing(tmp_path / "elsewhere", PARTS).as_json() == {
        "engine": str(tmp_path / "elsewhere"),
        "exists": False,
        "current": False,
        "changes": [],
    }


def test_an_edited_or_damaged_engine_is_not_current(tmp_path: Path):
    import dataclasses

    folder = make(PARTS, tmp_path / "engine")
    write_manifest(dataclasses.replace(read_manifest(folder), graph_sha256="2" * 64), folder)
    assert [change.part for change in standing(folder, PARTS).changes] == ["build_key"]
    (make(PARTS, folder) / "model.onnx").write_bytes(b"another graph")
    assert [change.part for change in standing(folder, PARTS).changes] == ["files"]


def test_an_engine_of_a_postfilter_without_parts_is_built_again(tmp_path: Path):
    import dataclasses

    folder = make(PARTS, tmp_path / "engine")
    write_manifest(dataclasses.replace(read_manifest(folder), key_parts={}), folder)
    changes = standing(folder, PARTS).changes
    assert {change.part for change in changes} == {"weights", "options.rewrite", "cpu_features", "schema"}
    assert str(changes[-1]) == "schema: not told -> 1"


def test_the_cache_tells_of_the_engine_that_differs_least():
    assert not cached_standing(PARTS).exists
    make(PARTS | {"weights": "b" * 64, "backend_version": "2025.1"})
    make(PARTS | {"model": "arcnn-luma", "cpu_features": ["avx2"]})
    older = make(PARTS | {"backend_version": "2026.3.0"}, age=60)
    found = cached_standing(PARTS)
    assert found.exists and found.engine == older
    assert found.reason == "backend_version: 2026.3.0 -> 2026.4.1"
    folder = make(PARTS)
    assert cached_standing(PARTS).current and cached_standing(PARTS).engine == folder


def test_two_weights_and_two_machines_have_engines_beside_each_other():
    folders = {make(each) for each in (PARTS, weights("b"), PARTS | {"cpu_features": ["avx2", "avx512f"]})}
    assert len(folders) == 3
    assert all(cached_standing(each).current for each in (PARTS, weights("b")))


def test_only_those_used_last_are_kept(cache: Path):
    of_others = [make(PARTS | other, age=9e6) for other in ({"model": "arcnn-luma"}, {"precision": "fp32"})]
    (cache / f"arcnn-dynamic-fp16-openvino-{'0' * 15}").mkdir()  # not a name of ours
    ages = {letter: 1000 - 100 * index for index, letter in enumerate("bcdef")}
    folders = {letter: make(weights(letter), age=age) for letter, age in ages.items()}
    # The oldest is in use again.
    used(folders["b"])
    new = make(PARTS)
    tidy(new)
    kept = {letter for letter, folder in folders.items() if folder.exists()}
    assert kept == {"b", "e", "f"} and len(kept) + 1 == KEPT
    assert new.exists() and all(folder.exists() for folder in of_others)
    assert (cache / f"arcnn-dynamic-fp16-openvino-{'0' * 15}").exists()


def test_what_killed_builds_left_goes_after_a_day(cache: Path):
    new = make(PARTS)
    old, young = (cache / f".{new.name}.{word}.partial" for word in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"half")
    os.utime(old, (0, 0))
    tidy(new)
    assert not old.exists() and young.exists()
