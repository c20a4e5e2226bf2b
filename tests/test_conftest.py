"""The markers: skipped where something is missing, failing where it is required; and the shared clips."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

MARKED = """
import pytest
@pytest.mark.{marker}
def test_it():
    pass
"""


def outcome(folder: Path, marker: str, **environment: str) -> str:
    """How one marked test ends in a pytest of its own that sees neither a GPU nor a browser."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_marked.py").write_text(MARKED.format(marker=marker))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = browser\n gpu\n tensorrt\n slow\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("POSTFILTER_REQUIRE", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(
        command,
        env=clean | {"CUDA_VISIBLE_DEVICES": "", "PATH": ""} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize("marker", ["browser", "gpu", "tensorrt"])
def test_a_missing_device_skips_unless_it_is_required(tmp_path, marker):
    variable = f"POSTFILTER_REQUIRE_{marker.upper()}"
    skipped = outcome(tmp_path, marker)
    assert "1 skipped" in skipped and variable in skipped
    required = outcome(tmp_path, marker, **{variable: "1"})
    assert "1 error" in required and f"{variable}=1, but" in required


def test_slow_tests_run_on_request(tmp_path):
    assert "1 skipped" in outcome(tmp_path, "slow")
    assert "1 passed" in outcome(tmp_path, "slow", POSTFILTER_REQUIRE_SLOW="1")


def test_the_shared_clips_are_what_they_say(clip_pair):
    with av.open(str(clip_pair.coded)) as coded, av.open(str(clip_pair.clean)) as clean:
        assert [stream.type for stream in coded.streams] == ["video", "audio"]
        assert len(list(coded.decode(video=0))) == len(list(clean.decode(video=0))) == 24
