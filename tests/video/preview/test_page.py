"""The preview's page in a browser, while a job runs and when it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from postfilter.video.preview import Preview

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

# The grey in the middle of either canvas, read at the same moment.
GREYS = """
const grey = (id) => {
  const canvas = document.getElementById(id);
  const point = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  point.drawImage(canvas, -canvas.width / 2, -canvas.height / 2);
  return point.getImageData(0, 0, 1, 1).data[0];
};
return [grey("decoded"), grey("filtered"), Number(document.body.dataset.pair ?? 0)];
"""


def until(reached: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_pictures_arrive_in_pairs_and_the_state_follows(browser: Chrome, playing: Any) -> None:
    with Preview(title="<i>in.mp4", subtitle="smooth") as served, playing(served, tiles=4, tiles_reused=1):
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(served.url)
        seen = set()
        until(lambda: browser.execute_script(GREYS)[2] > 0)
        while len(seen) < 4:
            decoded, filtered, number = browser.execute_script(GREYS)
            assert abs(filtered - decoded - 100) <= 3
            seen.add(number)
            time.sleep(0.05)
        assert browser.find_element("id", "title").text == "<i>in.mp4"
        assert browser.find_element("id", "status").text == "running"
        frames = int(browser.execute_script("return document.querySelector('[data-name=frames] dd').firstChild.data"))
        until(lambda: f"{frames}" not in browser.find_element("css selector", "[data-name=frames] dd").text)
        assert "25.0" in browser.find_element("css selector", "[data-name='tiles reused'] dd").text
        here = urlsplit(served.url).netloc
    until(lambda: browser.find_element("id", "status").text == "finished")
    time.sleep(0.3)
    assert browser.find_element("id", "status").text == "finished"
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {urlsplit(url).netloc for url in asked if url.startswith(("http", "ws"))} == {here}


def test_the_divider_moves_and_a_frame_can_be_held(browser: Chrome, playing: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    with Preview(title="in.mp4") as served, playing(served):
        browser.get(served.url)
        until(lambda: browser.execute_script(GREYS)[2] > 0)
        view = browser.find_element("id", "view")
        after = browser.find_element("id", "filtered")
        handle = view.find_element("css selector", "input")
        browser.execute_script("arguments[0].focus()", handle)
        handle.send_keys(Keys.ARROW_LEFT)
        assert "48%" in after.value_of_css_property("clip-path")
        ActionChains(browser).move_to_element_with_offset(view, view.size["width"] // 4, 0).click().perform()
        assert float(handle.get_attribute("value")) == pytest.approx(75, abs=0.5)
        browser.find_element("id", "hold").click()
        time.sleep(0.3)
        held = browser.execute_script(GREYS)
        time.sleep(0.4)
        assert browser.execute_script(GREYS) == held
        browser.find_element("id", "hold").click()
        until(lambda: browser.execute_script(GREYS)[2] > held[2])


def test_a_lost_connection_is_told(browser: Chrome) -> None:
    with Preview(title="in.mp4") as served:
        browser.get(served.url)
        until(lambda: browser.find_element("id", "status").text == "running")
        served._server._http.state_after = None  # type: ignore[assignment]  # as if the process were gone
        served.state()
        until(lambda: "no connection" in browser.find_element("id", "status").text)
        browser.get("about:blank")
    browser.get_log("browser")
