"""`engine.json`: what an engine is, where it came from, and the SHA-256 of every file beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from postfilter.errors import ArtefactError, OutputError
from postfilter.runtime.further_inputs import FurtherInput, complaints_of

__all__ = ["GRAPH", "MANIFEST", "SCHEMA_VERSION", "EngineManifest", "read_manifest", "sha256_of_file", "write_manifest"]

MANIFEST = "engine.json"
"""The manifest's name inside an engine folder. A folder without one is no engine."""
GRAPH = "model.onnx"
"""The portable graph's name inside an engine folder: input `samples`, output `filtered`, both [N, C, H, W]; the input
has a channel more for each of `EngineManifest.inputs`."""
SCHEMA_VERSION = 1

_EXPORT_AGAIN = "make it again with export-engine"


@dataclass(frozen=True, kw_only=True)
class EngineManifest:
    """The content of `engine.json`; field for field its keys."""

    schema_version: int = SCHEMA_VERSION
    model: str
    """The model's name."""
    layout: Literal["luma", "rgb"]
    """`luma`: one channel, the Y plane; `rgb`: three channels, full-range R'G'B'."""
    backend: str
    """A key of `runtime.BACKENDS`."""
    backend_version: str
    """The version of the backend's package that the engine was verified with."""
    device: str
    """The backend's own name of the device, for instance `CPU` (OpenVINO) or `cuda:0` (torch)."""
    device_name: str = ""
    """The hardware behind it where the engine was verified; with ONNX Runtime the provider that really ran it, too."""
    precision: str
    """What was asked for: `fp32`, `fp16`, …"""
    precision_run: str = ""
    """What most of the arithmetic really ran in on the building machine: a CPU may run a fp16 engine in bf16."""
    precision_by_layer: dict[str, str] = field(default_factory=dict)
    """Executed layer -> precision it ran in, as the backend told on the building machine."""
    sample_type: str = "uint8"
    """Element type of the graph's input and output: `uint8` or `uint16`."""
    bit_depth: int = 8
    """Bits a sample; the largest code value is 2 ** bit_depth - 1."""
    inputs: tuple[FurtherInput, ...] = ()
    """What the graph reads beside the picture: each a channel of `samples`, behind the picture's."""
    size: tuple[int, int] | None = None
    """(width, height) where the graph is made for one size, None where it takes any."""
    size_multiple: int = 1
    """Height and width given to the graph must be multiples of this."""
    halo: int = 0
    """Receptive-field radius in samples."""
    period: int = 1
    """Moving the input by multiples of it and of the size multiple moves the graph's output by the same, bit for bit:
    pieces start there. More than the size multiple where a rewrite computes blocks of outputs."""
    piece: tuple[int, int] | None = None
    """(width, height) of the pieces in which frames are filtered, where that was measured to be faster; None: whole."""
    run: dict[str, int] = field(default_factory=dict)
    """`threads` and `requests` that `load_engine` takes where its caller names none, as far as others than the
    backend's own were measured to be faster on `device`."""
    weights_sha256: str = ""
    """Over the parameters' names, shapes and values."""
    graph_sha256: str = ""
    """Of `model.onnx`."""
    files: dict[str, str] = field(default_factory=dict)
    """Name -> SHA-256 of each file of the engine but `engine.json` itself."""
    build_key: str = ""
    """SHA-256 over all that decides what is built; see `export.key`."""
    key_parts: dict[str, Any] = field(default_factory=dict)
    """Those parts of the build key that stand nowhere else here: postfilter's version and code, the weights' file, the
    machine, the options. What changed is told from them when an engine is built again."""
    cost: dict[str, Any] = field(default_factory=dict)
    """params, kmac_per_px (true multiply-accumulates, in thousands, per sample of the full-resolution plane), …"""
    built_for: dict[str, Any] = field(default_factory=dict)
    """What a compiled file is bound to and the options it was built with (TensorRT: `runtime.trt_target.Target`,
    compatibility, profile); empty where the graph itself is run."""
    quantization: dict[str, Any] = field(default_factory=dict)
    """Of an int8 engine: what it was calibrated on, the layers quantized, and how it was judged; else empty."""
    verification: dict[str, Any] = field(default_factory=dict)
    """psnr_db against the PyTorch reference, max_abs_diff in code values, frames used."""

    @property
    def channels(self) -> int:
        """Of the picture: 1 for luma, 3 for RGB."""
        return 1 if self.layout == "luma" else 3

    @property
    def input_channels(self) -> int:
        """Of the graph's input: the picture's, and one for each further input."""
        return self.channels + len(self.inputs)

    @property
    def label(self) -> str:
        """Model, precision and backend, as a person names the engine."""
        return f"{self.model} {self.precision_run or self.precision} {self.backend}"

    def as_json(self) -> dict[str, Any]:
        """Return the manifest as what `json` writes: `size`, `piece` and `inputs` become lists."""
        content = dataclasses.asdict(self)
        for key in ("size", "piece"):
            content[key] = None if content[key] is None else list(content[key])
        content["inputs"] = list(content["inputs"])
        return content


def read_manifest(path: str | os.PathLike[str]) -> EngineManifest:
    """Read the manifest of an engine and verify every file that it lists.

    Args:
        path: the engine folder, or its `engine.json`.

    Raises:
        ArtefactError: no engine there, a manifest that cannot be read or is of another schema, or a file that is
            missing or does not have the SHA-256 written down when it was made.
    """
    folder = _folder(path)
    manifest = _parse(folder / MANIFEST)
    if GRAPH not in manifest.files:
        raise ArtefactError(f"{folder / MANIFEST} lists no {GRAPH}, without which it is no engine; {_EXPORT_AGAIN}")
    for name, expected in manifest.files.items():
        file = folder / name
        if Path(name).name != name:
            raise ArtefactError(f"{folder / MANIFEST} lists {name!r}, which is not a plain file name; {_EXPORT_AGAIN}")
        try:
            found = sha256_of_file(file)
        except FileNotFoundError as error:
            raise ArtefactError(f"the engine {folder} lacks its file {name}; {_EXPORT_AGAIN}") from error
        except OSError as error:
            raise ArtefactError(f"{file} cannot be read ({error}); check its permissions") from error
        if found != expected:
            raise ArtefactError(
                f"the engine {folder} is damaged: {name} has SHA-256 {found[:12]}…, its manifest says {expected[:12]}…"
                f"; {_EXPORT_AGAIN}"
            )
    return manifest


def write_manifest(manifest: EngineManifest, folder: str | os.PathLike[str]) -> Path:
    """Write `engine.json` into `folder` under a temporary name and rename it; return its path.

    Write it last: a folder without it is no engine, so a build that was killed leaves nothing that would run.

    Raises:
        OutputError: the folder cannot be written to.
    """
    target = Path(folder) / MANIFEST
    temporary = target.with_name(f".{MANIFEST}.{os.getpid()}.partial")
    try:
        temporary.write_text(json.dumps(manifest.as_json(), indent=2) + "\n", encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {target} ({error}); give a folder that can be written to") from error
    return target


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _folder(path: str | os.PathLike[str]) -> Path:
    given = Path(path)
    folder = given.parent if given.name == MANIFEST else given
    if not (folder / MANIFEST).is_file():
        state = "is not a folder" if folder.exists() and not folder.is_dir() else f"holds no {MANIFEST}"
        state = state if folder.exists() else "does not exist"
        raise ArtefactError(f"no engine at {folder}: it {state}; give a folder that export-engine made")
    return folder


def _parse(file: Path) -> EngineManifest:
    """Read `engine.json`. Keys that this version does not know are left aside: the schema's number says what breaks."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"cannot read {file} ({error}); {_EXPORT_AGAIN}") from error
    if not isinstance(content, dict):
        raise ArtefactError(f"{file} holds {type(content).__name__}, not an object; {_EXPORT_AGAIN}")
    schema = content.get("schema_version")
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise ArtefactError(
            f"{file} was written by a newer postfilter: it has schema version {schema}, and this one reads up to "
            f"{SCHEMA_VERSION}; update postfilter, or {_EXPORT_AGAIN} of this version"
        )
    if schema != SCHEMA_VERSION:
        raise ArtefactError(
            f"{file} has schema version {schema!r}, this postfilter reads {SCHEMA_VERSION}; {_EXPORT_AGAIN}, or use "
            "the postfilter that made it"
        )
    fields = {each.name for each in dataclasses.fields(EngineManifest)}
    known = {key: value for key, value in content.items() if key in fields}
    complaints = _complaints(known)
    if complaints:
        raise ArtefactError(f"{file} cannot be used: {'; '.join(complaints)}; {_EXPORT_AGAIN}")
    for key in ("size", "piece"):
        if known.get(key) is not None:
            known[key] = tuple(known[key])
    named = {each.name for each in dataclasses.fields(FurtherInput)}
    known["inputs"] = tuple(
        FurtherInput(**{key: value for key, value in each.items() if key in named}) for each in known.get("inputs", ())
    )
    try:
        return EngineManifest(**known)
    except TypeError as error:
        raise ArtefactError(f"{file} is incomplete ({error}); {_EXPORT_AGAIN}") from error


def _complaints(content: dict[str, Any]) -> list[str]:
    """What is wrong with the values that decide how an engine is run."""

    def positive(value: Any) -> bool:
        return isinstance(value, int) and value > 0

    found = []
    if content.get("layout", "luma") not in ("luma", "rgb"):
        found.append(f"layout {content['layout']!r} is neither luma nor rgb")
    if content.get("bit_depth", 8) not in range(8, 17):
        found.append(f"bit_depth {content['bit_depth']!r} is not in 8..16")
    for key in ("size_multiple", "period"):
        if not positive(content.get(key, 1)):
            found.append(f"{key} {content[key]!r} is no positive integer")
    for key in ("size", "piece"):
        sides = content.get(key)
        if sides is not None and not (isinstance(sides, list) and len(sides) == 2 and all(map(positive, sides))):
            found.append(f"{key} {sides!r} is not [width, height]")
    if not isinstance(content.get("halo", 0), int) or content.get("halo", 0) < 0:
        found.append(f"halo {content['halo']!r} is no number of samples")
    for key in ("model", "backend", "backend_version", "device", "precision", "precision_run"):
        if not isinstance(content.get(key, ""), str):
            found.append(f"{key} {content[key]!r} is no text")
    run = content.get("run", {})
    if not (isinstance(run, dict) and run.keys() <= {"threads", "requests"} and all(map(positive, run.values()))):
        found.append(f"run {run!r} is no object of threads and requests")
    for key in ("files", "cost", "built_for", "key_parts"):
        if not isinstance(content.get(key, {}), dict):
            found.append(f"{key} {content[key]!r} is no object")
    found += complaints_of(content.get("inputs", []))
    cost = content.get("cost", {})
    if isinstance(cost, dict) and not isinstance(cost.get("kmac_per_px", 0), (int, float)):
        found.append(f"cost.kmac_per_px {cost['kmac_per_px']!r} is no number")
    return found
