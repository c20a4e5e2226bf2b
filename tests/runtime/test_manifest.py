from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postfilter.errors import ArtefactError, OutputError
from postfilter.runtime import load_engine, read_manifest, write_manifest

MakeEngine = Callable[..., Path]


def change(folder: Path, **keys: Any) -> None:
    file = folder / "engine.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


@pytest.mark.parametrize("size", [None, (32, 24)])
def test_a_manifest_reads_back_as_written(make_engine: MakeEngine, size: tuple[int, int] | None) -> None:
    folder = make_engine(size=size, precision_by_layer={"conv0": "fp32"}, verification={"psnr_db": 99.0})
    manifest = read_manifest(folder)
    assert manifest == read_manifest(folder / "engine.json")
    assert manifest.size == size
    assert manifest.verification == {"psnr_db": 99.0}
    assert json.loads((folder / "engine.json").read_text()) == manifest.as_json()


def test_keys_of_a_later_postfilter_are_left_aside(make_engine: MakeEngine) -> None:
    folder = make_engine()
    before = read_manifest(folder)
    change(folder, something_new={"a": 1})
    assert read_manifest(folder) == before


def test_how_an_engine_is_best_run_holds_unless_the_caller_says_otherwise(make_engine: MakeEngine) -> None:
    folder = make_engine(run={"threads": 1, "requests": 5})
    with load_engine(folder) as engine:
        assert (engine.threads, engine.requests) == (1, 5)
    with load_engine(folder, threads=2, requests=3) as engine:
        assert (engine.threads, engine.requests) == (2, 3)
    with load_engine(folder, memory_limit_mb=1000) as engine:
        assert engine.requests == 1
    # Measured on another device.
    with load_engine(folder, device="AUTO") as engine:
        assert engine.threads is None and engine.requests != 5


def test_one_flipped_bit_is_found(make_engine: MakeEngine) -> None:
    folder = make_engine()
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"damaged: model\.onnx has SHA-256 .*export-engine"):
        load_engine(folder)


def test_a_missing_file_is_named(make_engine: MakeEngine) -> None:
    folder = make_engine()
    (folder / "model.onnx").unlink()
    with pytest.raises(ArtefactError, match=r"lacks its file model\.onnx"):
        load_engine(folder)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"schema_version": 99}, "newer postfilter.*schema version 99.*update postfilter"),
        ({"schema_version": 0}, "schema version 0"),
        ({"schema_version": "2"}, "schema version .2."),
        ({"key_parts": ["a"]}, "key_parts"),
        ({"run": {"threads": 0}}, "run .*threads and requests"),
        ({"run": {"streams": 2}}, "run .*threads and requests"),
        ({"backend": "abacus"}, "'abacus'.*openvino"),
        ({"backend": ["openvino"]}, "backend .* is no text"),
        ({"device": {"name": "CPU"}}, "device .* is no text"),
        ({"cost": {"kmac_per_px": "16.2"}}, "kmac_per_px '16.2' is no number"),
        ({"layout": "cmyk"}, "cmyk"),
        ({"bit_depth": 64}, "bit_depth 64"),
        ({"size_multiple": 0}, "size_multiple 0"),
        ({"size": [0, 10]}, "width, height"),
        ({"size": 480}, "size"),
        ({"files": {}}, r"lists no model\.onnx"),
        ({"files": ["model.onnx"]}, "files"),
        ({"files": {"model.onnx": "0" * 64, "../../etc/passwd": "0" * 64}}, "plain file name|damaged"),
    ],
)
def test_a_manifest_that_cannot_be_used(make_engine: MakeEngine, keys: dict[str, Any], told: str) -> None:
    folder = make_engine()
    change(folder, **keys)
    with pytest.raises(ArtefactError, match=told):
        load_engine(folder)


def test_a_manifest_without_a_key_names_it(make_engine: MakeEngine) -> None:
    folder = make_engine()
    content = json.loads((folder / "engine.json").read_text())
    del content["layout"]
    (folder / "engine.json").write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="layout"):
        load_engine(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00"])
def test_a_manifest_that_is_no_object(make_engine: MakeEngine, content: bytes) -> None:
    folder = make_engine()
    (folder / "engine.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"engine\.json"):
        load_engine(folder)


def test_a_folder_that_is_no_engine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, told in ((tmp_path, "holds no"), (tmp_path / "absent", "does not exist"), (tmp_path / "file", "folder")):
        with pytest.raises(ArtefactError, match=told):
            load_engine(path)


def test_writing_leaves_one_file_or_none(make_engine: MakeEngine, tmp_path: Path) -> None:
    folder = make_engine()
    assert sorted(file.name for file in folder.iterdir()) == ["engine.json", "model.onnx"]
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_manifest(read_manifest(folder), blocked)
