"""ONNX Runtime reports to its maker unless it is told not to before its first import."""

import os
import subprocess
import sys

import pytest

PROBE = """
import os
from postfilter.runtime.ort import import_onnxruntime
import_onnxruntime("a test")
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize(("set_by_user", "expected"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_unless_the_user_wants_it(set_by_user, expected):
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    if set_by_user is not None:
        environment["ORT_DISABLE_TELEMETRY"] = set_by_user
    done = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
