from __future__ import annotations

import json
from pathlib import Path

import pytest

from postfilter.export.key import build_key, installed_version, request_key

BUILD = {
    "graph_sha256": "a" * 64,
    "backend": "openvino",
    "backend_version": "2026.4.1",
    "device": "CPU",
    "precision": "fp32",
    "size": None,
}


def test_same_facts_same_key():
    assert build_key(**BUILD) == build_key(**dict(reversed(BUILD.items())))
    # A manifest read back from JSON has a list where a tuple was.
    assert build_key(**BUILD | {"size": (8, 6)}) == build_key(**BUILD | {"size": json.loads("[8, 6]")})


@pytest.mark.parametrize(
    "other",
    [
        {"graph_sha256": "b" * 64},
        {"backend": "onnxruntime"},
        {"backend_version": "2026.4.2"},
        {"device": "GPU"},
        {"precision": "fp16"},
        {"size": (720, 480)},
        {"options": {"streams": 2}},
    ],
)
def test_every_fact_counts(other):
    assert build_key(**BUILD | other) != build_key(**BUILD)


def test_a_request_depends_on_what_the_weights_file_holds_not_on_its_name(tmp_path: Path):
    def key(content: bytes, name: str, **other) -> str:
        path = tmp_path / name
        path.write_bytes(content)
        facts = {"residual": None, "precision": "fp32", "backend": "openvino", "device": "CPU", "size": None}
        return request_key("arcnn", weights=path, **facts | other)

    assert key(b"one", "a") == key(b"one", "b")
    assert key(b"one", "a") != key(b"two", "a")
    assert key(b"one", "a") != key(b"one", "a", residual=True)


def test_versions_are_those_of_the_installed_packages():
    import openvino

    assert openvino.__version__.startswith(installed_version("openvino"))
    assert installed_version("no-such-backend") == ""
