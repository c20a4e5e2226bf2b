"""The page: complete, by itself, within its budget, and working in a browser."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from postfilter.errors import MissingDependencyError, OutputError
from postfilter.runtime import Engine
from postfilter.video import filter_video
from postfilter.video.report import ReportObserver, check_report, write_report
from postfilter.video.report.chosen import Kept
from postfilter.video.report.facts import number, timestamp
from postfilter.video.report.pictures import embed

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, write: Any, engine: Callable[..., Engine]) -> Path:
    """The report of a real run with a name that HTML must escape."""
    folder = tmp_path_factory.mktemp("report")
    source = write(folder / "<b>in & out.mp4", options={"qp": "40"}, size=(320, 192))
    clean = write(folder / "clean.mkv", codec="ffv1", size=(320, 192))
    observer = ReportObserver()
    result = filter_video(source, None, engine(), reference=clean, observers=[observer])
    path = folder / "report.html"
    command = ["filter-video", str(source), "-", "--sink", "null"]
    write_report(path, observer, result, manifest=engine().manifest, command=command)
    return path


def test_it_holds_what_was_found(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    for wanted in ("ΔPSNR", "filter time", "latency", "kMAC", "Processor", "Peak memory", "frame 0", "00:00:00.000"):
        assert wanted in page
    assert "&lt;b&gt;in &amp; out.mp4" in page and "<b>in" not in page
    assert "&#39;" in page.split("The command")[1]  # the command is quoted as a shell needs it


def test_it_needs_nothing_from_elsewhere(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert "url(http" not in page and "@import" not in page
    assert list(report.parent.glob(".*")) == []


def test_nothing_is_replaced_unasked(report: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--overwrite"):
        check_report(report, source=tmp_path / "in.mp4", overwrite=False)
    check_report(report, source=tmp_path / "in.mp4", overwrite=True)


def test_a_missing_package_is_told_before_work_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"postfilter\[report\]"):
        check_report(tmp_path / "out.html", source=tmp_path / "in.mp4", overwrite=False)


@pytest.mark.parametrize("budget", [40_000, 400_000])
def test_pictures_stay_within_the_budget(budget: int, clip: Callable[..., Any]) -> None:
    frames = [Kept(record=record, decoded=a, filtered=b) for record, a, b in clip([20.0, 30.0])]
    pairs = embed(frames, budget_bytes=budget)
    uris = [uri for pair in pairs for uri in (pair.decoded, pair.filtered, pair.crop.decoded, pair.crop.filtered)]
    assert sum(map(len, uris)) <= budget
    assert pairs[0].how.startswith("without loss") == (budget > 100_000)


def test_the_crop_is_where_most_changed_sample_for_sample(clip: Callable[..., Any]) -> None:
    ((record, decoded, filtered),) = clip([40.0])
    (pair,) = embed([Kept(record=record, decoded=decoded, filtered=filtered)])
    crop = pair.crop
    assert crop.left <= 140 and crop.left + crop.width >= 180 and crop.top <= 80 and crop.top + crop.height >= 120
    change = picture_of(crop.change)
    inside = change[80 - crop.top : 120 - crop.top, 140 - crop.left : 180 - crop.left]
    assert inside.min() > 128 and np.count_nonzero(change != 128) == inside.size


def picture_of(uri: str) -> NDArray[Any]:
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.12345, "0.123"),
        (12.345, "12.35"),
        (-1.5, "\u22121.50"),
        (12345, "12\u202f345"),
        (1234.5, "1\u202f234"),
    ],
)
def test_numbers_show_the_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_times_are_told_to_the_millisecond() -> None:
    assert (
        timestamp(3723.0049) == "01:02:03.005"
        and timestamp(-0.04) == "\u221200:00:00.040"
        and timestamp(59.9996) == "00:01:00.000"
    )


@pytest.mark.browser
def test_the_slider_follows_keyboard_and_pointer(report: Path, browser: Chrome) -> None:
    from selenium.webdriver import ActionChains, Keys
    from selenium.webdriver.common.by import By

    browser.get_log("performance")
    browser.get(report.as_uri())
    view = browser.find_element(By.CSS_SELECTOR, ".compare")
    after = view.find_element(By.CSS_SELECTOR, ".compare-after")
    handle = view.find_element(By.TAG_NAME, "input")

    def clipped() -> str:
        return str(after.value_of_css_property("clip-path"))

    assert "50%" in clipped()
    browser.execute_script("arguments[0].focus()", handle)
    handle.send_keys(Keys.ARROW_RIGHT)
    assert "52%" in clipped() and handle.get_attribute("aria-valuetext").startswith("52 %")
    handle.send_keys(Keys.HOME)
    assert " 0%" in clipped()
    handle.send_keys(Keys.END)
    assert "100%" in clipped()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", view)
    width = view.size["width"]
    ActionChains(browser).move_to_element(view).click_and_hold().move_by_offset(-width // 4, 0).release().perform()
    assert float(handle.get_attribute("value")) == pytest.approx(25, abs=0.5)
    ActionChains(browser).move_by_offset(40, 0).perform()  # let go: it no longer follows
    assert float(handle.get_attribute("value")) == pytest.approx(25, abs=0.5)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", view)
    touch(browser, box["x"] + 0.4 * box["width"], box["x"] + 0.8 * box["width"], y=box["y"] + 100)
    assert float(handle.get_attribute("value")) == pytest.approx(80, abs=0.5)
    loaded = browser.execute_script("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert loaded
    assert browser.get_log("browser") == []
    assert not [url for url in requested(browser) if url.startswith(("http", "ws"))]


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_narrow_and_wide_windows(width: int, report: Path, browser: Chrome) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        browser.get(report.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.browser
def test_dark_and_light_have_enough_contrast(report: Path, browser: Chrome) -> None:
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(report.as_uri())
        paper, ink, soft = browser.execute_script(
            "const s = getComputedStyle(document.body), t = getComputedStyle(document.querySelector('.soft'));"
            "return [s.backgroundColor, s.color, t.color]"
        )
        # WCAG 2.2, 1.4.3: 4.5 for text; 7 is its stricter level.
        assert contrast(paper, ink) > 7 and contrast(paper, soft) > 4.5
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def touch(browser: Chrome, start: float, end: float, *, y: float) -> None:
    """Draw a finger over the page, from left to right."""
    for kind, points in (
        ("touchStart", [{"x": start, "y": y}]),
        ("touchMove", [{"x": end, "y": y}]),
        ("touchEnd", []),
    ):
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def requested(browser: Chrome) -> list[str]:
    """The addresses of all requests since the log was read last."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def contrast(first: str, second: str) -> float:
    """The contrast ratio of WCAG 2.2 of two `rgb(…)` colours."""
    lights = []
    for colour in (first, second):
        codes = np.array([int(code) for code in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ (0.2126, 0.7152, 0.0722)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)
