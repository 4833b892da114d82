"""Predictions come back as they were written; a faulty file is named with its line."""

import csv

import numpy as np
import pytest
from safetensors.numpy import save_file

from gemoclap.errors import GemoclapError
from gemoclap.predictions import PredictionTable, concatenate, read_embeddings, read_predictions, write_embeddings


def make_table(**changes) -> PredictionTable:
    values = {
        "classes": ("angry", "sad"),
        "ids": ("a,1", 'b "2"', "ü"),
        "folds": ("fold_1", "fold_1", None),
        "speakers": ("01", None, "03"),
        "genders": ("female", None, "male"),
        "truth": ("angry", "sad", "sad"),
        "prediction": ("angry", "angry", "sad"),
        "probabilities": np.array([[0.75, 0.25], [1 - 1e-9, 1e-9], [0.1, 0.9]]),
        "paths": ("a/1,2.wav", None, "\udcff.wav"),
    }
    return PredictionTable(**{**values, **changes})


def test_round_trip_keeps_words_unknowns_and_six_digits(tmp_path):
    table = make_table()
    table.write(tmp_path / "predictions.csv")
    again = read_predictions(tmp_path / "predictions.csv")
    for name in ("classes", "ids", "folds", "speakers", "genders", "truth", "prediction"):
        assert getattr(again, name) == getattr(table, name)
    np.testing.assert_allclose(again.probabilities, table.probabilities, rtol=5e-6)
    assert again.paths == table.paths


def test_embeddings_come_back_in_half_precision_and_faulty_files_are_named(tmp_path):
    path = tmp_path / "embeddings.safetensors"
    assert read_embeddings(path, 3) is None
    embeddings = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    embeddings[0, 0] = 1e6  # beyond half precision
    write_embeddings(path, embeddings)
    again = read_embeddings(path, 3)
    assert again.dtype == np.float32 and again[0, 0] == 65504
    np.testing.assert_allclose(again[1:], embeddings[1:], rtol=1e-3)
    with pytest.raises(GemoclapError, match="embeddings.safetensors: its embeddings are not those of the 4 rows"):
        read_embeddings(path, 4)
    for odd in (np.nan, -np.inf):
        save_file({"embeddings": np.full((3, 8), odd, np.float16)}, path)
        with pytest.raises(GemoclapError, match="embeddings.safetensors: has embeddings that are not finite numbers"):
            read_embeddings(path, 3)
    path.write_bytes(b"nothing")
    with pytest.raises(GemoclapError, match="embeddings.safetensors: holds no embeddings"):
        read_embeddings(path, 3)


def test_files_of_earlier_versions_and_methods_without_probabilities(tmp_path):
    (tmp_path / "old.csv").write_text(HEADER + "f,a,s,male,sad,sad,0.1,0.9\n")
    assert read_predictions(tmp_path / "old.csv").paths == (None,)
    make_table(probabilities=np.full((3, 2), np.nan)).write(tmp_path / "none.csv")
    assert np.isnan(read_predictions(tmp_path / "none.csv").probabilities).all()


def test_columns_are_those_that_other_tools_read(tmp_path):
    make_table().write(tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["fold", "id", "speaker", "gender", "truth", "prediction", "p_angry", "p_sad", "path"]
    assert rows[1]["id"] == 'b "2"' and rows[1]["speaker"] == "" and rows[1]["path"] == ""
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_concatenate_keeps_the_order_and_refuses_other_classes():
    both = concatenate([make_table(), make_table(ids=("x", "y", "z"))])
    assert both.ids == ("a,1", 'b "2"', "ü", "x", "y", "z") and both.probabilities.shape == (6, 2)
    with pytest.raises(GemoclapError, match="join only runs with one vocabulary"):
        concatenate([make_table(), make_table(classes=("angry", "happy"))])
    with pytest.raises(GemoclapError, match="no predictions"):
        concatenate([])


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(GemoclapError, match="2 speakers for 3 utterances"):
        make_table(speakers=("01", "02"))
    with pytest.raises(GemoclapError, match="probabilities of shape"):
        make_table(probabilities=np.zeros((3, 4)))


HEADER = "fold,id,speaker,gender,truth,prediction,p_angry,p_sad\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "predictions.csv:1: expected the columns"),
        ("id,emotion\n", "predictions.csv:1: expected the columns"),
        (HEADER, "no rows"),
        (HEADER + "f,a,s,male,angry,sad,0.1\n", "predictions.csv:2: 7 cells where the header has 8"),
        (HEADER + "f,a,s,male,,sad,0.1,0.9\n", "predictions.csv:2: truth '' is not one of the classes"),
        (HEADER + "f,a,s,male,sad,happy,0.1,0.9\n", "predictions.csv:2: prediction 'happy' is not"),
        (
            HEADER + "f,a,s,male,sad,sad,0.1,0.9\nf,b,s,male,sad,angry,nan,nan\n",
            "predictions.csv:3: a probability is not a fin",
        ),
        (
            HEADER + "f,a,s,male,sad,sad,0.1,0.9\nf,b,s,male,sad,angry,,\n",
            "predictions.csv:3: a probability is not a num",
        ),
        (HEADER + "f,a,s,male,sad,sad,inf,0.9\n", "predictions.csv:2: a probability is not a finite number"),
        (HEADER + "f,a,s,male,sad,sad,0.1,much\n", "predictions.csv:2: a probability is not a number"),
    ],
)
def test_a_faulty_file_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(GemoclapError, match=message):
        read_predictions(tmp_path / "predictions.csv")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(GemoclapError, match=r"nothing\.csv: no such predictions"):
        read_predictions(tmp_path / "nothing.csv")
