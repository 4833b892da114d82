"""The report as one web page: its structure, what is escaped, what it plays, and how it looks in a real browser."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browsers import launched
from fakerun import make_run, told
from sklearn.metrics import recall_score
from small import run
from sound import tone, write

from gemoclap.corpora.manifest import Utterance, write_manifest
from gemoclap.predictions import EMBEDDINGS, concatenate, read_predictions, write_embeddings
from gemoclap.reports import collect, collect_together
from gemoclap.reports.canvas import new_figure
from gemoclap.reports.embedding_map import _draw_points, projected
from gemoclap.reports.html import choices, escaped, sentence, table
from gemoclap.reports.html_report import recall_by_gender, write_html_report
from gemoclap.reports.mistakes import Players, worst_mistakes

CLASSES = ("angry", "<b>happy</b>", "sad")
VOID = {"meta", "img", "input", "br", "link"}


class Tree(HTMLParser):
    """Reads a page strictly: every tag must be closed where it was opened. Keeps all tags with their attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def said(self, name: str) -> list[str]:
        return [text for tag, text in self.texts if tag == name]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose labels, speakers and file names are HTML, with embeddings of one fold and the sound of its clips."""
    folder = tmp_path_factory.mktemp("made")
    made = make_run(
        folder / "run",
        ("emo_clap", "ce"),
        n_folds=2,
        classes=CLASSES,
        utterances_a_speaker=6,
        epochs=2,
        accuracy=[0.4, 0.5],
    )
    sound = write(folder / "a<i>&.wav", np.concatenate([tone(300, 1.0), tone(900, 0.5)]))
    rows = {}
    for place in sorted(made.glob("*/*/predictions.csv")):
        table = read_predictions(place)
        for one in table.ids:
            rows[one] = Utterance(id=one, path=str(sound), start=1.0, end=1.5, speaker="s", emotion="angry")
        if place.parent.name == "fold_1":
            rng = np.random.default_rng(0)
            centres = {name: rng.standard_normal(16) for name in CLASSES}
            write_embeddings(
                place.parent / EMBEDDINGS, np.stack([centres[t] + 0.2 * rng.standard_normal(16) for t in table.truth])
            )
    write_manifest(list(rows.values()), folder / "m.jsonl")
    plan = (made / "folds.json").read_text().replace("made-up.jsonl", str(folder / "m.jsonl"))
    (made / "folds.json").write_text(plan)
    return made


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return write_html_report(collect(made)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(page: str) -> Tree:
    return Tree(page)


def test_the_page_needs_no_other_file_and_has_no_script(page: str, tree: Tree) -> None:
    assert not tree.all("script") and not tree.all("link") and "http:" not in page and "https:" not in page
    sources = [one["src"] or "" for tag in ("img", "audio") for one in tree.all(tag)]
    assert len(sources) > 10 and all(source.startswith("data:") for source in sources)
    policy = next(one["content"] for one in tree.all("meta") if one.get("http-equiv"))
    assert policy and policy.startswith("default-src 'none'")
    assert not any(name.startswith("on") for _, attributes in tree.tags for name in attributes)


def test_headings_links_and_tables_are_there_for_every_reader(tree: Tree) -> None:
    ids = [attributes["id"] for _, attributes in tree.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(one["href"] and one["href"][1:] in ids for one in tree.all("a"))
    assert [tag for tag, _ in tree.tags if tag in ("h1", "h2")].count("h1") == 1
    assert tree.said("h2") == [
        "Results", "Recall by class and gender", "Speakers", "Confusion matrices", "Confidence", "Training curves",
        "Map of embeddings", "Most confident mistakes", "Split and leakage", "Settings", "How to read this",
    ]  # fmt: skip
    assert len(tree.all("table")) == len(tree.all("caption"))
    assert all(one.get("scope") in ("col", "row") for one in tree.all("th"))
    assert all(one["alt"] for one in tree.all("img")) and all(one["aria-label"] for one in tree.all("audio"))
    named = {attributes["for"] for attributes in tree.all("label")}
    assert named == {one["id"] for one in tree.all("input")}


def test_what_comes_from_files_is_text(page: str, tree: Tree) -> None:
    assert "<b>happy" not in page and "&lt;b&gt;happy&lt;/b&gt;" in page
    assert any("a<i>&.wav" in text for text in tree.said("td"))
    assert not tree.all("b") and not tree.all("i")
    assert escaped('"><script>') == "&quot;&gt;&lt;script&gt;" and escaped("a\udcff") == "a\\xff"
    assert sentence("**[x](javascript:y)** `<c>`") == "<strong>x</strong> <code>&lt;c&gt;</code>"


def test_recall_of_each_gender_is_scikit_learns(made: Path) -> None:
    header, rows = recall_by_gender(collect(made))
    assert header == ["method", "speakers", *CLASSES] and len(rows) == 6
    table = concatenate([read_predictions(path) for path in sorted((made / "emo_clap").glob("*/predictions.csv"))])
    for gender, row in ((None, rows[0]), ("female", rows[1]), ("male", rows[2])):
        kept = [place for place, own in enumerate(table.genders) if gender in (None, own)]
        truth, said = ([column[place] for place in kept] for column in (table.truth, table.prediction))
        expected = recall_score(truth, said, average=None, labels=CLASSES)
        assert row[1].startswith(f"{gender or 'all'} ({len(kept)} clips)")
        assert [float(cell) for cell in row[2:]] == pytest.approx(100 * expected, abs=0.051)


def test_the_mistakes_are_the_most_confident_and_play_their_part_of_the_file(made: Path, tree: Tree) -> None:
    table = concatenate([read_predictions(path) for path in sorted((made / "emo_clap").glob("*/predictions.csv"))])
    wrong = [
        (max(row), one)
        for row, one, truth, said in zip(table.probabilities, table.ids, table.truth, table.prediction, strict=True)
        if truth != said
    ]
    found = worst_mistakes(table)
    assert [one.id for one in found] == [one for _, one in sorted(wrong, key=lambda pair: -pair[0])[:10]]
    players = tree.all("audio")
    assert len(players) == 20 and found[0].id in (players[0]["aria-label"] or "")
    content = base64.b64decode((players[0]["src"] or "").partition(",")[2])
    waveform, rate = soundfile.read(io.BytesIO(content))
    spectrum = np.abs(np.fft.rfft(waveform[rate // 10 : 3 * rate // 10]))
    assert rate == 16000 and len(waveform) == pytest.approx(8000, abs=2500)  # MP3 pads both ends
    assert np.argmax(spectrum) * 5 == pytest.approx(900, abs=10)


def test_without_audio_there_is_no_sound_and_no_licence_to_see(made: Path, tmp_path: Path) -> None:
    assert run("report", made, "-o", tmp_path / "out", "--html", "--no_audio", "--formats", "png") == 0
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<audio" not in text and "--no_audio" not in text and "Most confident mistakes" in text
    for found in re.findall("<table.*?</table>", text.split('id="mistakes"')[1].split("</section>")[0], re.DOTALL):
        sides = ["text" in cell for cell in re.findall("<th ([^>]*)>", found.split("</thead>")[0])]
        assert sides == [True] * 6 + [False]  # speakers are numbers here, and names all the same


def test_lost_sound_and_too_much_of_it_are_said(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = read_predictions(next(made.glob("ce/*/predictions.csv")))
    one = worst_mistakes(table)[0]
    assert Players({}).sound(one) == ("", "sound not found")
    broken = tmp_path / "x.wav"
    broken.write_bytes(b"no sound")
    assert Players({one.id: Utterance(one.id, str(broken))}).sound(one) == ("", "sound not readable")
    long = write(tmp_path / "long.wav", tone(300, 21.0))
    players = Players({one.id: Utterance(one.id, str(long))})
    assert players.sound(one)[1] == "first 20 s"
    players.left = 10
    assert players.sound(one) == ("", "left out, because the page has enough sound")


def test_the_map_says_what_drew_it_and_which_folds_it_has(page: str, tree: Tree) -> None:
    drawn = [text for text in tree.said("figcaption") if "coloured by" in text]
    assert len(drawn) == 2 * 3  # two methods, of each one fold: emotion, gender and speaker
    assert all(re.match(r"(UMAP|t-SNE) of 24 test clips of .*, fold_1, coloured by", text) for text in drawn)
    assert "The first 1 of 2 folds are shown." in page


def test_projections_keep_neighbours_and_are_the_same_again() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(3), 12)
    embeddings = rng.standard_normal((3, 20))[groups] + 0.05 * rng.standard_normal((36, 20))
    points, _ = projected(embeddings)
    again, _ = projected(embeddings)
    assert points.shape == (36, 2) and np.array_equal(points, again)
    distances = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(36)
    assert (groups[distances.argmin(axis=1)] == groups).mean() > 0.9
    for number in (1, 2, 7):
        few, name = projected(embeddings[:number])
        assert few.shape == (number, 2) and name == "PCA"


@pytest.mark.parametrize("speakers", [3, 12, 13, 40])
def test_names_that_the_legend_lacks_have_a_colour_of_their_own(speakers: int) -> None:
    words = [f"s{number:02}" for number in range(speakers)] * 2
    points = np.random.default_rng(0).standard_normal((2 * speakers, 2))
    axes = new_figure(3.35, 2.6, "constrained").add_subplot()
    _draw_points(axes, points, words)
    colour_of = {}
    for drawn in axes.collections:
        for place in drawn.get_offsets():
            colour_of[words[int(np.abs(points - place).sum(axis=1).argmin())]] = tuple(drawn.get_facecolor()[0])
    legend = axes.get_legend()
    said = dict(zip((text.get_text() for text in legend.get_texts()), legend.legend_handles, strict=True))
    more = [text for text in said if text.startswith("and ")]
    assert more == ([f"and {speakers - 12} more"] if speakers > 12 else [])
    for word in words:
        name = word if word in said else more[0]
        assert tuple(said[name].get_facecolor()[0]) == colour_of[word]
    assert len(set(colour_of.values())) == len(said) == min(speakers, 13)


def test_runs_beside_each_other_show_the_settings_in_which_they_differ(tmp_path: Path) -> None:
    small = {"n_folds": 2, "epochs": 1, "classes": CLASSES, "utterances_a_speaker": 6}
    one = told(make_run(tmp_path / "one", ("ce",), **small), model={"pooling": "mean"}, train={"lr": 0.1})
    other = told(make_run(tmp_path / "other", ("ce",), **small), model={"pooling": "attention"}, train={"lr": 0.1})
    (tmp_path / "out").mkdir()
    tree = Tree(write_html_report(collect_together([one, other], tmp_path / "out")).read_text(encoding="utf-8"))
    assert "Settings and versions in which the runs differ" in tree.said("span")
    rows = [text for tag, text in tree.texts if tag in ("th", "td") and text in ("model.pooling", "mean", "attention")]
    assert not any(text.startswith("gmp.") for text in tree.said("th"))  # no run has GMP-TL
    assert rows[:3] == ["model.pooling", "mean", "attention"] and "No embeddings were saved" in " ".join(tree.said("p"))


def test_seeds_and_shared_speakers_are_said(tmp_path: Path) -> None:
    small = {"n_folds": 2, "epochs": 1, "classes": CLASSES, "utterances_a_speaker": 6, "shared_speakers": ["07"]}
    runs = [
        told(make_run(tmp_path / f"seed_{seed}", ("ce",), accuracy=[0.4 + seed / 10], **small), train={"seed": seed})
        for seed in (0, 1)
    ]
    for place in sorted((runs[0] / "ce").glob("*/predictions.csv")):
        write_embeddings(place.parent / EMBEDDINGS, np.random.default_rng(0).standard_normal((24, 5)))
    (tmp_path / "out").mkdir()
    tree = Tree(write_html_report(collect_together(runs, tmp_path / "out")).read_text(encoding="utf-8"))
    assert any("Speakers are shared between training and test in this run (07)" in text for text in tree.said("strong"))
    assert "Speakers in both training and test of a fold: 07." in tree.said("li")
    captions = tree.said("span")
    assert "Scores of each seed, pooled over folds, in percent" in captions
    assert any("mistakes of Cross-entropy, seed 0;" in text for text in captions)
    assert any("Seed 0 is shown." in text for text in tree.said("p"))
    assert [text for text in tree.said("label")] == ["fold_1", "fold_2"]


def test_a_column_of_few_letters_takes_no_room_from_the_figures() -> None:
    """With --seeds the last column of the scores was cut off on every screen."""
    rows = [["a long name", "0, 1", "female (38 clips)", "1.0"], ["b", "0", "all", "2.0"]]
    cells = Tree(table("caption", (["method", "seeds", "speakers", "UAR"], rows), text_columns=3)).all("td")
    assert [one.get("class") for one in cells] == 2 * ["text brief", "text", None]


def test_one_part_needs_no_choice() -> None:
    assert choices("x", "Fold", [("fold_1", "<p>a</p>")]) == "<p>a</p>"
    several = Tree(choices("x", "Fold", [("fold_1", "<p>a</p>"), ("fold_2", "<p>b</p>")]))
    assert [one.get("checked", "no") for one in several.all("input")] == [None, "no"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


def test_in_a_browser(browser: Any, made: Path, page: str) -> None:
    """It loads nothing, plays a clip, shows the chosen fold, fits a phone, and is dark on a dark screen and light on paper."""
    rng = np.random.default_rng(0)
    second = made / "ce" / "fold_2"
    number = len(read_predictions(second / "predictions.csv"))
    write_embeddings(second / EMBEDDINGS, rng.standard_normal((number, 16)))
    address = write_html_report(collect(made)).as_uri()
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    tab.goto(address)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    player = tab.locator("audio").first
    player.evaluate("one => { one.muted = true; return one.play() }")
    assert player.evaluate("one => one.duration") == pytest.approx(0.5, abs=0.2)
    shown = tab.locator(".choice")
    assert [shown.nth(place).is_visible() for place in range(2)] == [True, False]
    tab.get_by_label("fold_2").focus()
    tab.keyboard.press("Space")
    assert [shown.nth(place).is_visible() for place in range(2)] == [False, True]
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not tab.locator("nav").is_visible() and not player.is_visible()
    assert complaints == []
    context.close()


def test_a_table_of_numbers_stands_behind_each_confusion_matrix(made: Path, tree: Tree) -> None:
    with next((made / "emo_clap").glob("*/predictions.csv")).open() as file:
        assert len(list(csv.DictReader(file))) == 24
    assert sum("as a table" in text for text in tree.said("summary")) == 2
    assert "predicted <b>happy</b>" in tree.said("th")
