"""Several cross-validations in one report: which rows it has, what they are called, what is refused."""

import json
import re
from pathlib import Path

import pytest
from fakerun import CLASSES, make_run, told
from sklearn.metrics import recall_score
from small import run

from gemoclap.errors import GemoclapError
from gemoclap.predictions import read_predictions
from gemoclap.reports import collect, collect_together, print_table, write_report
from gemoclap.reports.pseudo_labels import pseudo_label_cells
from gemoclap.terminal import output_console

SMALL = {"n_folds": 2, "epochs": 2}


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """GMP-TL and Emo-CLAP; GMP-TL without gender; Emo-CLAP with another seed, whose gmp settings say nothing."""
    full = make_run(tmp_path / "full", ("gmp_tl", "emo_clap"), **SMALL)
    ablated = make_run(tmp_path / "ablated", ("gmp_tl",), accuracy=[0.3], **SMALL)
    seeded = make_run(tmp_path / "seeded", ("emo_clap",), accuracy=[0.6], **SMALL)
    gmp = {"gender": True, "scales": [64, 512], "features": None}
    return [
        told(full, gmp=gmp, train={"seed": 0}),
        told(ablated, gmp={"gender": False, "scales": [16], "features": "runs/full"}, train={"seed": 0}),
        told(seeded, gmp={**gmp, "head": "ce"}, train={"seed": 1}),
    ]


def test_rows_are_those_of_each_run_and_named_by_what_differs(runs: list[Path], tmp_path: Path) -> None:
    results = collect_together(runs, tmp_path / "joined")
    assert {method.name: method.title for method in results.methods} == {
        "gmp_tl_full": "GMP-TL",
        "emo_clap_full": "Emo-CLAP",
        "gmp_tl_ablated": "GMP-TL, gmp.gender: false, gmp.scales: [16]",
        "emo_clap_seeded": "Emo-CLAP, train.seed: 1",
    }
    assert {row.name: (row.title, row.seeds) for row in results.rows} == {
        "gmp_tl_full": (f"GMP-TL ({runs[0]})", ()),  # which run it is, since another row is of the same method
        "emo_clap": ("Emo-CLAP", (0, 1)),
        "gmp_tl_ablated": ("GMP-TL, gmp.gender: false, gmp.scales: [16]", ()),
    }
    alone = [method for run in runs for method in collect(run).methods]
    assert [method.pooled.uar for method in results.methods] == [method.pooled.uar for method in alone]
    assert [method.folder for method in results.methods] == [method.folder for method in alone]


def test_differences_are_from_the_first_method_of_the_first_run(runs: list[Path], tmp_path: Path) -> None:
    results = collect_together(runs, tmp_path / "joined")
    uar = {}
    for name, folder in {"gmp_tl_full": runs[0] / "gmp_tl", "gmp_tl_ablated": runs[1] / "gmp_tl"}.items():
        tables = [read_predictions(path) for path in sorted(folder.glob("*/predictions.csv"))]
        truth = [word for table in tables for word in table.truth]
        uar[name] = recall_score(truth, [word for table in tables for word in table.prediction], average="macro")
    found = {one.method: one for one in results.differences}
    assert {one.baseline for one in results.differences} == {"gmp_tl_full"}
    assert found["gmp_tl_ablated"].uar.value == pytest.approx(uar["gmp_tl_ablated"] - uar["gmp_tl_full"])


def test_the_page_names_the_runs_and_links_what_is_there(runs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "joined"
    results = collect_together(runs, output)
    page = write_report(results).read_text()
    for folder in runs:
        assert f"`{folder}`" in page
    linked = {name for name in re.findall(r"\]\(([^)#]+)\)", page)}
    beside = {name.replace(".png", kind) for name in linked if name.endswith(".png") for kind in (".svg",)}
    assert {path.name for path in output.iterdir()} == linked | beside | {"report.md"}
    assert json.loads((output / "results.json").read_text())["runs"] == ["../full", "../ablated", "../seeded"]
    write_report(collect_together(runs[:2], output))  # over the earlier one
    left = ("gmp_tl_full", "gmp_tl_ablated", "emo_clap")
    kept = {"comparison.png", "reliability.png", "speakers.png"} | {
        f"{kind}_{name}.png" for kind in ("confusion", "curves") for name in left
    }
    assert {path.name for path in output.glob("*.png")} == kept


def test_scores_of_speakers_of_earlier_runs_do_not_stay(tmp_path: Path) -> None:
    output = tmp_path / "out"
    for known in (True, False):
        pair = [
            make_run(tmp_path / f"{known}" / method, (method,), 2, epochs=1, known_speakers=known)
            for method in ("ce", "am_softmax")
        ]
        write_report(collect_together(pair, output))
        assert {path.name for path in output.glob("speakers.*")} == (
            {"speakers.csv", "speakers.png", "speakers.svg"} if known else set()
        )


@pytest.mark.parametrize(
    ("inertia", "shown"), [(61.3, "61.30"), (1234.5, "1234"), (0.98765, "0.9877"), (12345.0, "1.234e+04")]
)
def test_inertia_has_four_digits(inertia: float, shown: str, tmp_path: Path) -> None:
    for name in ("config.json", "emotions.safetensors"):
        (tmp_path / name).touch()
    scale = {"inertia": inertia, **dict.fromkeys(("emotion", "gender", "speaker"))}
    (tmp_path / "quality.json").write_text(json.dumps({"16": scale}))
    _, [row] = pseudo_label_cells([tmp_path])
    assert row[1] == shown


def test_labels_that_were_left_out_are_told_by_whatever_run_knows_them(runs: list[Path], tmp_path: Path) -> None:
    plan = json.loads((runs[1] / "folds.json").read_text())
    (runs[1] / "folds.json").write_text(json.dumps({**plan, "left_out": {"bored": 3}}))  # the others are older
    page = write_report(collect_together(runs, tmp_path / "joined")).read_text()
    assert "Neither trained on nor tested, because the label is not one of the classes: 3 utterances (bored 3)" in page


def test_what_clusters_know_is_told_of_each_run_that_has_some(runs: list[Path], tmp_path: Path) -> None:
    for one, purity in zip(runs[:2], (0.75, 0.25), strict=True):
        folder = one / "gmp_tl" / "fold_1" / "clusters"
        folder.mkdir()
        for name in ("config.json", "emotions.safetensors"):
            (folder / name).touch()
        scale = {"inertia": 2.0, "emotion": {"purity": purity, "nmi": 0.5}, "gender": None, "speaker": None}
        (folder / "quality.json").write_text(json.dumps({"16": scale}))
    page = write_report(collect_together(runs, tmp_path / "joined")).read_text()
    _, full, ablated = re.split("GMP-TL:|scales: \\[16\\]:", page.split("### Pseudo-labels")[1].split("## How")[0])
    assert "75.0" in full and "25.0" in ablated


def test_runs_told_the_same_are_called_by_their_folders(tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / place / "run", ("ce",), **SMALL) for place in ("one", "other"))
    results = collect_together([one, other], tmp_path / "joined")
    assert [method.title for method in results.methods] == [f"Cross-entropy ({one})", f"Cross-entropy ({other})"]


def test_no_two_rows_share_a_name_or_a_picture(tmp_path: Path) -> None:
    places = ("p/run", "q/run", "run_2", "my run [b]")
    runs = [make_run(tmp_path / place, ("ce", "emo_clap"), **SMALL) for place in places]
    output = tmp_path / "joined"
    page = write_report(collect_together(runs, output)).read_text()
    methods = json.loads((output / "results.json").read_text())["methods"]
    assert [name for name in methods if name.startswith("ce")] == ["ce_run", "ce_run_2", "ce_run_2_2", "ce_my_run_b_"]
    found = [(output / method["folder"]).resolve().parent for method in methods.values()]
    assert found == [run.resolve() for run in runs for _ in range(2)]
    assert len(list(output.glob("confusion_*.png"))) == len(re.findall(r"\]\(confusion_[\w.-]+\.png\)", page)) == 8


def test_the_page_names_the_settings_of_the_first_run_too(runs: list[Path], tmp_path: Path) -> None:
    """Its rows have plain titles, so the page says what the other rows have otherwise."""
    results = collect_together(runs, tmp_path / "joined")
    assert results.first_settings == ("gmp.gender: true", "gmp.scales: [64, 512]", "train.seed: 0")
    page = write_report(results).read_text(encoding="utf-8")
    assert (
        "The first run has `gmp.gender: true`, `gmp.scales: [64, 512]`, `train.seed: 0`; rows of the other runs" in page
    )
    alone = collect_together(runs[:1], tmp_path / "alone")
    assert alone.first_settings == () and "The first run has" not in write_report(alone).read_text(encoding="utf-8")


def test_a_method_of_a_later_run_is_compared_with_the_first_run_too(tmp_path: Path) -> None:
    one = told(
        make_run(tmp_path / "one", ("ce",), **SMALL), model={"pooling": "mean"}, gmp={"head": "ce"}, train={"seed": 0}
    )
    two = told(
        make_run(tmp_path / "two", ("emo_clap", "gmp_tl"), **SMALL),
        model={"pooling": "mean_std", "emotion_prompt": "I feel {}"},
        gmp={"head": "am_softmax"},
        train={"seed": 7, "trackers": ["tensorboard"]},
    )
    titles = [method.title for method in collect_together([one, two], tmp_path / "joined").methods]
    assert titles == [
        "Cross-entropy",
        "Emo-CLAP, model.pooling: mean_std, model.emotion_prompt: I feel {}, train.seed: 7",  # the first has the default
        "GMP-TL, model.pooling: mean_std, train.seed: 7",
    ]


def test_options_weights_and_manifests_are_told(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name, ("ce",), **SMALL) for name in ("one", "two", "three", "four")]
    plain = {"audio_encoder": "enc", "audio_options": {}}
    hashes = {"encoder_weights": "aaa", "manifest_sha256": "00"}
    told(folders[0], model=plain, **hashes)
    told(folders[1], model={**plain, "audio_options": {"hidden_size": 64}}, **hashes)
    told(folders[2], model=plain, **hashes | {"encoder_weights": "bbb"})
    told(folders[3], model=plain, **hashes | {"manifest_sha256": "11"})
    titles = [method.title for method in collect_together(folders, tmp_path / "joined").methods]
    assert titles == [
        "Cross-entropy",
        'Cross-entropy, model.audio_options: {"hidden_size": 64}',
        "Cross-entropy, other encoder weights",
        "Cross-entropy, manifest: made-up.jsonl",
    ]


def test_weights_of_the_text_encoder_count_where_there_is_one(tmp_path: Path) -> None:
    runs = [
        told(make_run(tmp_path / f"{weights}", ("ce", "emo_clap"), **SMALL), text_encoder_weights=weights)
        for weights in ("aaa", "bbb", None)
    ]
    titles = [method.title for method in collect_together(runs, tmp_path / "joined").methods]
    assert sum("other weights of the text encoder" in title for title in titles) == 1
    assert any(title.startswith("Emo-CLAP, other weights of the text encoder") for title in titles)


def test_a_run_given_twice_and_a_probe_are_refused(tmp_path: Path) -> None:
    one, probe = make_run(tmp_path / "one", ("ce",), **SMALL), make_run(tmp_path / "probe", ("compact",), **SMALL)
    (tmp_path / "link").symlink_to(one)
    with pytest.raises(GemoclapError, match=f"link: is the same run as {one}; name each once"):
        collect_together([one, tmp_path / "link"], tmp_path / "joined")
    with pytest.raises(GemoclapError, match="probe: is a probe"):
        collect_together([one, told(probe, encoders=["compact"])], tmp_path / "joined")


def test_titles_are_no_markup_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [make_run(Path(name), ("ce",), **SMALL) for name in ("[b]", "[/b]")]
    print_table(collect_together(runs, "joined"), output_console())
    shown = capsys.readouterr().out
    assert "Cross-entropy ([b])" in shown and "Cross-entropy ([/b])" in shown


def test_a_baseline_is_not_said_to_depend_on_training(tmp_path: Path) -> None:
    one, other = (make_run(tmp_path / name, ("egemaps_svm",), **SMALL) for name in ("one", "other"))
    told(one, train={"seed": 0})
    told(other, train={"seed": 1, "select": "dev"})
    results = collect_together([one, other], tmp_path / "joined")
    assert [method.title for method in results.methods] == [f"eGeMAPS + SVM ({run})" for run in (one, other)]


def test_an_unfinished_run_says_what_it_lacks(runs: list[Path], tmp_path: Path) -> None:
    (runs[1] / "gmp_tl" / "fold_2" / "predictions.csv").unlink()
    page = write_report(collect_together(runs, tmp_path / "joined")).read_text()
    assert "GMP-TL, gmp.gender: false, gmp.scales: [16] lacks fold_2" in page


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"classes": CLASSES[:4]}, "its classes are neutral, calm, happy, sad, not neutral"),
        ({"n_folds": 3}, "their folds differ"),
    ],
)
def test_runs_that_do_not_compare_are_refused(other: dict, says: str, tmp_path: Path) -> None:
    one = make_run(tmp_path / "one", ("ce",), **SMALL)
    two = make_run(tmp_path / "two", ("ce",), **{**SMALL, **other})
    with pytest.raises(GemoclapError, match=says) as caught:
        collect_together([one, two], tmp_path / "joined")
    assert str(caught.value).startswith(f"{two}: cannot be compared with {one}")


def test_other_labels_are_refused(runs: list[Path], tmp_path: Path) -> None:
    path = runs[1] / "gmp_tl" / "fold_1" / "predictions.csv"
    header, first, *rows = path.read_text().splitlines()
    truth = first.split(",")[header.split(",").index("truth")]
    other = next(name for name in CLASSES if name != truth)
    path.write_text("\n".join([header, first.replace(f",{truth},", f",{other},", 1), *rows]) + "\n")
    with pytest.raises(GemoclapError, match=f"01-00 is {other}, 01, [a-z]+ here and {truth}, 01, [a-z]+ there"):
        collect_together(runs, tmp_path / "joined")


def test_other_speakers_are_refused(runs: list[Path], tmp_path: Path) -> None:
    path = runs[1] / "gmp_tl" / "fold_1" / "predictions.csv"
    path.write_text(path.read_text().replace(",01,", ",S01,"))
    with pytest.raises(GemoclapError, match="S01, [a-z]+ here and"):
        collect_together(runs, tmp_path / "joined")


def test_other_epochs_are_refused(tmp_path: Path) -> None:
    one, two = (make_run(tmp_path / name, ("ce",), **SMALL) for name in ("one", "two"))
    with pytest.raises(GemoclapError, match=r"its train\.select is dev, not last"):
        collect_together([one, told(two, train={"select": "dev"})], tmp_path / "joined")


def test_neither_a_run_nor_other_files_are_written_over(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match="is a run of its own"):
        collect_together(runs, runs[0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.md").touch()
    with pytest.raises(GemoclapError, match="holds files of something else"):
        collect_together(runs, tmp_path / "mine")


def test_the_command_writes_where_it_is_told(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("report", *runs, "-o", tmp_path / "joined") == 0
    shown = capsys.readouterr().out
    assert "gmp.gender: false" in shown and f"{tmp_path / 'joined' / 'report.md'}: the report" in shown
    assert run("report", runs[0], "-o", tmp_path / "alone") == 0
    assert (tmp_path / "alone" / "report.md").is_file() and not (runs[0] / "report.md").exists()
