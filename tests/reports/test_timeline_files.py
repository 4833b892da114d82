"""A timeline as JSON, CSV, WebVTT, labels and a picture."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import rgb_to_hsv, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from sound import noise

import gemoclap
from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import Statistics
from gemoclap.inference.emotion_timeline import EmotionTimeline, Lane
from gemoclap.inference.envelope import Envelope
from gemoclap.inference.smoothing import EmotionSegment, segments
from gemoclap.inference.stream import EmotionWindow
from gemoclap.inference.turns import read_turns
from gemoclap.reports.timeline import USUAL, beside_name, colours_of
from gemoclap.reports.timeline_files import (
    by_time,
    joined_over_pauses,
    remarks_of,
    timeline_data,
    write_timeline,
)
from gemoclap.wording import clock

LABELS = ("happy", "sad")
ODD = "A & <b>\n-->"


def lane(name: str, offset: float, remark: str | None = None) -> Lane:
    """Return two stretches of speech with three windows, and the emotion changing once."""
    places = [(offset, offset + 4), (offset + 1, offset + 5), (offset + 10, offset + 11.5)]
    shares = np.array([[0.8, 0.2], [0.25, 0.75], [0.6, 0.4]])
    windows = [
        EmotionWindow(start, end, LABELS[row.argmax()], row.max(), dict(zip(LABELS, row.tolist(), strict=True)), remark)
        for (start, end), row in zip(places, shares, strict=True)
    ]
    speech = [(offset, offset + 5.25), (offset + 10, offset + 11.5)]
    envelope = Envelope(8000)
    envelope.add(noise(20, 8000).astype(np.float32))
    return Lane(name, speech, windows, shares, segments(LABELS, speech, places, shares), [], envelope)


def silent(name: str) -> Lane:
    envelope = Envelope(8000)
    envelope.add(np.zeros(160_000, np.float32))
    return Lane(name, [], [], np.zeros((0, 2)), [], ["no speech was found"], envelope)


@pytest.fixture
def found() -> EmotionTimeline:
    lanes = [lane("Ann", 0.5), lane(ODD, 1.0, "silent"), silent("Cid")]
    return EmotionTimeline("calls/a.wav", 20.0, LABELS, lanes, ["something --> odd"], {"hop": 1.0})


def test_json_has_everything(found: EmotionTimeline, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_timeline(path, found, {"model": "m"})
    data = json.loads(path.read_text())
    assert data == timeline_data(found) | {"model": "m"}
    assert (data["file"], data["duration"], data["emotions"], data["settings"]) == (
        "calls/a.wav",
        20.0,
        [*LABELS],
        {"hop": 1.0},
    )
    assert data["remarks"] == ["something --> odd"]
    ann, odd, cid = data["speakers"]
    assert ann["speech"] == [[0.5, 5.75], [10.5, 12.0]]
    assert [window["smoothed"] for window in ann["windows"]] == [window["probabilities"] for window in ann["windows"]]
    assert [(one["start"], one["end"], one["emotion"], one["confidence"]) for one in ann["segments"]] == [
        (0.5, 3.0, "happy", 0.8),
        (3.0, 5.75, "sad", 0.75),
        (10.5, 12.0, "happy", 0.6),
    ]
    assert odd["speaker"] == ODD and odd["windows"][0]["remark"] == "silent" and "remark" not in ann["windows"][0]
    assert (cid["segments"], cid["remarks"]) == ([], ["no speech was found"])


def test_csv_has_a_row_a_segment_in_order_of_time(found: EmotionTimeline, tmp_path: Path) -> None:
    write_timeline(tmp_path / "a.csv", found, {})
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["speaker", "start", "end", "emotion", "confidence", "happy", "sad", "remark", "error"]
    assert [row["speaker"] for row in rows] == ["Ann", ODD] * 3 + ["Cid"]
    assert (rows[2]["start"], rows[2]["end"], rows[2]["emotion"], rows[2]["sad"]) == ("3.0", "5.75", "sad", "0.75")
    assert rows[-1] == dict.fromkeys(rows[0], "") | {
        "speaker": "Cid", "start": "0", "end": "20.0", "remark": "no speech was found",
    }  # fmt: skip


def test_neighbours_of_one_emotion_are_joined_for_readers() -> None:
    def segment(start: float, end: float, emotion: str, confidence: float, error: str | None = None) -> EmotionSegment:
        other = {"sad": "happy", "happy": "sad"}.get(emotion, "")
        shares = {} if error else {emotion: confidence, other: 1 - confidence}
        return EmotionSegment(start, end, emotion, confidence, shares, error)

    ann = [
        segment(0, 2, "sad", 0.5),
        segment(3, 7, "sad", 0.8),
        segment(7, 8, "happy", 0.6),
        segment(9, 10, "sad", 0.4),
    ]
    unsure = [EmotionSegment(2, 3, "unknown", 0.6, {"happy": 0.6, "sad": 0.4})]
    unsure += [EmotionSegment(4, 6, "unknown", 0.7, {"happy": 0.3, "sad": 0.7})]
    bob = [segment(1, 2, "sad", 0.9), *unsure, segment(7, 8, "unknown", 0.0, FAULT)]
    blank = silent("x")
    lanes = [replace(blank, name="Ann", segments=ann), replace(blank, name="Bob", segments=bob), blank]
    found = EmotionTimeline("a.wav", 10.0, LABELS, lanes, [], {})
    assert [tuple(row) for row in joined_over_pauses(found)] == [
        ("Ann", 0, 7, 6, "sad", pytest.approx((2 * 0.5 + 4 * 0.8) / 6), None),
        ("Bob", 1, 2, 1, "sad", 0.9, None),
        ("Bob", 2, 6, 3, "unknown (sad)", pytest.approx((0.4 + 2 * 0.7) / 3), None),
        ("Ann", 7, 8, 1, "happy", 0.6, None),
        ("Bob", 7, 8, 1, "unknown", 0.0, FAULT),
        ("Ann", 9, 10, 1, "sad", 0.4, None),
    ]


FAULT = "its probabilities are not numbers"


@pytest.fixture
def partly() -> EmotionTimeline:
    """The middle one of three windows has no answer."""
    whole = lane("Ann", 0.5)
    places = [(one.start, one.end) for one in whole.windows]
    shares = whole.smoothed.copy()
    shares[1] = np.nan
    failed = EmotionWindow(*places[1], "unknown", 0.0, {}, error=FAULT)
    windows = [whole.windows[0], failed, whole.windows[2]]
    parts = segments(LABELS, whole.speech, places, shares, 0.0, [None, FAULT, None])
    one = Lane("Ann", whole.speech, windows, shares, parts, ["1 of 3"], whole.envelope)
    return EmotionTimeline("calls/a.wav", 20.0, LABELS, [one], [], {})


def test_every_file_says_where_there_is_no_answer(partly: EmotionTimeline, tmp_path: Path) -> None:
    for suffix in ("json", "csv", "rttm", "vtt", "txt", "png"):
        write_timeline(tmp_path / f"a.{suffix}", partly, {})
    (speaker,) = json.loads((tmp_path / "a.json").read_text())["speakers"]
    assert speaker["windows"][1] == {"start": 1.5, "end": 5.5, "probabilities": {}, "smoothed": {}, "error": FAULT}
    assert speaker["segments"][1] == {
        "start": 3.0, "end": 5.75, "emotion": "unknown", "confidence": None, "probabilities": {}, "error": FAULT,
    }  # fmt: skip
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"] for row in rows] == ["", FAULT, ""]
    assert (rows[1]["emotion"], rows[1]["confidence"], rows[1]["happy"]) == ("unknown", "", "")
    turns = [strictly(line) for line in (tmp_path / "a.rttm").read_text().splitlines()]
    assert turns[1] == ("a", 3.0, 2.75, "unknown", "Ann", "<NA>")
    assert "00:00:03.000 --> 00:00:05.750\nunknown (no answer)\n" in (tmp_path / "a.vtt").read_text()
    assert "3.000000\t5.750000\tunknown (no answer)\n" in (tmp_path / "a.txt").read_text()


def test_subtitles_are_webvtt(found: EmotionTimeline, tmp_path: Path) -> None:
    write_timeline(tmp_path / "a.vtt", found, {})
    header, *blocks = (tmp_path / "a.vtt").read_text().strip().split("\n\n")
    assert header == "WEBVTT"
    notes, cues = (
        [one for one in blocks if one.startswith("NOTE")],
        [one for one in blocks if not one.startswith("NOTE")],
    )
    assert notes == ["NOTE something -> odd", "NOTE Cid: no speech was found"]
    assert cues[0] == "00:00:00.500 --> 00:00:03.000\n<v Ann>happy 80 %"
    assert cues[1] == "00:00:01.000 --> 00:00:03.500\n<v A &amp; &lt;b&gt; --&gt;>happy 80 %"
    assert len(cues) == 6 and all(
        re.match(r"\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}\n[^\n]+$", cue) for cue in cues
    )


def test_people_read_which_label_an_unknown_segment_may_have(tmp_path: Path) -> None:
    unsure = EmotionSegment(0, 2, "unknown", 0.41, {"sad": 0.41, "happy": 0.34, "angry": 0.25})
    one = replace(silent("Ann"), segments=[unsure])
    for name in ("a.vtt", "a.txt"):
        write_timeline(tmp_path / name, EmotionTimeline("a.wav", 10.0, LABELS, [one], [], {}), {})
        assert (tmp_path / name).read_text().rstrip().endswith("unknown (sad 41 %)")


def test_labels_are_audacitys(found: EmotionTimeline, tmp_path: Path) -> None:
    write_timeline(tmp_path / "a.txt", found, {})
    rows = [line.split("\t") for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert rows[:2] == [
        ["0.500000", "3.000000", "Ann: happy 80 %"],
        ["1.000000", "3.500000", "A & <b> -->: happy 80 %"],
    ]
    assert len(rows) == 6 and all(len(row) == 3 for row in rows)


def strictly(line: str) -> tuple[str, float, float, str, str, str]:
    """Return file, start, duration, emotion, speaker and confidence of a line that md-eval, dscore and pandas all take."""
    fields = line.split()
    assert len(fields) == 10 and '"' not in line and "\t" not in line
    kind, file, channel, start, duration, emotion, subtype, speaker, confidence, lookahead = fields
    assert (kind, channel, subtype, lookahead) == ("SPEAKER", "1", "<NA>", "<NA>") and float(duration) > 0
    return file, float(start), float(duration), emotion, speaker, confidence


def test_rttm_has_a_turn_a_segment(found: EmotionTimeline, tmp_path: Path) -> None:
    write_timeline(tmp_path / "a.rttm", found, {})
    rows = [strictly(line) for line in (tmp_path / "a.rttm").read_text().splitlines()]
    assert rows[:3] == [
        ("a", 0.5, 2.5, "happy", "Ann", "0.800000"),
        ("a", 1.0, 2.5, "happy", "A_&_<b>_-->", "0.800000"),
        ("a", 3.0, 2.75, "sad", "Ann", "0.750000"),
    ]
    turns = read_turns(tmp_path / "a.rttm", "renamed.wav")
    assert [(one.speaker, one.start, one.end) for one in turns] == [
        ({ODD: "A_&_<b>_-->"}.get(name, name), segment.start, segment.end) for name, segment in by_time(found)
    ]


def test_rttm_keeps_names_apart_and_fields_together(tmp_path: Path) -> None:
    lanes = [lane(name, 0.5 + place) for place, name in enumerate(('big "Al"', "big_'Al'", "x\u00a0y"))]
    odd = EmotionTimeline("c/my call.v2.wav", 20.0, LABELS, lanes, [], {})
    write_timeline(tmp_path / "a.rttm", odd, {})
    rows = [strictly(line) for line in (tmp_path / "a.rttm").read_text().splitlines()]
    assert {(row[0], row[4]) for row in rows} == {
        ("my_call.v2", "big_'Al'"), ("my_call.v2", "big_'Al'_"), ("my_call.v2", "x_y"),
    }  # fmt: skip


def test_no_turn_of_an_rttm_reaches_into_the_next(tmp_path: Path) -> None:
    places = [(third / 3, third / 3 + 1) for third in range(0, 60, 2)]
    shares = np.array([[0.9, 0.1], [0.1, 0.9]] * 15)
    windows = [EmotionWindow(*place, "happy", 0.9, {"happy": 0.9, "sad": 0.1}) for place in places]
    speech = [(0.0, 59 / 3)]
    one = Lane("Ann", speech, windows, shares, segments(LABELS, speech, places, shares), [], Envelope(8000))
    write_timeline(tmp_path / "a.rttm", EmotionTimeline("a.wav", 20.0, LABELS, [one], [], {}), {})
    rows = [strictly(line) for line in (tmp_path / "a.rttm").read_text().splitlines()]
    assert len(rows) == 30
    for before, after in zip(rows, rows[1:], strict=False):
        assert after[1] == pytest.approx(before[1] + before[2], abs=1e-9)


def test_one_speaker_needs_no_name(found: EmotionTimeline, tmp_path: Path) -> None:
    alone = EmotionTimeline(found.path, 20.0, LABELS, found.lanes[:1], [], {})
    write_timeline(tmp_path / "a.vtt", alone, {})
    write_timeline(tmp_path / "a.txt", alone, {})
    assert "<v" not in (tmp_path / "a.vtt").read_text() and "Ann" not in (tmp_path / "a.txt").read_text()
    only_silent = EmotionTimeline(found.path, 20.0, LABELS, found.lanes[2:], [], {})
    assert remarks_of(only_silent) == ["no speech was found"] and by_time(only_silent) == []


def test_the_picture_has_the_colours_of_its_emotions(found: EmotionTimeline, tmp_path: Path) -> None:
    write_timeline(tmp_path / "a.png", found, {})
    pixels = (imread(tmp_path / "a.png")[..., :3] * 255).round().astype(int).reshape(-1, 3)
    for label in LABELS:
        colour = [int(USUAL[label][place : place + 2], 16) for place in (1, 3, 5)]
        assert (pixels == colour).all(axis=1).sum() > 500  # boxes, not the legend alone
    angry = [int(USUAL["angry"][place : place + 2], 16) for place in (1, 3, 5)]
    assert not (pixels == angry).all(axis=1).any()


@pytest.mark.parametrize("duration", [0.02, 3.0, 86_400.0])
def test_a_picture_of_any_length_can_be_drawn(duration: float, tmp_path: Path) -> None:
    many = EmotionTimeline(
        "x" * 300, duration, tuple(f"$word {n}" for n in range(20)), [silent("s")], ["odd " * 100], {}
    )
    write_timeline(tmp_path / "a.png", many, {})
    assert imread(tmp_path / "a.png").shape[1] == 1500


ADAPTED = "Adapted to each speaker: emotions are judged against how that speaker sounds in the whole recording."


@pytest.mark.parametrize(
    ("lanes", "adapt", "note"),
    [
        (2, "speaker", ADAPTED),
        (1, "speaker", "Adapted to this recording: emotions are judged against how the voice sounds in the whole recording."),
        (2, "s.json", "Adapted with s.json: emotions are judged against how the voices sound in the "
         "recordings that were measured for it."),
        (2, "none", ""),
    ],
)  # fmt: skip
def test_notes_of_the_picture_are_sentences_that_cover_nothing(
    lanes: int, adapt: str, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = None if adapt == "none" else Statistics.of(np.zeros((9, 2)))
    some = [replace(lane(name, 0.5), statistics=measured) for name in ("Ann", "Bob")[:lanes]]
    found = EmotionTimeline("a.wav", 20.0, LABELS, some, ["2 channels were mixed"], {"adapt": adapt})
    figures: list[Figure] = []
    monkeypatch.setattr("gemoclap.reports.timeline.save", lambda figure, *given: figures.append(figure))
    write_timeline(tmp_path / "a.png", found, {})
    figure = figures[0]
    FigureCanvasAgg(figure).draw()
    notes = figure._supxlabel  # type: ignore[attr-defined]
    said = " ".join(notes.get_text().split())
    assert said == f"{note} 2 channels were mixed.".strip()
    own = notes.get_window_extent()
    inside = figure.bbox
    assert own.x0 >= inside.x0 and own.x1 <= inside.x1 and own.y0 >= inside.y0
    axes = figure.axes[-1]
    assert axes.get_xlabel() == "time (minutes:seconds)" and axes.xaxis.label.get_window_extent().y0 > own.y1
    assert axes.get_window_extent().y0 > axes.xaxis.label.get_window_extent().y1


@pytest.mark.parametrize(
    ("labels", "speaker"),
    [
        (LABELS, "Agent Müller-Lüdenscheidt (Kundendienst, Standort Frankfurt am Main)"),
        (LABELS, "AGENT " * 50),
        (tuple(f"disappointed {n}" for n in range(14)), "Ann"),
        (tuple(f"somebody who is mildly annoyed by a long wait {n}" for n in range(9)), "Ann"),
        (tuple(f"{'word ' * 40}{n}" for n in range(3)), "Ann"),
        (tuple(USUAL), "Ann"),
    ],
)
def test_nothing_runs_out_of_the_picture(
    labels: tuple[str, ...], speaker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the shares beside a long name, nor a legend of long words."""
    row = dict.fromkeys(labels, 1 / len(labels))
    parts = [EmotionSegment(n, n + 1, label, 0.5, row) for n, label in enumerate(labels)]
    one = replace(lane(speaker, 0.5), segments=parts, remarks=["two channels cancel each other, which is odd"])
    one = replace(one, smoothed=np.full((3, len(labels)), 1 / len(labels)))
    found = EmotionTimeline("a.wav", 20.0, labels, [replace(one, windows=[
        replace(window, probabilities=row) for window in one.windows
    ])], [], {})  # fmt: skip
    figures: list[Figure] = []
    monkeypatch.setattr("gemoclap.reports.timeline.save", lambda figure, *given: figures.append(figure))
    write_timeline(tmp_path / "a.png", found, {})
    figure = figures[0]
    FigureCanvasAgg(figure).draw()
    drawn = [figure.legends[0], *figure.axes[0].texts, figure.axes[0].title, figure.axes[0]._left_title]  # type: ignore[attr-defined]
    assert figure.axes[0].texts[0].get_text().startswith(tuple(label[:4] for label in labels))  # the shares are there
    for one_drawn in drawn:
        assert one_drawn.get_window_extent().x1 <= figure.bbox.x1, one_drawn


def test_what_is_beside_a_name_keeps_the_seconds_and_the_remarks() -> None:
    """As many shares as there is room for, the largest ones."""
    labels = [f"label{number}" for number in range(9)]
    parts = [
        EmotionSegment(number, number + 0.1 * (10 - number), label, 0.9, {}) for number, label in enumerate(labels)
    ]
    talk = replace(lane("Ann", 0.0), segments=parts, remarks=["clipped: 5 % of the samples"])
    whole = beside_name(talk, 1000)
    shares, _, ending = whole.partition(" of 5 s of speech")
    assert shares.startswith("label0 19 %, label1 17 %") and shares.endswith("label8 4 %")
    assert ending == "   (clipped: 5 % of the samples)"
    for letters in range(70, len(whole)):
        found, _, after = beside_name(talk, letters).partition(" of 5 s of speech")
        assert len(found) + len(" of 5 s of speech") + len(after) <= letters and after == ending
        kept = found.removesuffix(", ...").split(", ")
        assert found.endswith(", ...") and kept == shares.split(", ")[: len(kept)]
    assert len(beside_name(talk, 20)) <= 20
    assert beside_name(replace(talk, segments=[]), 100) == "(clipped: 5 % of the samples)"


def test_colours_differ() -> None:
    labels = [*USUAL, "one", "two", "three"]
    found = colours_of(labels)
    assert {*found} == {*labels, "unknown"} and len(set(found.values())) == len(found)
    assert colours_of(["sad", "odd"])["sad"] == found["sad"]


def test_the_page_of_the_server_has_the_hues_of_the_picture() -> None:
    script = Path(gemoclap.__file__).parent / "serving" / "page" / "lanes.js"
    of_page = dict(re.findall(r"(\w+): \"(#\w{6})\"", script.read_text().partition("const OTHERS")[0]))
    assert {*of_page} == {*USUAL, "unknown"}
    for emotion, colour in USUAL.items():
        picture, page = (rgb_to_hsv(to_rgb(one)) for one in (colour, of_page[emotion]))
        assert abs(picture[0] - page[0]) < 8 / 360 and (picture[1] == 0) == (page[1] == 0), emotion


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0:00.0"), (7.26, "0:07.3"), (59.96, "1:00.0"), (3599.96, "1:00:00.0"), (3727.5, "1:02:07.5")],
)
def test_times_are_told_by_the_clock(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_what_cannot_be_written_is_said(found: EmotionTimeline, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GemoclapError, match="cannot be written"):
        write_timeline(tmp_path / "file" / "a.csv", found, {})
