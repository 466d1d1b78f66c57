"""The scripts of docs/examples.md are those of examples/, and run."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/examples.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_shows_the_scripts_as_they_are_and_names_all():
    assert [(ROOT / "examples" / f"{name}.py").read_text() for name in ("image_folder", "small_gpt")] == BLOCKS
    assert set(re.findall(r"^\| `(\w+\.py)`", PAGE, flags=re.MULTILINE)) == {
        path.name for path in (ROOT / "examples").glob("*.py")
    }


def test_a_folder_of_images_is_measured_file_by_file(tmp_path, capsys):
    script = runpy.run_path(str(ROOT / "examples/image_folder.py"))
    script["write_digits"](tmp_path, count=60)
    assert (tmp_path / "1/000_is_0.png").exists()  # in the folder of another digit
    table = script["main"](tmp_path, epochs=1)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*.png"))
    assert table.sort_values("index")["file"].tolist() == files
    assert table["dot_sum_of_others"].is_monotonic_increasing
    shown = capsys.readouterr().out.split("raise most:")[1]
    assert re.findall(r"\d/\d{3}_is_\d\.png", shown) == table["file"].head(10).tolist()


def test_texts_are_watched_and_then_told_apart(capsys):
    examples = runpy.run_path(str(ROOT / "examples/small_gpt.py"))["main"](steps=4)
    shown = capsys.readouterr().out
    assert [int(step) for step in re.findall(r"^ +(\d+) +[\d.]+ +[\d.]+$", shown, flags=re.MULTILINE)] == [0, 1, 2, 4]
    assert (examples.n, examples.own_left_out) == (64, ("sum",))
    products = [float(number) for number in re.findall(r"^ *(-?\d+)  [\'\"]", shown, flags=re.MULTILINE)]
    ordered = sorted(examples.dot["sum"])
    assert products == pytest.approx(ordered[:5] + ordered[-5:], abs=0.5)
