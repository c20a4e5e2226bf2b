"""export-engine builds what is not current, and says why: typed as a user types it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from postfilter import models
from postfilter.cli import evaluate_model, export_engine
from postfilter.models.weights import save_weights

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files of weights of Fast ARCNN luma."""
    folder = tmp_path_factory.mktemp("weights")
    files = [folder / "one.safetensors", folder / "two.safetensors"]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        save_weights(models.build("fastarcnn-luma"), file, residual=True)
    return files


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`run(*arguments)` -> exit status, stdout, stderr; in a folder and with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "500")

    def call(*arguments: object, command: object = export_engine) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["the-command", *map(str, arguments)])
        try:
            status = command.main()  # type: ignore[attr-defined]
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture(scope="module")
def built(weights: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of the first weights, for 64x48."""
    from postfilter.export import build_engine

    folder = tmp_path_factory.mktemp("built") / "engine"
    return build_engine("fastarcnn-luma", size=(64, 48), weights=weights[0], output=folder).engine


@pytest.fixture
def engine(built: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "engine"))


def edit(folder: Path, **keys: object) -> None:
    file = folder / "engine.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def asked(weights: Path, folder: Path) -> tuple[object, ...]:
    return ("fastarcnn-luma", "--size", "64x48", "--weights", weights, "--output", folder)


def test_there_is_none_yet_and_none_is_made(run: Run, weights: list[Path], tmp_path: Path) -> None:
    status, out, _ = run(*asked(weights[0], Path("mine")), "--why-rebuild")
    assert (status, out) == (0, "there is none yet at mine\n")
    status, out, _ = run("fastarcnn-luma", "--weights", weights[0], "--why-rebuild", "--json")
    assert status == 0
    assert json.loads(out) == {
        "engine": "engines/fastarcnn-luma-dynamic-fp32-openvino",
        "exists": False,
        "current": False,
        "changes": [],
    }
    assert list(tmp_path.iterdir()) == []


def test_nothing_changed(run: Run, weights: list[Path], engine: Path) -> None:
    status, out, _ = run(*asked(weights[0], engine), "--why-rebuild")
    assert (status, out) == (0, f"nothing: the engine in {engine} is current\n")
    assert json.loads(run(*asked(weights[0], engine), "--why-rebuild", "--json")[1]) == {
        "engine": str(engine),
        "exists": True,
        "current": True,
        "changes": [],
    }


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (("--fp16",), {"part": "precision", "was": "fp32", "now": "fp16"}),
        (("--size", "66x48"), {"part": "size", "was": [64, 48], "now": [66, 48]}),
        (("--no-rewrite",), {"part": "options.rewrite", "was": True, "now": False}),
        (("--no-residual",), {"part": "residual", "was": None, "now": False}),
    ],
)
def test_another_option(
    run: Run, weights: list[Path], engine: Path, options: tuple[str, ...], change: dict[str, object]
) -> None:
    before = (engine / "engine.json").read_bytes()
    status, out, _ = run(*asked(weights[0], engine), *options, "--why-rebuild", "--json")
    assert status == 0
    assert json.loads(out) == {"engine": str(engine), "exists": True, "current": False, "changes": [change]}
    assert (engine / "engine.json").read_bytes() == before


def test_other_weights_and_another_backend(run: Run, weights: list[Path], engine: Path) -> None:
    status, out, _ = run(*asked(weights[1], engine), "--why-rebuild")
    first, *lines = out.splitlines()
    assert status == 0
    assert first == f"the engine in {engine} would be built again, since these changed:"
    assert [line.split(":")[0].strip() for line in lines] == ["weights"]
    changes = json.loads(run(*asked(weights[0], engine), "--backend", "onnxruntime", "--why-rebuild", "--json")[1])
    assert {"backend", "backend_version"} <= {change["part"] for change in changes["changes"]}


@pytest.mark.parametrize(
    ("part", "was"),
    [
        ("cpu_features", ["avx2", "amx_int8"]),
        ("hardware", "Another CPU"),
        ("code", "0" * 64),
        ("postfilter", "0.0.1"),
    ],
)
def test_an_engine_of_another_machine_or_postfilter(
    run: Run, weights: list[Path], engine: Path, part: str, was: object
) -> None:
    parts = json.loads((engine / "engine.json").read_text())["key_parts"]
    edit(engine, key_parts=parts | {part: was})
    status, out, _ = run(*asked(weights[0], engine), "--why-rebuild", "--json")
    assert status == 0
    assert json.loads(out)["changes"] == [{"part": part, "was": was, "now": parts[part]}]


def test_an_engine_of_another_backend_version_is_built_again_and_then_is_current(
    run: Run, weights: list[Path], engine: Path
) -> None:
    edit(engine, backend_version="2020.1")
    status, out, _ = run(*asked(weights[0], engine), "--why-rebuild")
    assert status == 0 and "\n  backend_version: 2020.1 -> " in out
    status, out, err = run(*asked(weights[0], engine), "--json")
    assert status == 0
    assert "again: backend_version: 2020.1 -> " in err
    result = json.loads(out)
    assert result["reused"] is False and result["build_seconds"] > 0
    assert run(*asked(weights[0], engine), "--why-rebuild")[1].startswith("nothing")


def test_a_damaged_engine(run: Run, weights: list[Path], engine: Path, caplog: pytest.LogCaptureFixture) -> None:
    (engine / "model.onnx").write_bytes(b"damaged")
    status, out, _ = run(*asked(weights[0], engine), "--why-rebuild")
    assert status == 0 and "files: unusable -> whole" in out
    assert "model.onnx has SHA-256" in caplog.text


def test_what_is_current_is_not_built_unless_asked_for(run: Run, weights: list[Path], engine: Path) -> None:
    written = (engine / "engine.json").stat().st_mtime_ns
    status, out, err = run(*asked(weights[0], engine), "--json")
    assert status == 0 and "is current; --rebuild" in err
    result = json.loads(out)
    assert result["reused"] is True and result["engine"] == str(engine)
    assert result["manifest"] == json.loads((engine / "engine.json").read_text())
    assert (engine / "engine.json").stat().st_mtime_ns == written
    status, out, _ = run(*asked(weights[0], engine))
    assert status == 0 and "before" in out and f"--engine {engine}" in out
    status, out, _ = run(*asked(weights[0], engine), "--rebuild", "--json")
    assert status == 0 and json.loads(out)["reused"] is False
    assert (engine / "engine.json").stat().st_mtime_ns != written


def test_frames_of_the_users_own_are_always_verified_on(
    run: Run, weights: list[Path], engine: Path, clip_pair: object
) -> None:
    clip = clip_pair.coded  # type: ignore[attr-defined]
    status, out, _ = run(*asked(weights[0], engine), "--verify-with", clip, "--json")
    assert status == 0
    assert json.loads(out)["manifest"]["verification"]["source"] == clip.name


def test_the_cache_is_told_of_where_no_folder_is_named(
    run: Run, weights: list[Path], clip_pair: object, tmp_path: Path
) -> None:
    clip = clip_pair.clean  # type: ignore[attr-defined]
    evaluated = ("fastarcnn-luma", "--weights", weights[0], "--clips", clip, "--frames", 2)
    status, _, err = run(*evaluated, command=evaluate_model)
    assert status == 0 and "building the engine of fastarcnn-luma: there is none yet" in err
    status, out, _ = run("fastarcnn-luma", "--weights", weights[0], "--why-rebuild", "--json")
    result = json.loads(out)
    assert status == 0 and result["current"]
    assert Path(result["engine"]).is_relative_to(tmp_path / "cache" / "postfilter" / "engines")
    edit(Path(result["engine"]), backend_version="2020.1")
    _, _, err = run(*evaluated, command=evaluate_model)
    assert "building the engine of fastarcnn-luma: backend_version: 2020.1 -> " in err
    _, _, err = run(*evaluated, command=evaluate_model)
    assert "building" not in err


def test_what_makes_no_sense(run: Run, weights: list[Path], engine: Path, tmp_path: Path) -> None:
    assert run(*asked(weights[0], engine), "--why-rebuild", "--rebuild")[0] == 2
    for arguments, told in (
        ((*asked(weights[0], engine), "--why-rebuild", "--verify-with", weights[0]), "--verify-with always builds"),
        ((*asked(tmp_path / "absent", engine), "--why-rebuild"), "no weights file"),
        (("nosuchmodel", "--why-rebuild"), "fastarcnn-luma"),
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (1, "") and told in err and "Traceback" not in err
