"""export-engine as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from postfilter.cli import export_engine
from postfilter.cli.options import parse_size, size_label

KEYS = [
    "schema_version",
    "model",
    "layout",
    "backend",
    "backend_version",
    "device",
    "precision",
    "precision_by_layer",
    "sample_type",
    "bit_depth",
    "size",
    "size_multiple",
    "halo",
    "weights_sha256",
    "graph_sha256",
    "files",
    "build_key",
    "cost",
    "verification",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of Fast ARCNN luma in a file of `torch.save`, as public checkpoints come: without a residual mark."""
    import torch

    from postfilter import models

    torch.manual_seed(2)
    network = models.build("fastarcnn-luma")
    network.last.bias.data += 0.5
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """`run("fastarcnn", "--fp16")` -> exit status, stdout, stderr; in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["export-engine", *map(str, arguments)])
        try:
            status = export_engine.main()
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_json_holds_the_engine_its_manifest_and_the_time(run, weights, tmp_path):
    status, out, _ = run("fastarcnn-luma", "--fp16", "--weights", weights, "--json")
    assert status == 0
    result = json.loads(out)
    assert result["engine"] == "engines/fastarcnn-luma-dynamic-fp16-openvino"
    assert result["build_seconds"] > 0
    assert [key for key in KEYS if key not in result["manifest"]] == []
    assert result["manifest"] == json.loads((tmp_path / result["engine"] / "engine.json").read_text())
    assert result["manifest"]["verification"]["psnr_db"] >= 50
    assert result["manifest"]["cost"]["slides"].keys() == {"tflops", "mem_mb"}


def test_a_person_reads_what_was_built_and_what_to_type_next(run, weights):
    # Weights without a mark are taken as most public ones are; --residual says otherwise.
    status, out, err = run(
        "fastarcnn-luma", "--size", "64x48", "--backend", "onnxruntime", "--weights", weights, "--residual"
    )
    assert status == 0
    assert "64,837 parameters" in out
    assert "onnxruntime" in out and "16.2 kMAC/px" in out
    assert "to PyTorch on 4 frames" in out
    assert "--engine engines/fastarcnn-luma-64x48-fp32-onnxruntime\n" in out
    assert "depth-to-space" in err


def test_an_unknown_model_lists_the_known_ones(run):
    status, out, err = run("nosuchmodel")
    assert (status, out) == (1, "")
    assert "arcnn, fastarcnn, arcnn-luma, fastarcnn-luma" in err


def test_mistakes_are_told_without_a_traceback(run, weights, tmp_path):
    (tmp_path / "junk.pth").write_bytes(b"no weights at all")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for arguments, told in (
        (("fastarcnn", "--weights", weights), "do not fit fastarcnn"),
        (("fastarcnn-luma", "--weights", tmp_path / "junk.pth"), "junk.pth"),
        (("fastarcnn-luma", "--weights", weights, "--output", tmp_path / "full"), "not replaced"),
        (("fastarcnn-luma", "--weights", weights, "--output", "junk.pth/engine"), "--output"),
        (("fastarcnn-luma", "--weights", weights, "--verify-with", tmp_path / "junk.pth"), "junk.pth"),
    ):
        status, out, err = run(*arguments, "--quiet")
        assert (status, out) == (1, ""), arguments
        assert err.startswith("export-engine: error: ") and told in err and "Traceback" not in err, err
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fp32", "--fp16"),
        ("--size", "0x480"),
        ("--size", "720"),
        ("--backend", "nosuch"),
    ],
)
def test_wrong_usage_exits_with_2(run, arguments):
    status, _, err = run("fastarcnn-luma", *arguments)
    assert status == 2
    assert "usage: export-engine" in err


def test_help_needs_neither_torch_nor_a_backend():
    code = (
        "import sys; sys.argv = ['export-engine', '--help']\n"
        "from postfilter.cli.export_engine import main\n"
        "try: main()\n"
        "except SystemExit: print([m for m in ('torch', 'openvino', 'onnxruntime', 'onnx', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "--fp16" in done.stdout
    assert done.stdout.endswith("[]\n"), done.stdout[-200:] + done.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [("480p", (720, 480)), ("1080p", (1920, 1080)), ("854x480", (854, 480)), ("dynamic", None)],
)
def test_sizes_read_and_print_as_typed(text, size):
    assert parse_size(text) == size
    assert size_label(size) == text


def test_sensitivity_tells_and_draws_each_layer(run, monkeypatch, tmp_path):
    monkeypatch.setattr("postfilter.export.judgement._SECONDS", 0.0)
    arguments = ("fastarcnn-luma", "--int8", "--force", "--size", "96x64", "--sensitivity")
    status, output, _ = run(*arguments, "--output", "engine", "--json")
    assert status == 0
    found = json.loads(output)["sensitivity"]
    assert [row["layer"] for row in found["rows"]] == ["base.0", "base.2", "base.4", "base.6", "last.subpixel"]
    assert all(0.9 < row["kept"] < 1.1 for row in found["rows"])
    assert (tmp_path / found["plot"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--fp16", "--sensitivity"), "--int8"),
        (("--fp16", "--force"), "--int8"),
        (("--int8", "--backend", "torch", "--sensitivity"), "openvino and onnxruntime"),
    ],
)
def test_int8_options_where_they_mean_nothing_are_refused(run, arguments, reason):
    status, output, error = run("fastarcnn-luma", *arguments)
    assert status == 1 and not output
    assert reason in error and "Traceback" not in error
