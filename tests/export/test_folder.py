"""An engine folder appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from postfilter.errors import OutputError
from postfilter.export.folder import staging_folder


def _engine(folder: Path, content: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "engine.json").write_text(content)
    return folder


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_at_the_end_with_the_rights_of_any_new_folder(tmp_path: Path):
    output = tmp_path / "deep" / "engine"
    with staging_folder(output) as staging:
        (staging / "engine.json").write_text("new")
        assert staging.parent == output.parent
        assert not output.exists()
    assert (output / "engine.json").read_text() == "new"
    (tmp_path / "usual").mkdir()
    assert output.stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert _names(output.parent) == ["engine"]


def test_an_engine_is_replaced_whole(tmp_path: Path):
    output = _engine(tmp_path / "engine", "old")
    (output / "left-over.bin").write_text("of the old engine")
    with staging_folder(output) as staging:
        (staging / "engine.json").write_text("new")
        assert (output / "engine.json").read_text() == "old"
    assert _names(output) == ["engine.json"]
    assert (output / "engine.json").read_text() == "new"
    assert _names(tmp_path) == ["engine"]


def test_an_empty_folder_is_filled(tmp_path: Path):
    (tmp_path / "engine").mkdir()
    with staging_folder(tmp_path / "engine") as staging:
        (staging / "engine.json").write_text("new")
    assert (tmp_path / "engine" / "engine.json").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failed_build_leaves_what_was_there(tmp_path: Path, error: type[BaseException]):
    output = _engine(tmp_path / "engine", "old")
    with pytest.raises(error), staging_folder(output) as staging:
        (staging / "half.bin").write_text("half")
        raise error("broken off")
    assert (output / "engine.json").read_text() == "old"
    assert _names(tmp_path) == ["engine"]


def test_what_is_no_engine_is_not_replaced(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    for name, why in (("file", "is a file"), ("folder", "is no engine")):
        with pytest.raises(OutputError, match=why), staging_folder(tmp_path / name):
            pytest.fail("the build began")
    assert (tmp_path / "folder" / "thesis.txt").read_text() == "mine"


def test_what_was_put_there_during_the_build_is_not_replaced(tmp_path: Path):
    output = tmp_path / "engine"
    with pytest.raises(OutputError, match="is no engine"), staging_folder(output) as staging:
        (staging / "engine.json").write_text("new")
        output.mkdir()
        (output / "thesis.txt").write_text("mine")
    assert _names(output) == ["thesis.txt"]
    assert _names(tmp_path) == ["engine"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="--output"), staging_folder(tmp_path / "file" / "engine"):
        pytest.fail("the build began")
