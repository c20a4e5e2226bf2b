"""What benchmarks/quality.py measures, each figure kept as soon as it is known."""

from __future__ import annotations

import datetime
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from postfilter.errors import PostfilterError
from postfilter.export import engine_from
from postfilter.export.cache import cached_standing
from postfilter.export.key import request_parts
from postfilter.quality import CodedStore, Method, evaluate_images, evaluate_methods, image_files
from postfilter.quality.summary import summary
from postfilter.runtime import Engine, measure_speed
from postfilter.runtime.machine import cpu_name
from postfilter.video.method import method_of
from postfilter.video.reading.qp import QpReader

Row = dict[str, Any]
PARETO_CODEC, PARETO_QP = "hevc", 37


class Cache:
    """JSON values by what they depend on, in a folder; coded clips beside them.

    Args:
        folder: made when something is kept.
        fresh: kinds that are not taken from it.
    """

    def __init__(self, folder: Path, *, fresh: Sequence[str] = ()) -> None:
        self.coded = CodedStore(folder / "coded")
        self._folder, self._fresh = folder, set(fresh)
        self._digests: dict[Path, str] = {}

    def get(self, kind: str, key: Row) -> Any:
        """What was kept; None where nothing was."""
        path = self._path(kind, key)
        return json.loads(path.read_text())["value"] if path.exists() and kind not in self._fresh else None

    def put(self, kind: str, key: Row, value: Any) -> None:
        """Keep a value."""
        path = self._path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"key": key, "value": value}, indent=1, ensure_ascii=False))
        partial.replace(path)

    def digest(self, files: Sequence[Path]) -> str:
        """Of the content of files, in order."""
        for file in files:
            if file not in self._digests:
                self._digests[file] = hashlib.sha256(file.read_bytes()).hexdigest()
        return hashlib.sha256("".join(self._digests[file] for file in files).encode()).hexdigest()

    def _path(self, kind: str, key: Row) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self._folder / kind / f"{digest[:24]}.json"


def images_part(
    cache: Cache, names: Sequence[str], folders: dict[str, Path], *, qualities: Sequence[int], measure: bool
) -> list[Row]:
    """Rows of `evaluate_images`, with the `date` on which each was measured."""
    rows: list[Row] = []
    for engine in _engines(names, ["fp32"], build=measure):
        name = engine.manifest.model
        for dataset, folder in folders.items():
            key = _of(engine) | {"data": cache.digest(image_files(folder)), "qualities": list(qualities)}
            found = cache.get("images", key)
            if found is None and measure:
                _tell(f"{name} on {dataset}")
                made = evaluate_images(
                    folder, engine, layout=engine.layout, method=name, qualities=qualities, dataset=dataset
                )
                found = [row | {"date": _today()} for row in made]
                cache.put("images", key, found)
            rows += found or []
        engine.close()
    return rows


def video_part(
    cache: Cache,
    names: Sequence[str],
    clips: Sequence[Path],
    *,
    codecs: Sequence[str],
    qps: Sequence[int],
    frames: int | None,
    metrics: Sequence[str],
    measure: bool,
) -> Row | None:
    """The `summary` of every model over all clips, codecs and QPs; None where nothing is known.

    A model that reads the QP stands there twice, told and blind.
    """
    with ExitStack() as stack:
        engines = [stack.enter_context(each) for each in _engines(names, ["fp32"], build=measure)]
        methods = [method for engine in engines for method in _methods(engine)]
        rows = _rows(cache, methods, clips, codecs, qps, frames=frames, metrics=metrics, measure=measure)
    return summary(rows) if rows else None


def pareto_part(
    cache: Cache,
    names: Sequence[str],
    clips: Sequence[Path],
    *,
    precisions: Sequence[str],
    frames: int | None,
    size: tuple[int, int],
    seconds: float,
    rounds: int,
    measure: bool,
) -> list[Row]:
    """For each model and precision that can be built here its gain at HEVC QP 37 and its frames a second."""
    found: list[Row] = []
    with ExitStack() as stack:
        engines = [stack.enter_context(each) for each in _engines(names, precisions, build=measure)]
        speeds = _speeds(cache, engines, size=size, seconds=seconds, rounds=rounds, measure=measure)
        for engine, speed in zip(engines, speeds, strict=True):
            wanted = (_methods(engine)[:1], clips, [PARETO_CODEC], [PARETO_QP])
            rows = _rows(cache, *wanted, frames=frames, metrics=["psnr"], measure=measure)
            if rows and speed:
                manifest = engine.manifest
                about = {"model": manifest.model, "precision": manifest.precision, **speed}
                gain = summary(rows)["average"]["delta_psnr"]
                found.append(about | {"kmac_per_px": manifest.cost["kmac_per_px"], "delta_psnr": gain})
    return found


def _speeds(
    cache: Cache, engines: Sequence[Engine], *, size: tuple[int, int], seconds: float, rounds: int, measure: bool
) -> list[Row | None]:
    """Frames a second of each: the best of several rounds, in each of which all run in turn."""
    width, height = size
    keys = [_of(engine) | {"size": list(size), "machine": cpu_name(), "rounds": rounds} for engine in engines]
    found = [cache.get("speed", key) for key in keys]
    missing = [index for index, value in enumerate(found) if value is None]
    if not measure or not missing:
        return found
    best = dict.fromkeys(missing, 0.0)
    for number in range(rounds):
        for index in missing:
            _tell(f"speed of {engines[index].manifest.model}, {engines[index].manifest.precision}, round {number + 1}")
            speed = measure_speed(engines[index], width=width, height=height, seconds=seconds)
            best[index] = max(best[index], speed.fps)
    for index in missing:
        found[index] = {"fps": best[index], "width": width, "height": height, "date": _today(), "machine": cpu_name()}
        cache.put("speed", keys[index], found[index])
    return found


def _rows(
    cache: Cache,
    methods: Sequence[tuple[Method, Engine]],
    clips: Sequence[Path],
    codecs: Sequence[str],
    qps: Sequence[int],
    *,
    frames: int | None,
    metrics: Sequence[str],
    measure: bool,
) -> list[Row]:
    """Rows of `evaluate_methods`, with their `date`; each clip is coded once for all methods that lack it."""
    rows: list[Row] = []
    for clip in clips:
        for codec in codecs:
            for qp in qps:
                about = {"data": cache.digest([clip]), "codec": codec, "qp": qp, "frames": frames}
                about["metrics"] = sorted(metrics)
                keys = [_of(engine) | about | {"told": method.reads_qp} for method, engine in methods]
                found = [cache.get("clips", key) for key in keys]
                missing = [index for index, row in enumerate(found) if row is None]
                if missing and measure:
                    _tell(f"{clip.stem}, {codec} at QP {qp}: {', '.join(methods[index][0].name for index in missing)}")
                    made = evaluate_methods(
                        clip,
                        [methods[index][0] for index in missing],
                        codecs=[codec],
                        qps=[qp],
                        frames=frames,
                        metrics=metrics,
                        watch=QpReader,
                        store=cache.coded,
                    )
                    for index, row in zip(missing, made["rows"], strict=True):
                        found[index] = row | {"date": _today()}
                        cache.put("clips", keys[index], found[index])
                names = [method.name for method, _ in methods]
                rows += [row | {"method": name} for name, row in zip(names, found, strict=True) if row is not None]
    return rows


def _methods(engine: Engine) -> list[tuple[Method, Engine]]:
    """The engine as it is, and blind too where it reads the QP."""
    name = engine.manifest.model
    told = method_of(engine, name)
    if not told.reads_qp:
        return [(told, engine)]
    return [(told, engine), (method_of(engine, f"{name}, blind", blind=True), engine)]


def _engines(names: Sequence[str], precisions: Sequence[str], *, build: bool) -> Iterator[Engine]:
    """What can be built here, or is built already where nothing is to be built; what is left out is told."""
    for name in names:
        for precision in precisions:
            try:
                if build or _is_built(name, precision):
                    yield _engine(name, precision)
                else:
                    _tell(f"{name} in {precision} is left out: no engine of it is built yet")
            except PostfilterError as error:
                _tell(f"{name} in {precision} is left out: {error}")


def _is_built(name: str, precision: Any) -> bool:
    parts = request_parts(name, precision=precision, backend="openvino", size=None, weights=None, residual=None)
    return cached_standing(parts).current


def _engine(name: str, precision: Any) -> Engine:
    return engine_from(name, precision=precision, on_step=_tell)


def _of(engine: Engine) -> Row:
    """What of an engine decides its output and its speed."""
    manifest = engine.manifest
    keys = ("model", "precision", "backend", "backend_version", "weights_sha256", "graph_sha256")
    return {key: getattr(manifest, key) for key in keys}


def _today() -> str:
    return datetime.date.today().isoformat()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
