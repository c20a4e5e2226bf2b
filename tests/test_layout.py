"""The rooms stand at the root and are imported as postfilter.<room>: guards for the rough edges of that."""

import ast
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from postfilter.__main__ import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Each imports only those to the right of it; runtime, which is what a user ships, imports none.
ORDER = ["cli", "training", "video", "export", "quantize", "runtime", "quality", "models"]
HEAVY = ["torch", "openvino", "onnxruntime", "tensorrt"]
SOURCES = [path for room in ORDER for path in sorted((ROOT / room).rglob("*.py"))]


def packages_on_disk() -> set[str]:
    inits = [init for room in ORDER for init in (ROOT / room).rglob("__init__.py")]
    return {"postfilter"} | {"postfilter." + ".".join(init.relative_to(ROOT).parent.parts) for init in inits}


def imported_modules(path: Path) -> set[str]:
    """The full names that a file imports anywhere in it, in functions and for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("postfilter.")} & set(ORDER)


def test_the_package_list_is_what_is_on_disk():
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages_on_disk())


def test_every_room_is_mapped_linked_and_guarded():
    on_disk = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"postfilter"}
    assert on_disk == set(ORDER)
    assert PROJECT["tool"]["setuptools"]["package-dir"] == {f"postfilter.{room}": room for room in ORDER}
    assert set(PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]) == set(ORDER)
    for room in ORDER:
        link = ROOT / "postfilter" / room
        # A checkout without symlinks (Windows) holds a file with the link's text instead.
        target = link.readlink() if link.is_symlink() else link.read_text()
        assert Path(str(target).strip()) == Path("..") / room


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_rooms_below_it(path):
    room = path.relative_to(ROOT).parts[0]
    allowed = {room} if room == "runtime" else set(ORDER[ORDER.index(room) :])
    assert rooms_of(imported_modules(path)) <= allowed


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_is_imported_only_where_it_may_be(path):
    # The runtime's PyTorch backend is pt.py and what belongs to it.
    if path.relative_to(ROOT).parts[0] in ("models", "export", "training") or path.match("runtime/pt*.py"):
        return
    assert "torch" not in {name.split(".")[0] for name in imported_modules(path)}


def test_the_import_guards_see_every_form(tmp_path):
    file = tmp_path / "forms.py"
    file.write_text(
        "import torch.nn\nfrom postfilter import video\n"
        "def f():\n    from postfilter.export.graph import x\n    import postfilter.runtime.ov as ov\n"
    )
    assert rooms_of(imported_modules(file)) == {"video", "export", "runtime"}
    assert "torch.nn" in imported_modules(file)


def test_no_module_has_the_name_of_a_library():
    libraries = {"av", "cv2", "numpy", "onnx", "onnxruntime", "openvino", "psutil", "rich", "tensorrt", "torch"}
    assert not {path.stem for path in SOURCES} & libraries


@pytest.mark.parametrize("module", ["postfilter", "postfilter.runtime", "postfilter.video", "postfilter.quality"])
def test_importing_loads_no_backend(module):
    code = f"import {module}, sys, json; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_quick_and_needs_no_backend(command):
    module = "postfilter.cli." + command.replace("-", "_")
    code = f"""import atexit, json, sys, time, {module}
def report():
    loaded = [name for name in {HEAVY} if name in sys.modules]
    sys.stderr.write(json.dumps([time.process_time(), loaded]))
atexit.register(report)
sys.exit({module}.main())"""
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: {command}" in done.stdout and "--json" in done.stdout
    # Processor time, not the clock's: other processes must not decide.
    seconds, loaded = json.loads(done.stderr)
    assert loaded == []
    assert seconds < 1.0


def test_every_command_is_installed_and_behind_the_door():
    scripts = PROJECT["project"]["scripts"]
    assert set(scripts) == set(COMMANDS) | {"postfilter"}
    assert all(scripts[name] == f"postfilter.cli.{name.replace('-', '_')}:main" for name in COMMANDS)


def test_the_wheel_holds_every_module_the_weights_the_pages_and_the_type_marker(tmp_path):
    tree = tmp_path / "tree"
    leave = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "demo-output", "runs")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=leave)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    code_and_data = [
        *SOURCES,
        *(ROOT / "models/weights").glob("*.safetensors"),
        *(ROOT / "models/weights").glob("*.json"),
        *(path for suffix in ("css", "html", "js") for path in (ROOT / "video").rglob(f"*.{suffix}")),
    ]
    wanted = {"postfilter/" + path.relative_to(ROOT).as_posix() for path in code_and_data}
    wanted |= {f"postfilter/{path.name}" for path in (ROOT / "postfilter").glob("*.py")} | {"postfilter/py.typed"}
    held = {name for name in names if ".dist-info/" not in name}
    assert held == wanted
    assert any(name.endswith("licenses/LICENSE") for name in names)
