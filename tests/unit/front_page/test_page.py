"""What the page shows: every place of a claim, choices that have runs, captions in brief; read from its content."""

import json
import re

import pandas as pd
import pytest

from mcoherence.figures.style import FigureStyle
from mcoherence.front_page import page as front_page
from mcoherence.front_page.captions import caption_as_html, split_caption
from mcoherence.front_page.page import page_of_study

COLORS = {"sgd": "#0072B2", "clean": "#D55E00", "my_net": "#009E73", "my net": "#CC79A7"}
STYLE = FigureStyle(COLORS, "sgd")
CONFIG = {"study": "small"}


def part(where, verdict, value, **further):
    fixed = {"unit": "factor", "reason": "an interval holds 0", "null": (-0.1, 0.1), "states_level": False}
    interval = None if value is None else (value - 0.1, value + 0.1)
    rates = {"sgd": {"lr": 0.1, "stable": False, "here": True}}
    return {"where": where, "verdict": verdict, "value": value, "t_interval": interval, "rates": rates,
            "values_by_seed": {"0": 1.0}, **fixed, **further}  # fmt: skip


def claim(id, verdict, *parts):
    texts = {
        "short": "peaks",
        "statement": "It peaks.",
        "source": "nobody",
        "figure": "none",
        "missing": None,
        "num_seeds": 2,
    }
    return {"id": id, "verdict": verdict, "parts": parts, "where": parts[-1]["where"], "value": parts[-1]["value"],
            **texts}  # fmt: skip


CLAIMS = {
    "data": {},
    "claims": [
        claim("P1", "inconclusive", part("a", "supported", 1.0), part("b", "inconclusive", -1.0)),
        claim(
            "P2", "inconclusive", part("a", "supported", 0.5), part("c", "inconclusive", None, reason="1 of 5 seeds")
        ),
        claim("P3", "supported", part("a", "supported", 1.0, states_level=True)),
    ],
}


def accuracy(runs):
    rows = [("d", model, labels, 0.0, name, "full", seed, 1, 0.1, "train", 10, 0.5, 1.0)
            for model, labels, name, seeds in runs for seed in range(seeds)]  # fmt: skip
    columns = ["dataset", "model", "labels", "noise", "optimizer", "subset", "seed", "step", "epoch", "part", "n",
               "accuracy", "loss"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


RUNS = [("small", "clean", "sgd", 2), ("large", "clean", "sgd", 3), ("large", "half_random", "my_net", 5),
        ("large", "clean", "my net", 5), ("large", "clean", "clean", 5)]  # fmt: skip


@pytest.fixture(scope="module")
def page():
    return page_of_study(CONFIG, STYLE, CLAIMS, {"accuracy": accuracy(RUNS)}, [], "today")


def content(page):
    return json.loads(re.search(r'id="content">(.*?)</script>', page)[1])


def column(table, name):
    values = table[name]
    return [values["names"][code] for code in values["codes"]] if isinstance(values, dict) else values


def test_every_place_with_a_number_is_drawn_and_one_decides(page):
    forest = content(page)["tables"]["forest_factor"]
    assert column(forest, "claim") == ["P1 peaks", "P1 peaks", "P2 peaks", "P3 peaks"]
    assert column(forest, "place") == ["a", "b", "a", "a"]
    assert column(forest, "place_verdict") == ["supported", "inconclusive", "supported", "supported"]
    assert column(forest, "decides") == ["no", "yes", "no", "yes"]
    assert column(forest, "value") == [10, 0.1, 3.162, 10]
    assert column(forest, "counted") == ["holds in 1 of 2", "holds in 1 of 2", "holds in 1 of 2", "holds in 1 of 1"]
    assert "the place that decides has no number: P2." in page


def test_a_level_that_a_claim_states_has_no_grey_band(page):
    forest = content(page)["tables"]["forest_factor"]
    assert column(forest, "null_low") == [None, 0.7943, None, None]


def test_rows_of_the_drawing_lead_to_rows_of_the_table(page):
    links = set(column(content(page)["tables"]["forest_factor"], "link"))
    assert {f"#{id}" for id in re.findall(r'<tr id="([^"]+)"', page)} == links


def test_the_page_opens_on_the_network_of_the_most_optimisers(page):
    assert "<option selected>d, large</option>" in page
    assert "2 to 5 seeds each" in page


def test_names_that_read_alike_are_told_apart(page):
    assert set(column(content(page)["tables"]["accuracy"], "optimizer")) >= {"my net (my_net)", "my net (my net)"}


def test_label_sets_and_optimisers_of_equal_name_have_their_own_looks(page):
    found = content(page)
    assert found["colors"]["labels"]["clean labels"] == "#0072B2"
    assert found["colors"]["optimizer"]["clean labels"] == "#D55E00"
    # as in the printed figures: clean labels solid, the next set dashed
    assert found["dashes"]["labels"] == {"clean labels": [1, 0], "half random labels": [9.9, 3.5]}
    assert found["dashes"]["optimizer"]["SGD"] == [1, 0]


def test_the_page_says_what_few_seeds_mean(page):
    assert "With two seeds a line reaches 12.7 standard errors to either side" in page
    of_four = {**CLAIMS, "claims": [{**one, "num_seeds": 4} for one in CLAIMS["claims"]]}
    assert "standard errors" not in page_of_study(CONFIG, STYLE, of_four, {"accuracy": accuracy(RUNS)}, [], "today")


def test_the_page_says_which_rate_is_not_stable(page):
    assert page.count("<small>(rate not stable)</small>") == 1


def test_a_large_study_shows_means_alone_and_says_so(monkeypatch, page):
    assert "single seeds are\nin its tables alone" not in page
    monkeypatch.setattr(front_page, "MOST_ROWS", 10)
    large = page_of_study(CONFIG, STYLE, CLAIMS, {"accuracy": accuracy(RUNS)}, [], "today")
    assert "more than 10 rows to draw, so that single seeds are\nin its tables alone" in large
    assert set(column(content(large)["tables"]["accuracy"], "seed")) == {"mean"}


def test_a_captions_first_two_sentences_stand_before_the_rest():
    first, rest = split_caption(
        "<p><strong>A. b.</strong> <em>One. X</em> goes. Two, e.g. this. Three.</p>\n<p>More.</p>"
    )
    assert first == "<p><strong>A. b.</strong> <em>One. X</em> goes. Two, e.g. this.</p>"
    assert rest == "<p>Three.</p>\n<p>More.</p>"
    assert split_caption("<p>One. Two.</p>") == ("<p>One. Two.</p>", "")


@pytest.mark.parametrize(
    ("link", "kept"),
    [("https://a.org/x:y", True), ("tables/a.csv", True), ("#claims", True), ("./a:b", True),
     ("javascript:alert(1)", False), ("data:text/html,x", False), ("JAVASCRIPT:alert(1)", False)],
)  # fmt: skip
def test_links_of_captions_lead_to_pages_and_files_alone(link, kept):
    assert ("href=" in caption_as_html(f"`here <{link}>`_", {})) == kept


MANY = [("net", f"noise_{number}", "sgd", 1) for number in range(13)]
NINE = [("net", "clean", name, 1) for name in "abcdefghi"]


def study_of(runs):
    style = FigureStyle(dict.fromkeys(sorted({name for _, _, name, _ in runs}), "#0072B2"), runs[0][2])
    return content(page_of_study(CONFIG, style, {"data": {}, "claims": []}, {"accuracy": accuracy(runs)}, [], "today"))


def test_more_label_sets_than_the_palette_has_colours_have_a_colour_each():
    colors = study_of(MANY)["colors"]["labels"]
    assert len(set(colors.values())) == len(colors) == 13


def test_lines_of_nine_optimisers_are_told_apart_by_dashes():
    dashes = study_of(NINE)["dashes"]["optimizer"]
    assert len({tuple(one) for one in dashes.values()}) == len(dashes) == 9


def test_the_page_says_how_many_runs_diverged():
    table = accuracy([("net", "clean", "sgd", 3)])
    table["diverged"] = table["seed"] == 1
    said = page_of_study(CONFIG, STYLE, {"data": {}, "claims": []}, {"accuracy": table}, [], "today")
    assert "1 of 3 runs diverged" in said


def test_more_than_two_data_sets_are_listed_with_commas():
    data = {name: {"train": 6, "test": 3} for name in ("d2", "d10", "d3")}
    shown = page_of_study(CONFIG, STYLE, {**CLAIMS, "data": data}, {"accuracy": accuracy(RUNS)}, [], "today")
    of_one = "(6 training and 3 test images)"
    assert f"d2 {of_one}, d3 {of_one}, d10 {of_one} ·" in shown
