"""The page in a real browser: Chromium, driven by Playwright, with a microphone of its own that plays a file.

It is skipped where there is no Chromium; Debian's package is called chromium.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import launched
from fastapi.testclient import TestClient
from servers import listening
from sound import write
from speaking import LoudNet, speech_like

from gemoclap import Predictor
from gemoclap.inference.emotion_timeline import emotion_timeline
from gemoclap.reports.timeline_files import write_timeline

SECONDS = 20_000
"""Milliseconds after which a test gives up; where all is well nothing takes so long."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    spoken = write(tmp_path_factory.mktemp("microphone") / "spoken.wav", speech_like(30, 5, 48000), 48000)
    with launched(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={spoken}",
    ) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(predictor: Predictor) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, listening(predictor, idle_seconds=60) as address:
        patch.setattr("gemoclap.inference.stream.load_speech_net", LoudNet)
        yield address


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sides = np.stack([speech_like(20, seed) for seed in (1, 2)], axis=1)
    return write(tmp_path_factory.mktemp("call") / "call.wav", sides)


MOVED = r"#time:text-matches('0:0[1-9]|0:00\.[3-9]')"
"""The clock of the page, once it shows more than 0.3 s. (Playwright can only wait for selectors: the policy forbids eval.)"""
Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Open]:
    """Return what opens the page; at the end nothing may have gone wrong in it, but for refused requests."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def noted(message: Any) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def start(where: str = address, **options: Any) -> Any:
        context = browser.new_context(reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("console", noted)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(where)
        return page

    yield start
    for context in contexts:
        context.close()
    assert not complaints


def send(page: Any, path: Path) -> None:
    page.set_input_files("#file", path)
    page.wait_for_selector("#results:not([hidden])")
    page.wait_for_selector("#busy", state="hidden")


def downloaded(page: Any, button: str) -> tuple[str, str]:
    with page.expect_download() as found:
        page.click(button)
    return found.value.suggested_filename, Path(found.value.path()).read_text(encoding="utf-8")


def test_a_call_has_a_lane_a_channel_and_downloads(
    opened: Open, predictor: Predictor, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemoclap.inference.stream.load_speech_net", LoudNet)
    page = opened()
    page.click("#options summary")
    page.select_option("#channel", "each")
    send(page, call)
    found = emotion_timeline(predictor, call, by="channel")
    segments = [segment for lane in found.lanes for segment in lane.segments]
    buttons = page.locator(".band button")
    assert page.locator(".lane h3").all_inner_texts() == ["channel 1", "channel 2"]
    assert buttons.all_text_contents() == [segment.emotion for segment in segments]
    assert page.locator("#table tbody tr").count() == len(segments)
    assert page.locator("#legend li").all_inner_texts() == [*predictor.labels]
    assert "s of speech in 2 channels of 20.0 s" in page.inner_text("#summary")
    name, text = downloaded(page, "#csv")
    write_timeline(tmp_path / "call.csv", found, {})
    rows, wanted = (list(csv.DictReader(io.StringIO(one))) for one in (text, (tmp_path / "call.csv").read_text()))
    assert name == "call.csv" and [row["emotion"] for row in rows] == [row["emotion"] for row in wanted]
    name, text = downloaded(page, "#vtt")
    assert name == "call.vtt" and text.startswith("WEBVTT") and text.count("-->") == len(segments)


def test_the_mouse_and_the_keyboard_find_probabilities(opened: Open, predictor: Predictor, call: Path) -> None:
    page = opened()
    page.click("#options summary")
    page.select_option("#channel", "each")
    send(page, call)
    first = page.locator(".band button").first
    first.hover()
    tip = page.locator("#tip")
    assert tip.is_visible() and all(label in tip.inner_text() for label in predictor.labels)
    page.mouse.move(5, 5)
    assert tip.is_hidden()
    page.focus("#wave")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#time") == "0:03.0"
    assert page.get_attribute("#wave", "aria-valuetext") == "0:03.0 of 0:20.0"
    page.keyboard.press("End")
    assert page.inner_text("#time") == "0:20.0"
    page.keyboard.press("Tab")  # into the lane
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused == page.locator(".band button").nth(1).get_attribute("aria-label")
    assert re.fullmatch(r"\w+, \d+\s%, from \d:\d\d\.\d to \d:\d\d\.\d", focused) and tip.is_visible()
    page.keyboard.press("Enter")
    assert page.inner_text("#time") == re.findall(r"\d:\d\d\.\d", focused)[0]


def test_all_of_it_can_be_done_with_the_keyboard(opened: Open, call: Path) -> None:
    page = opened()
    page.on("filechooser", lambda chooser: chooser.set_files(call))
    page.wait_for_selector("#formats:has-text('MB')")

    def tabbed(times: int) -> list[str]:
        found = []
        for _ in range(times):
            page.keyboard.press("Tab")
            found.append(page.evaluate("document.activeElement.id || document.activeElement.tagName.toLowerCase()"))
        return found

    assert tabbed(3) == ["choose", "record", "summary"]
    page.keyboard.press("Enter")
    assert tabbed(2) == ["labels", "any-words"]
    page.keyboard.press("Space")
    assert page.is_checked("#any-words") and tabbed(1) == ["channel"]
    page.keyboard.press("e")  # Each channel in a lane of its own
    assert page.input_value("#channel") == "each"
    page.focus("#record")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#results:focus")
    assert tabbed(4) == ["play", "zoom", "wave", "button"]  # one stop for each lane
    assert tabbed(4) == ["button", "csv", "vtt", "summary"]
    assert page.locator(":focus-visible").count() == 1


def test_playing_moves_the_cursor(opened: Open, call: Path) -> None:
    page = opened()
    send(page, call)
    before = page.locator("#cursor").bounding_box()["x"]
    page.click("#play")
    page.wait_for_selector(MOVED)
    assert page.inner_text("#play") == "Pause" and page.locator("#cursor").bounding_box()["x"] > before
    page.click("#play")
    page.wait_for_selector("#play:has-text('Play')")


def test_labels_can_be_typed(opened: Open, call: Path) -> None:
    page = opened()
    send(page, call)
    page.click("#options summary")
    page.fill("#labels", "bored, excited ,")
    page.keyboard.press("Enter")
    page.wait_for_selector("#legend:has-text('bored')")
    assert page.locator("#legend li").all_inner_texts() == ["bored", "excited"]
    said = page.inner_text("#remarks li:first-child")
    assert said.startswith("The model was not trained on bored, excited; other words ") and said.endswith(".")
    page.fill("#labels", "furious, joyful")
    page.keyboard.press("Enter")
    page.wait_for_selector("#legend:has-text('furious')")
    assert "trained" not in page.inner_text("#results")
    page.fill("#labels", "banana, car")
    page.click("#again")
    page.wait_for_selector("#error:not([hidden])")
    assert "'banana'" in page.inner_text("#error")
    page.check("#any-words")
    page.click("#again")
    page.wait_for_selector("#legend:has-text('banana')")
    assert page.locator("#error").is_hidden()


def test_a_recording_is_shown_while_and_after_it_is_made(opened: Open) -> None:
    page = opened(permissions=["microphone"])
    page.click("#options summary")
    page.click("#record")
    page.wait_for_selector("#heard:has-text('%')")
    assert page.inner_text("#record-text") == "Stop"
    heard = page.inner_text("#heard")
    page.click("#record")
    page.wait_for_selector("#results:not([hidden])")
    assert page.inner_text("#results-title") == "Emotion over time in recording.wav"
    assert re.search(r"[\d.]+ s of speech in [\d.]+ s: ", page.inner_text("#summary"))
    assert heard.split(",")[0] in page.locator("#legend li").all_inner_texts()
    assert page.inner_text("#record-text") == "Record" and page.locator("#live").is_hidden()
    page.click("#play")
    page.wait_for_selector(MOVED)


def test_labels_that_were_not_trained_are_pointed_out_during_a_recording(opened: Open) -> None:
    page = opened(permissions=["microphone"])
    page.click("#options summary")
    for labels, said in (("bored, happy", "The model was not trained on bored; "), ("furious, happy", "")):
        page.fill("#labels", labels)
        page.click("#record")
        page.wait_for_selector("#heard:has-text('%')")
        assert page.text_content("#live-remarks").startswith(said) and page.is_visible("#live-remarks") == bool(said)
        page.click("#record")
        page.wait_for_selector("#busy", state="hidden")


def test_a_recording_stops_before_it_is_too_large_to_be_sent(opened: Open, predictor: Predictor) -> None:
    with listening(predictor, body_bytes=200_000) as address:
        page = opened(address, permissions=["microphone"])
        page.wait_for_selector("#formats:has-text('0.2 MB')")
        page.click("#record")
        page.wait_for_selector("#results:not([hidden])")
        assert page.inner_text("#results-title") == "Emotion over time in recording.wav"


def test_without_a_microphone_that_is_said(opened: Open) -> None:
    page = opened()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError')); }"
    )
    page.click("#record")
    page.wait_for_selector("#error:not([hidden])")
    assert "No microphone was found" in page.inner_text("#error")
    assert page.inner_text("#record-text") == "Record" and page.is_enabled("#choose")


def test_what_goes_wrong_is_said(opened: Open, call: Path) -> None:
    page = opened()
    page.set_input_files("#file", {"name": "<b>text.wav", "mimeType": "audio/wav", "buffer": b"no sound\n" * 99})
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error").startswith("<b>text.wav: is not audio")
    page.route("**/v1/timeline", lambda route: route.abort())
    page.set_input_files("#file", call)
    page.wait_for_selector("#error:has-text('does not answer')")
    page.unroute("**/v1/timeline")
    page.click("#error button")
    page.wait_for_selector("#results:not([hidden])")
    assert page.locator("#error").is_hidden()


NOTES = {"name": "notes.wav", "mimeType": "audio/wav", "buffer": b"no sound\n" * 99}


def refuse(page: Any, file: Any, said: str) -> None:
    page.set_input_files("#file", file)
    page.wait_for_selector(f"#error:not([hidden]):has-text('{said}')")
    page.wait_for_selector("#busy", state="hidden")


def test_a_refused_recording_is_not_sent_again(opened: Open, predictor: Predictor, call: Path) -> None:
    """The button goes back to the recording that is shown, and can do nothing before there is one."""
    cut = {"name": "cut.wav", "mimeType": "audio/wav", "buffer": call.read_bytes()[:300_000]}
    large = {"name": "large.wav", "mimeType": "audio/wav", "buffer": bytes(2_000_000)}
    with listening(predictor, body_bytes=1_500_000, idle_seconds=60) as address:
        page = opened(address)
        page.click("#options summary")
        for file, said in ((NOTES, "is not audio"), (cut, "is cut off"), (large, "has 2.0 MB")):
            refuse(page, file, said)
            assert page.is_disabled("#again")
        send(page, call)
        for file, said in ((NOTES, "is not audio"), (cut, "is cut off"), (large, "has 2.0 MB")):
            refuse(page, file, said)
            page.click("#again")
            page.wait_for_selector("#error", state="hidden")
            page.wait_for_selector("#busy", state="hidden")
            assert page.is_hidden("#error") and "call.wav" in page.inner_text("#results-title")


def test_a_recording_that_is_too_large_ends_the_request_for_the_one_before(
    opened: Open, predictor: Predictor, call: Path
) -> None:
    large = {"name": "large.wav", "mimeType": "audio/wav", "buffer": bytes(2_000_000)}
    with listening(predictor, body_bytes=1_500_000, idle_seconds=60) as address:
        page = opened(address)
        waiting: list[Any] = []
        page.route("**/v1/timeline", lambda route: waiting.append(route))
        page.set_input_files("#file", call)
        page.wait_for_selector("#busy:not([hidden])")
        refuse(page, large, "has 2.0 MB")
        for route in waiting:
            route.continue_()
        page.wait_for_timeout(2000)
        assert page.is_hidden("#results") and "has 2.0 MB" in page.inner_text("#error")


def test_a_recording_whose_options_were_refused_is_sent_again(opened: Open, call: Path) -> None:
    page = opened()
    page.click("#options summary")
    page.fill("#labels", "banana, happy")
    refuse(page, call, "like no English word")
    page.fill("#labels", "sad, happy")
    page.click("#again")
    page.wait_for_selector("#results:not([hidden])")
    assert "call.wav" in page.inner_text("#results-title") and page.is_hidden("#error")


def test_a_key_is_asked_for(opened: Open, predictor: Predictor, call: Path) -> None:
    with listening(predictor, key="correct-horse") as address:
        page = opened(address)
        page.wait_for_selector("#key-box:not([hidden])")
        page.fill("#key", "wrong-horse")
        page.keyboard.press("Enter")
        page.wait_for_selector("#model:has-text('not the key')")
        page.fill("#key", "correct-horse")
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-box", state="hidden")
        send(page, call)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read(scheme: str, opened: Open, call: Path) -> None:
    page = opened(viewport={"width": 360, "height": 640}, color_scheme=scheme, is_mobile=True, has_touch=True)
    page.click("#options summary")
    page.select_option("#channel", "each")
    send(page, call)
    page.click("#results details summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("table.scrollWidth <= table.parentElement.clientWidth")  # all five columns are seen
    page.evaluate("zoom.value = 1; zoom.dispatchEvent(new Event('input'))")
    assert page.evaluate("wide.clientWidth") == 2000 and page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_input_files("#file", {"name": "notes.wav", "mimeType": "audio/wav", "buffer": b"no sound\n" * 99})
    page.wait_for_selector("#error:not([hidden])")
    place = page.locator("#error").bounding_box()
    assert place["y"] >= -1 and place["y"] + place["height"] <= 641  # it is in sight
    texts = (
        "#summary",
        ".quiet",
        "#choose",
        "#record",
        "summary",
        ".clock",
        "#error p",
        ".legend li",
        "#axis span",
        ".lane h3",
    )
    for name in (*texts, ".band button", "th", "td", "td button", "footer a", "label", "li"):
        assert page.evaluate(CONTRAST, name) >= 4.5, name
    unnamed = "button, input:not([hidden]), select, meter, progress, [role=slider]"
    for element in page.locator(unnamed).all():
        assert element.evaluate(NAME), element.evaluate("element => element.outerHTML")


CONTRAST = """name => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const element = document.querySelector(name);
  let behind = element;
  while (parts(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const both = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
  const [one, other] = both.map(light).sort((a, b) => b - a);
  return (one + 0.05) / (other + 0.05);
}"""
"""The contrast of a text with what is behind it, as WCAG defines it."""
NAME = (
    "e => e.innerText?.trim() || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length"
)


def test_its_files_say_where_they_may_come_from(client: TestClient) -> None:
    first, second = client.get("/"), client.get("/")
    policy = first.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert policy != second.headers["Content-Security-Policy"]  # a nonce is for once
    (nonce,) = re.findall(r"nonce-([\w-]+)", policy)
    assert nonce in first.text and "{{" not in first.text
    assert not re.search(r"<script>|<style|\son\w+=|style=", first.text)
    for name in re.findall(r'(?:src|href)="([^"#]+)"', first.text):
        found = client.get(f"/{name}")
        assert found.status_code == 200 and "://" not in name
    assert client.get("/page.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/../pages.py").status_code == client.get("/%2e%2e/pages.py").status_code == 404
