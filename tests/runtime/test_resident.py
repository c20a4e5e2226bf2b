from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from postfilter.runtime import PeakMemory

PROGRAM = """
import numpy as np, openvino, json
from postfilter.runtime.resident import release_memory
def code():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile:")) / 1024
core = openvino.Core()
def filtered():
    x = openvino.opset13.parameter([1, 3, 32, 32], np.float32)
    model = openvino.Model([openvino.opset13.relu(openvino.opset13.add(x, np.float32(-1)))], [x])
    return core.compile_model(model, "CPU")(np.full((1, 3, 32, 32), 3, np.float32))[0]
first = filtered()
before = code()
released = release_memory("openvino")
after = code()
print(json.dumps([before, after, released, bool((filtered() == first).all()), float(first.max())]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone tells and takes pages")
def test_code_that_compiled_is_given_back_and_runs_again() -> None:
    import json

    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after, released, same, value = json.loads(done.stdout)
    assert released > 2**20
    assert after < before - 10
    assert same and value == 2


def test_the_peak_so_far_is_told_before_the_end() -> None:
    with PeakMemory() as memory:
        block = np.ones(64 * 2**20, np.uint8)
        so_far = memory.so_far_mb()
        del block
    assert so_far == pytest.approx(64, abs=8)
    assert memory.peak_mb == pytest.approx(so_far, abs=2)  # the kernel counts in batches
