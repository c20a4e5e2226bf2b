"""Backends are imported when an engine needs them, and their absence is told apart from their being broken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postfilter.errors import MissingDependencyError
from postfilter.runtime import load_engine

PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "torch": "torch"}


def test_importing_the_room_loads_no_backend() -> None:
    program = """
import json, sys
import postfilter.runtime
from postfilter.runtime import BACKENDS, Engine, EngineManifest, load_engine, measure_memory, profile_engine
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
print(json.dumps(sorted(name for name in sys.modules if name.startswith("postfilter."))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded, ours = (set(json.loads(line)) for line in done.stdout.splitlines())
    assert not loaded & {"torch", "openvino", "onnxruntime", "tensorrt", "onnx", "cv2"}
    parts = {name.split(".")[1] for name in ours}
    # Of postfilter's own: this room and two files of the door, no other room.
    assert parts == {"errors", "lazy", "runtime"}


@pytest.mark.parametrize("backend", PACKAGES)
def test_a_package_that_is_not_installed(
    backend: str, engines_of_each_backend: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[backend], None)
    with pytest.raises(MissingDependencyError, match=rf"needs {backend}, which is not installed .*pip install"):
        load_engine(engines_of_each_backend[backend])


@pytest.mark.parametrize("backend", PACKAGES)
def test_a_package_that_is_installed_but_broken(
    backend: str, engines_of_each_backend: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / f"{PACKAGES[backend]}.py").write_text("raise ImportError('libmissing.so.1: cannot open shared object')")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from postfilter.errors import MissingDependencyError
from postfilter.runtime import load_engine
try:
    load_engine({str(engines_of_each_backend[backend])!r})
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"needs {backend}, which is installed but broken" in done.stdout
    assert "libmissing.so.1" in done.stdout


def test_every_public_name_is_there() -> None:
    import postfilter.runtime as room

    assert all(getattr(room, name) is not None for name in room.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        room.nonsense  # noqa: B018


def test_an_engine_runs_without_torch(make_engine: Callable[..., Path]) -> None:
    program = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from postfilter.runtime import load_engine
print(load_engine({str(make_engine())!r})(np.zeros((1, 1, 9, 9), np.uint8)).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 1, 9, 9)"
