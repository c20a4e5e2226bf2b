"""What the preview serves, to whom, and what it costs."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from postfilter.errors import InputError
from postfilter.video.preview import Preview

Ask = Callable[..., Any]


def test_it_listens_at_a_loopback_address_alone(preview: Preview) -> None:
    assert urlsplit(preview.url).hostname == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError):
        other.settimeout(2)
        other.connect(("127.0.0.2", urlsplit(preview.url).port))


@pytest.mark.parametrize("path", ["/", "/page.css", "/slider.js", "/preview.js"])
def test_its_own_files_are_served_with_a_strict_policy(path: str, preview: Preview, ask: Ask) -> None:
    answer, body = ask(preview, path)
    assert answer.status == 200 and len(body) > 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/preview.html",
        "/server.py",
        "/page.css/..",
        "//etc/passwd",
        "/favicon.ico",
        "/pair/1",
    ],
)
def test_nothing_else_is_there(path: str, preview: Preview, ask: Ask) -> None:
    answer, body = ask(preview, path)
    assert answer.status == 404 and body == b"There is nothing here."


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "192.168.1.7", "127.0.0.1.evil.example", "", "[", "10.0.0.1"]
)
def test_other_names_are_refused(host: str, preview: Preview, ask: Ask) -> None:
    assert ask(preview, "/", host=host)[0].status == 421
    assert ask(preview, "/pair?after=0", host=host)[0].status == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_its_own_names_are_answered_through_a_forwarded_port_too(host: str, preview: Preview, ask: Ask) -> None:
    assert ask(preview, "/", host=host)[0].status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_may_link_to_it_alone(site: str, preview: Preview, ask: Ask) -> None:
    headers = {"Sec-Fetch-Site": site}
    assert ask(preview, "/", headers=headers)[0].status == 200
    for path in ("/state", "/pair?after=0", "/preview.js"):
        assert ask(preview, path, headers=headers)[0].status == 403


def test_at_another_host_addresses_are_answered_and_names_are_not(ask: Ask) -> None:
    with Preview(title="x", host="0.0.0.0") as served:
        port = urlsplit(served.url).port
        assert ask(served, "/", host=f"192.168.1.7:{port}")[0].status == 200
        assert ask(served, "/", host="evil.example")[0].status == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reading_is_possible(method: str, preview: Preview, ask: Ask) -> None:
    assert ask(preview, "/", method=method)[0].status == 501


def test_a_pair_is_one_frame_before_and_after(ask: Ask, playing: Any) -> None:
    with Preview(title="x") as served, playing(served, size=(66, 37)):
        answer, body = ask(served, "/pair?after=0")
    facts = json.loads(answer.headers["X-Pair"])
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    before, after = picture[: facts["height"]], picture[facts["offset"] :]
    assert before.shape == after.shape == (37, 66, 3)
    assert np.abs(before.astype(int) - facts["index"]).max() <= 2
    assert np.abs(after.astype(int) - facts["index"] - 100).max() <= 2
    assert facts["pts_seconds"] == facts["index"] / 25


def test_pairs_follow_one_another_at_a_bounded_rate(ask: Ask, playing: Any) -> None:
    with Preview(title="x") as served, playing(served):
        started, number = time.monotonic(), 0
        for _ in range(5):
            answer, _ = ask(served, f"/pair?after={number}")
            number = json.loads(answer.headers["X-Pair"])["number"]
        assert number == 5 and time.monotonic() - started >= 4 / 8 - 0.02


def test_nothing_is_made_while_nobody_looks(preview: Preview, show: Any) -> None:
    for index in range(50):
        show(preview, index)
    assert preview._pairs.latest is None


def test_a_frame_nobody_looks_at_costs_next_to_nothing(preview: Preview, show: Any) -> None:
    from postfilter.video import FrameRecord

    record = FrameRecord(index=0, pts_seconds=0.0, filter_ms=1.0, change=1.0, tiles=77, tiles_reused=7)
    frame: Any = None  # is not touched
    started = time.thread_time()
    for _ in range(1000):
        preview.see(record, frame, frame)
    assert (time.thread_time() - started) / 1000 < 50e-6


@pytest.mark.parametrize("after", ["x", "-1", "1e9", "%00", "9" * 5000])
def test_nonsense_is_refused(after: str, preview: Preview, ask: Ask) -> None:
    assert ask(preview, f"/pair?after={after}")[0].status == 400


def test_the_state_is_told_as_it_changes_until_the_end(ask: Ask, show: Any) -> None:
    heard: list[dict[str, Any]] = []

    def listen(served: Preview) -> None:
        _, body = ask(served, "/state")
        heard.extend(json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: "))

    with Preview(title="in.mp4") as served:
        listener = threading.Thread(target=listen, args=(served,))
        listener.start()
        time.sleep(0.3)
        show(served, 1, tiles=10, tiles_reused=4, guard="flat", psnr_decoded=30.0, psnr_filtered=30.5)
        served.state(done=1, total=2, fps=25.0, stages_ms={"filter": 8.0}, queues={"filter": (1, 4)})
        time.sleep(0.3)
    listener.join()
    assert heard[0]["title"] == "in.mp4" and "done" not in heard[0]
    last = heard[-1]
    assert last["ended"] == "finished" and last["done"] == 1 and last["queues"] == {"filter": [1, 4]}
    assert (last["reused_percent"], last["guard"], last["delta_psnr_db"]) == (40.0, 1, 0.5)


def test_a_failed_job_is_told_and_the_port_is_free_afterwards() -> None:
    with pytest.raises(RuntimeError), Preview(title="x") as served:
        port = urlsplit(served.url).port or 0
        raise RuntimeError
    assert served._state_after(-1, 0)[1]["ended"] == "stopped"
    with Preview(title="y", port=port):
        pass


def test_a_viewer_that_waits_does_not_hold_up_the_end(ask: Ask) -> None:
    with Preview(title="x") as served:
        waiting = threading.Thread(target=ask, args=(served, "/pair?after=0"))
        waiting.start()
        time.sleep(0.2)
        started = time.monotonic()
    waiting.join(5)
    assert not waiting.is_alive() and time.monotonic() - started < 3


def test_a_busy_port_and_a_foreign_host_are_told(preview: Preview) -> None:
    port = urlsplit(preview.url).port or 0
    before = threading.active_count()
    with pytest.raises(InputError, match=f"port {port}.*another port"):
        Preview(title="x", port=port)
    with pytest.raises(InputError, match=r"192\.0\.2\.1"):
        Preview(title="x", host="192.0.2.1")
    assert threading.active_count() == before


def test_connections_are_bounded(ask: Ask) -> None:
    with Preview(title="x") as served:
        where = urlsplit(served.url)
        idle = [socket.create_connection((where.hostname or "", where.port or 0)) for _ in range(32)]
        with pytest.raises(OSError):  # closed unanswered
            ask(served, "/")
        for each in idle:
            each.close()
        deadline = time.monotonic() + 5
        while True:
            try:
                assert ask(served, "/")[0].status == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
