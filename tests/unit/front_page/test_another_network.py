"""The page in a browser: another network, which lacks the optimiser that was shown, and layers of a deep network."""

import re
from itertools import product

import pandas as pd
import pytest
import vl_convert

from mcoherence.figures.style import FigureStyle
from mcoherence.front_page import charts
from mcoherence.front_page.page import page_of_study
from tests.browser import browser, require_chromium

RUNS = [("large", "sgd"), ("large", "m3"), ("small", "m3")]


@pytest.fixture(scope="module")
def page():
    require_chromium()
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    run = {"dataset": "d", "labels": "clean", "noise": 0.0, "subset": "full", "epoch": 0.1, "n": 10, "diverged": False}
    rows = [
        {
            **run,
            "model": model,
            "optimizer": name,
            "seed": seed,
            "step": step,
            "part": "train",
            "accuracy": 0.5,
            "loss": 1,
        }
        for (model, name), seed, step in product(RUNS, range(2), (1, 10))
    ]
    tables = {"accuracy": pd.DataFrame(rows)}
    style = FigureStyle({"sgd": "#0072B2", "m3": "#D55E00"}, "sgd")
    path = tmp_path_factory.mktemp("study") / "index.html"
    path.write_text(
        page_of_study({"study": "small"}, style, {"data": {}, "claims": []}, tables, [], "today"), encoding="utf-8"
    )
    return path


def choose(page, network):
    page.value(
        f"""(async () => {{
          const box = document.querySelector("[name=network]");
          box.value = {network!r};
          box.dispatchEvent(new Event("input", {{ bubbles: true }}));
          await new Promise(done => setTimeout(done, 600));
        }})()"""
    )


CHECKED = "[...document.querySelectorAll('[name=optimizers]')].filter(b => b.checked && !b.disabled).map(b => b.value)"
SAID = "document.querySelector('[data-none=accuracy]').textContent"


def test_a_network_without_the_chosen_optimiser_shows_one_that_it_has(page, study):
    page.open(study, 1280, 800)
    assert page.value(CHECKED) == ["SGD"]
    choose(page, "d, small")
    assert page.value(CHECKED) == ["M3"]
    assert page.value(SAID) == ""
    assert page.errors == []


def test_layers_of_a_deep_network_are_told_apart_by_their_names():
    names = [f"features.denseblock1.denselayer{number}.conv1" for number in range(6)]
    spec = charts.layers(["clean"])
    chosen = {"network": "n", "labels": ["clean"], "map_optimizer": "sgd"}
    for choice in spec["params"]:
        choice["value"] = chosen.get(choice["name"], choice.get("value"))
    keys = {"network": "n", "labels": "clean", "optimizer": "sgd", "step": 1, "value": 2.0}
    spec["datasets"] = {"layers": [{**keys, "layer": name, "order": order} for order, name in enumerate(names)]}
    shown = re.findall(r">([^<>]*conv1)<", vl_convert.vegalite_to_svg(spec, vl_version="6.4"))
    assert len(set(shown)) == len(names)
    assert all(name.endswith(text.lstrip("…")) for name, text in zip(names, shown, strict=True))
