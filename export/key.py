"""What decides whether two engines are the same: a small dictionary of named parts, the key over it, and what changed.

The parts are those of the request (model, weights, precision, size, options), of the code that turns it into an engine,
of the backend and of the machine. They can be told without making the graph, so that an engine that is found starts at
once and without torch; in the graph's place stand the weights' bytes and postfilter's own code. The finished engine's
key covers its graph as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postfilter import __version__, models
from postfilter.errors import UnknownNameError
from postfilter.runtime.machine import device_facts, installed_version
from postfilter.runtime.manifest import SCHEMA_VERSION, sha256_of_file

if TYPE_CHECKING:
    from postfilter.export.plan_options import PlanOptions
    from postfilter.export.quantize_options import QuantizeOptions
    from postfilter.runtime import EngineManifest

__all__ = [
    "DEFAULT_DEVICE",
    "Change",
    "build_key",
    "build_options",
    "differences",
    "engine_parts",
    "request_parts",
    "with_key",
]

DEFAULT_DEVICE = {"openvino": "CPU", "onnxruntime": "cpu", "torch": "cpu", "tensorrt": "cuda:0"}
"""The device that every machine has, in each backend's own words; TensorRT's is the first GPU."""

_IN_MANIFEST = ("model", "precision", "size", "backend", "backend_version", "device")
"""Parts that are keys of the manifest by the same name; the others are its `key_parts`."""
_BOUND = {"platform": "platform", "hardware": "gpu", "compute_capability": "compute_capability"}
_BOUND |= {"driver": "driver", "cuda": "cuda"}
"""Part -> key of `built_for`, by which a TensorRT plan tells the machine that it is bound to."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One part that differs."""

    part: str
    """Its name; those of the options begin with `options.`."""
    was: Any
    """What the engine was made with; None where it is not told."""
    now: Any
    """What it would be made with now; None where there is nothing of the kind."""

    def __str__(self) -> str:
        was, now = (_readable(self.part, value) for value in (self.was, self.now))
        return f"{self.part}: {was} -> {now}"

    def as_json(self) -> dict[str, Any]:
        """Return it as what `json` writes."""
        return dataclasses.asdict(self)


def request_parts(
    model: str,
    *,
    precision: str,
    backend: str,
    device: str | None = None,
    size: tuple[int, int] | None = None,
    weights: Path | None = None,
    residual: bool | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return all that decides what an engine built now would be, in values that JSON can hold.

    Args:
        model: one of `models.names()`.
        precision: what is asked for.
        backend: a key of `runtime.BACKENDS`.
        device: the backend's name of the device; as `DEFAULT_DEVICE` has it where None.
        size: (width, height), or None for any.
        weights: the user's own weights; the shipped ones where None.
        residual: as asked for; see `models.load`.
        options: see `build_options`.

    Returns:
        Name -> value, in the order in which they are told to a person. Parts of the machine are those of
        `runtime.machine.device_facts`.

    Raises:
        UnknownNameError: no such model or backend.
        WeightsError: there are no weights.
    """
    if backend not in DEFAULT_DEVICE:
        raise UnknownNameError("backend", backend, tuple(DEFAULT_DEVICE))
    device = device or DEFAULT_DEVICE[backend]
    source = weights or models.card(model).weights_path
    if not source.is_file():
        models.load(model, weights=weights)  # which tells what is wrong with it
    if precision == "int8":
        recorded = models.card(model).ranges_path
        options["ranges"] = sha256_of_file(recorded) if recorded.is_file() else None
    return {
        "model": model,
        "weights": sha256_of_file(source),
        "residual": residual,
        "precision": precision,
        "size": None if size is None else list(size),
        "options": build_options(backend, **options),
        "backend": backend,
        "backend_version": installed_version(backend),
        "device": device,
        **device_facts(backend, device),
        "postfilter": __version__,
        "code": sources_sha256(),
        "schema": SCHEMA_VERSION,
    }


def build_options(
    backend: str,
    *,
    rewrite: bool | tuple[str, ...] = True,
    plan_options: PlanOptions | None = None,
    quantize_options: QuantizeOptions | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return the options of a build that change its result, as the parts hold them.

    Args:
        backend: a key of `runtime.BACKENDS`.
        rewrite: whether the exact rewrites are applied, or the names of those that are.
        plan_options: how TensorRT builds its plan, its defaults where None; of no account for other backends.
        quantize_options: how int8 is made and judged; None for other precisions.
        others: whatever else changes the result; values that JSON can hold. None is the same as absent.
    """
    options = {"rewrite": list(rewrite) if isinstance(rewrite, tuple) else rewrite, **others}
    if backend == "tensorrt":
        from postfilter.export.plan_options import PlanOptions

        options |= (plan_options or PlanOptions()).as_json()
    if quantize_options is not None:
        options |= {"quantize": quantize_options.as_json()}
    return options


def engine_parts(manifest: EngineManifest) -> dict[str, Any]:
    """Return the parts that an engine was made with, as its manifest tells them, and `graph`, its graph's SHA-256.

    What stands in the manifest under a name of its own is taken from there, so that nothing can be told in two ways.
    """
    own = {name: getattr(manifest, name) for name in _IN_MANIFEST}
    bound = {part: manifest.built_for[key] for part, key in _BOUND.items() if key in manifest.built_for}
    return manifest.key_parts | bound | own | {"graph": manifest.graph_sha256}


def with_key(manifest: EngineManifest, parts: Mapping[str, Any]) -> EngineManifest:
    """Return the manifest with its key, and with those parts that stand nowhere else in it.

    Args:
        manifest: of an engine that is otherwise complete.
        parts: of `request_parts`, from before it was built.
    """
    complete = dataclasses.replace(
        manifest,
        # As the installation tells it, which a later request asks without loading the backend.
        backend_version=parts["backend_version"] or manifest.backend_version,
        key_parts={name: value for name, value in parts.items() if name not in _IN_MANIFEST},
    )
    return dataclasses.replace(complete, build_key=build_key(engine_parts(complete)))


def build_key(parts: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, over parts: their JSON with sorted keys, without white space, in UTF-8."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return what changed from one dictionary of parts to another, in the order of the new one.

    `graph` is left out: it follows from the other parts, and is not known before an engine is built.
    """
    before, after = dict(_flat(old)), dict(_flat(new))
    return [
        Change(part=part, was=before.get(part), now=after.get(part))
        for part in (after | before)
        if part != "graph" and before.get(part) != after.get(part)
    ]


def sources_sha256() -> str:
    """Return the SHA-256 over the code of the rooms that decide what a graph computes."""
    package = Path(__file__).parents[1]
    # Installed, the rooms lie beside this one; in a checkout they do as well.
    digest = hashlib.sha256()
    for room in ("models", "quantize", "export"):
        for path in sorted((package / room).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _flat(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The parts with those of the options by themselves, tuples as the lists that JSON makes of them."""
    for name, value in parts.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", each) for key, each in _flat(value))
        else:
            yield name, list(value) if isinstance(value, tuple) else value


def _readable(part: str, value: Any) -> str:
    if value is None or value == "":
        return "dynamic" if part == "size" else "not told"
    if isinstance(value, list):
        return ("x" if part == "size" else " ").join(map(str, value))
    text = str(value)
    # A SHA-256 is told apart by its beginning.
    return f"{text[:12]}…" if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
