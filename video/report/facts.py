"""The figures of a result, an engine and a machine as rows that a person reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from postfilter.runtime.machine import cpu_name, device_facts, platform_name

if TYPE_CHECKING:
    from postfilter.runtime import EngineManifest

__all__ = ["Row", "Table", "engine_tables", "machine_table", "number", "result_tables", "timestamp"]

_UNITS = {"ms": "ms", "mb": "MB", "db": "dB", "bytes": "bytes", "seconds": "s", "percent": "%"}
"""Last word of a name -> the unit it stands for."""
_WORDS = {
    "cpu": "CPU",
    "psnr": "PSNR",
    "qp": "QP",
    "fps": "fps",
    "tflops": "TFLOPS",
    "speed x": "times real time",
    "db": "dB",
}
_MANIFEST = (
    ("model", "Model"),
    ("layout", "Layout"),
    ("precision", "Precision asked for"),
    ("precision_run", "Precision run"),
    ("backend", "Backend"),
    ("backend_version", "Backend version"),
    ("device", "Device"),
    ("device_name", "Verified on"),
    ("halo", "Receptive-field radius, samples"),
    ("weights_sha256", "Weights, SHA-256"),
    ("graph_sha256", "Graph, SHA-256"),
)
_COST = (("params", "Parameters"), ("kmac_per_px", "kMAC per luma sample"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Some rows under a heading."""

    title: str
    rows: tuple[Row, ...]


def result_tables(result: Mapping[str, Any]) -> list[Table]:
    """Return all that `VideoResult.as_json` holds: single figures in one table, then one for each topic.

    Lists are left out (warnings stand by themselves in the report), and so is what is empty.
    """
    single = {name: value for name, value in result.items() if not isinstance(value, (Mapping, list))}
    topics = {name: value for name, value in result.items() if isinstance(value, Mapping) and value}
    tables = [Table(title="The run", rows=tuple(_row(name, value) for name, value in single.items()))]
    for name, values in topics.items():
        head, _, last = name.rpartition("_")
        title, unit = (head, _UNITS[last]) if last in _UNITS else (name, "")
        rows = (_row(key, value, unit=unit) for key, value in _flat(values) if not isinstance(value, list))
        tables.append(Table(title=_title(title), rows=tuple(rows)))
    return tables


def engine_tables(manifest: EngineManifest) -> list[Table]:
    """Return what an engine is and what it costs, and how it was verified."""
    content = manifest.as_json()
    rows = [
        Row(name=title, value=_text(content[key])) for key, title in _MANIFEST if content.get(key) not in ("", None)
    ]
    rows += [Row(name=title, value=_text(manifest.cost[key])) for key, title in _COST if key in manifest.cost]
    tables = [Table(title="The engine", rows=tuple(rows))]
    if manifest.verification:
        checked = tuple(_row(key, value) for key, value in _flat(manifest.verification))
        tables.append(Table(title="Verified against the model", rows=checked))
    return tables


def machine_table(manifest: EngineManifest) -> Table:
    """Return what the clip was filtered on."""
    import psutil

    from postfilter import __version__

    rows = [
        Row(name="Processor", value=cpu_name()),
        Row(
            name="Cores",
            value=f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        ),
        Row(name="Memory", value=f"{psutil.virtual_memory().total / 2**30:.1f} GiB"),
        Row(name="Platform", value=platform_name()),
    ]
    facts = device_facts(manifest.backend, manifest.device)
    if facts.get("hardware", cpu_name()) != cpu_name():
        rows.append(Row(name="Device", value=_text(facts["hardware"])))
    rows += [Row(name=name.capitalize(), value=_text(facts[name])) for name in ("driver", "cuda") if facts.get(name)]
    rows.append(Row(name="postfilter", value=__version__))
    return Table(title="The machine", rows=tuple(rows))


def timestamp(seconds: float) -> str:
    """Return a time as `00:01:02.345`, with a sign before what is negative."""
    milliseconds = round(abs(seconds) * 1000)
    minutes, rest = divmod(milliseconds, 60000)
    sign = "−" if seconds < 0 and milliseconds else ""  # noqa: RUF001  # the true minus
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{rest / 1000:06.3f}"


def number(value: float, *, sign: bool = False) -> str:
    """Return a figure with the digits that matter: four, more only before the point."""
    if isinstance(value, int) or value == 0:
        text = f"{int(value):,}"
    else:
        places = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
        text = f"{value:,.{places}f}"
    text = f"+{text}" if sign and value > 0 else text
    return text.replace("-", "−").replace(",", "\u202f")  # noqa: RUF001  # the true minus, and a narrow space


def _row(name: str, value: Any, *, unit: str = "") -> Row:
    head, _, last = name.rpartition("_")
    if head and last in _UNITS:
        name, unit = head, _UNITS[last]
    elif "psnr" in name:
        unit = "dB"
    elif name in _UNITS:
        unit = _UNITS[name]
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = f"{_text(value)} {unit}" if numeric and unit else _text(value)
    return Row(name=_title(name), value=text)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value


def _title(name: str) -> str:
    words = name.replace("_", " ")
    for got, wanted in _WORDS.items():
        words = words.replace(got, wanted)
    return words[:1].upper() + words[1:] if not words.startswith(("fps", "p5", "p9")) else words


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(each) for each in value)
    return str(value)
