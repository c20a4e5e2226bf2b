"""Compares what the code touches of TensorRT and CUDA with the real packages; run as a program by the contract test.

Usage: trt_contract.py tensorrt|cuda. The packages are those on PYTHONPATH; TensorRT's bindings are imported over
libraries that hold nothing, so enumerations, classes and signatures are real and no call can work. Prints JSON:
version, the names checked, and what does not agree.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from typing import Any

from postfilter.errors import DeviceError
from postfilter.runtime import cuda_api, trt_api
from postfilter.runtime.cuda_api import Cuda, CudaRuntime, import_cuda


class Report:
    def __init__(self) -> None:
        self.checked: list[str] = []
        self.problems: list[str] = []

    def check(self, name: str, holds: bool, problem: str) -> None:
        self.checked.append(name)
        if not holds:
            self.problems.append(f"{name}: {problem}")


def members(protocol: Any) -> dict[str, Any]:
    """Name -> function for methods, None for attributes, of what a protocol itself declares."""
    methods = {name: each for name, each in vars(protocol).items() if inspect.isfunction(each)}
    methods = {name: each for name, each in methods.items() if not name.startswith("_")}
    return dict.fromkeys(vars(protocol).get("__annotations__", {})) | methods


def overloads(documentation: str, name: str) -> list[list[str]]:
    """The parameters of each overload as pybind11 documents them, `=` behind those that may be left out."""
    found = []
    for line in documentation.splitlines():
        match = re.match(rf"\s*(?:\d+\. )?{name}\((.*)\) -> ", line)
        if match:
            # Defaults and types may hold commas in brackets.
            flat = re.sub(r"\[[^\[\]]*\]|<[^<>]*>", "", re.sub(r"\[[^\[\]]*\]", "", match[1]))
            parts = [each.strip() for each in flat.split(",")][1:]
            found.append([each.split(":")[0] + ("=" if "=" in each else "") for each in parts])
    return found


def takes(overload: list[str], wanted: list[str]) -> bool:
    required = [each for each in overload if not each.endswith("=")]
    names = [each.rstrip("=") for each in overload]
    return len(required) <= len(wanted) and names[: len(wanted)] == wanted


def check_tensorrt(report: Report) -> str:
    real: Any = importlib.import_module("tensorrt_bindings")
    sys.modules["tensorrt"] = real
    protocols = {name.removesuffix("Api"): each for name, each in vars(trt_api).items() if name.endswith("Api")}
    for name in members(trt_api.Library):
        report.check(name, hasattr(real, name), "the module lacks it")
    for kind, protocol in protocols.items():
        owner = getattr(real, kind, None)
        report.check(kind, owner is not None, "the module lacks it")
        for name, method in members(protocol).items() if owner is not None else ():
            path = f"{kind}.{name}"
            report.check(path, hasattr(owner, name), "missing")
            if method is not None and hasattr(owner, name):
                wanted = list(inspect.signature(method).parameters)[1:]
                known = overloads(getattr(owner, name).__doc__ or "", name)
                report.check(f"{path}()", any(takes(each, wanted) for each in known), f"takes {known}, not {wanted}")
    major = int(real.__version__.split(".")[0])
    for path in (*trt_api.SINCE_11, *trt_api.UNTIL_10):
        kind, name = path.split(".")
        here = (major >= 11) == (path in trt_api.SINCE_11)
        report.check(path, hasattr(getattr(real, kind), name) == here, f"unexpected in version {major}")
    check_subclasses(report, real)
    return str(real.__version__)


def check_subclasses(report: Report, real: Any) -> None:
    """Our logger and profiler are made and called by the real base classes; a builder cannot be, and says so."""
    from postfilter.runtime.trt import _profiler
    from postfilter.runtime.trt_library import complaints, import_library, shared_logger

    library = import_library("the contract test")
    logger = shared_logger(library)
    logger.log(real.ILogger.Severity.ERROR, "one")
    logger.log(real.ILogger.Severity.WARNING, "not kept")
    report.check("ILogger.log", complaints(library) == "one", "errors are not kept")
    report.check("ILogger", shared_logger(library) is logger, "not one for the process")
    profiler = _profiler(library)
    profiler.report_layer_time("layer", 2.0)
    report.check("IProfiler.report_layer_time", profiler.times_ms == {"layer": 2.0}, "the time is not kept")
    try:
        library.Builder(logger)
        raised = None
    except Exception as error:
        raised = type(error)
    report.check("Builder(logger)", raised is TypeError, f"raises {raised} where it can make none")


def check_cuda(report: Report) -> str:
    from importlib.metadata import version

    real: Any = import_cuda("the contract test")
    for name, method in members(CudaRuntime).items():
        report.check(name, hasattr(real, name), "missing")
        if method is not None and hasattr(real, name):
            wanted = len(inspect.signature(method).parameters) - 1
            known = list(inspect.signature(getattr(real, name)).parameters)
            report.check(f"{name}()", len(known) == wanted, f"takes {known}, not {wanted} arguments")
    source = inspect.getsource(cuda_api)
    enumerations = set(re.findall(r"runtime\.(cuda\w+)\.(cuda\w+)", source))
    report.check("enumerations", len(enumerations) == 3, f"found {sorted(enumerations)} in the code")
    for kind, name in sorted(enumerations):
        report.check(f"{kind}.{name}", hasattr(getattr(real, kind), name), "missing")
    report.check("cudaStreamNonBlocking int", int(real.cudaStreamNonBlocking) == 1, "another value")
    try:
        Cuda(real, 0).device_memory(1 << 20)
        told = ""
    except DeviceError as error:
        told = str(error)
    # Without a driver the real package answers so; with one, there is nothing to see here.
    report.check("the status of a call", "CUDA error" in told or not told, told)
    return version("cuda-bindings")


if __name__ == "__main__":
    outcome = Report()
    which = {"tensorrt": check_tensorrt, "cuda": check_cuda}[sys.argv[1]](outcome)
    sys.stdout.write(json.dumps({"version": which, "checked": outcome.checked, "problems": outcome.problems}))
