"""A series over time goes to the terminal, a table or a picture, and nowhere else."""

from pathlib import Path

import pytest

from gemoclap.errors import GemoclapError
from gemoclap.reports.series import series_path, write_series

ROWS = [("seconds", "intensity"), ("0.010", "0.5"), ("0.030", "0.7")]


def never(path: Path) -> None:
    raise AssertionError(f"{path} is no picture")


def test_the_terminal_has_rows_alone(capsys: pytest.CaptureFixture) -> None:
    write_series(series_path(None), ROWS, never, "3 frames")
    assert capsys.readouterr().out == "seconds,intensity\n0.010,0.5\n0.030,0.7\n"


def test_a_table_is_what_the_terminal_has(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "a.csv"
    write_series(series_path(str(path)), ROWS, never, "3 frames")
    assert path.read_text() == "seconds,intensity\n0.010,0.5\n0.030,0.7\n"
    assert capsys.readouterr().out == f"{path}: 3 frames\n"


def test_standard_output_has_rows_alone_by_its_name_too(capfd: pytest.CaptureFixture) -> None:
    write_series(series_path("/dev/stdout"), ROWS, never, "3 frames")
    shown = capfd.readouterr()
    assert shown.out == "seconds,intensity\n0.010,0.5\n0.030,0.7\n" and shown.err == "/dev/stdout: 3 frames\n"


def test_a_picture_is_drawn_where_it_is_told(tmp_path: Path) -> None:
    drawn: list[Path] = []
    write_series(series_path(str(tmp_path / "a.png")), ROWS, drawn.append, "3 frames")
    assert drawn == [tmp_path / "a.png"]


@pytest.mark.parametrize("name", ["a.txt", "a", "png"])
def test_another_kind_of_file_is_refused(name: str) -> None:
    with pytest.raises(GemoclapError, match=f"{name}: give -o a name that ends in"):
        series_path(name)
