"""Under real load: busy processes on the one CPU that the run may use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("loaded_run.py")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs to bind a process to one CPU")
def test_load_takes_it_down_the_ladder_and_its_end_takes_it_up() -> None:
    cpu = max(os.sched_getaffinity(0))
    command = [sys.executable, str(RUN), str(cpu)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = json.loads(done.stdout)
    result, real = told["result"], told["result"]["realtime"]
    names = [each["name"] for each in real["rungs"]]
    depth = [(at, names.index(rung)) for at, rung in told["seen"]]
    begins, ends, seconds = told["load_begins"], told["load_ends"], told["seconds"]
    under_load = [rung for at, rung in depth if begins + 1 < at < ends]
    assert max(under_load) >= 1 and real["steps_down"] >= 1, "it stepped down"
    assert min(rung for at, rung in depth if at > ends) < max(under_load) and real["steps_up"] >= 1, "it stepped up"
    assert result["frames_in"] == told["rate"] * seconds, "it never stopped"
    assert result["frames_in"] == result["frames_out"] + real["frames_dropped"]
    assert real["miss_rate"] < 0.4, "the load alone would make two thirds of the run late"
    assert real["latency_ms"]["p50"] < real["deadline_ms"]
    assert result["seconds"] < seconds + 3, "nothing was queued without bound"
