"""The page that tells a study, in a browser without network: it opens whole, its choices work, it asks for nothing."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from mcoherence.figures.style import FigureStyle
from mcoherence.front_page.page import page_of_study
from mcoherence.study.colors import assigned
from tests.browser import browser, require_chromium

SIZES = ((1400, 900), (1024, 768), (390, 844))  # a desktop, a tablet, a phone
SHOWN = "Object.fromEntries([...document.querySelectorAll('[data-chart]')].map(place => [place.dataset.chart,"
INK = SHOWN + " place.querySelector('canvas').toDataURL()]))"  # the pixels of every chart
WRITTEN = re.compile(r'(id="content">)(.*?)(</script>)')  # what the charts are drawn from
CHOOSE = (
    "(async () => {{ const box = document.querySelector({box!r}); {change};"
    " box.dispatchEvent(new Event('input', {{bubbles: true}})); await new Promise(done => setTimeout(done, 400)); }})()"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page():
    require_chromium()
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def study(finished):
    return finished.results / "index.html"


def choose(page, box, change):
    page.value(CHOOSE.format(box=box, change=change))


def emptied(text):
    """The page with tables of no rows."""
    content = json.loads(WRITTEN.search(text)[2])
    for table in content["tables"].values():
        for name, column in table.items():
            table[name] = column | {"codes": []} if isinstance(column, dict) else []
    return WRITTEN.sub(lambda found: found[1] + json.dumps(content).replace("<", "\\u003c") + found[3], text)


def test_no_chart_is_blank(page, study, tmp_path):
    (tmp_path / "index.html").write_text(emptied(study.read_text()))
    page.open(tmp_path / "index.html", 1400, 900)
    blank = page.value(INK)
    page.open(study, 1400, 900)
    ink = page.value(INK)
    assert {"coherence", "accuracy", "layers", "equal_fit", "forest_points"} <= ink.keys()
    assert [name for name in ink if ink[name] == blank[name]] == []


def test_the_page_of_a_study_opens_without_network_at_every_size(page, study):
    for width, height in SIZES:
        page.open(study, width, height)
        assert page.value("document.documentElement.scrollWidth") <= width  # nothing to scroll sideways
        assert page.value("document.querySelector('.headline').textContent").startswith("Of ")
        charts = "[...document.querySelectorAll('[data-chart]')]"
        assert page.value(f"{charts}.filter(one => one.scrollWidth > one.clientWidth).length") == 0  # nothing is cut
        assert page.value(
            "[...document.images].every(image => (image.loading = 'eager') && image.src.startsWith('data:'))"
        )
    assert page.requests == []
    assert page.errors == []
    assert study.stat().st_size < 10e6


def test_what_is_chosen_is_what_the_charts_show(page, study):
    page.open(study, 1400, 900)
    before = page.value(INK)
    choose(page, "[name=seeds]", "box.click()")
    after = page.value(INK)
    assert {name for name in before if before[name] != after[name]} == {"coherence", "accuracy", "equal_fit"}
    choose(page, "[name=optimizers][value=RM3]", "box.click()")
    again = page.value(INK)
    assert again["coherence"] != after["coherence"]
    choose(page, "[name=x][value=loss]", "box.click()")
    assert page.value("document.querySelector('[data-across]').textContent").startswith("training loss")
    assert page.value(INK)["accuracy"] != again["accuracy"]
    choose(page, "[name=map_optimizer]", "box.value = 'M3'")
    assert page.value(INK)["layers"] != again["layers"]
    assert page.errors == []


def test_a_choice_is_made_by_keyboard_alone(page, study):
    page.open(study, 1400, 900)
    before = page.value(INK)
    page.value("document.querySelector('[name=bands]').focus()")
    page.press("Space")
    page.value("new Promise(done => setTimeout(done, 400))")
    assert page.value(INK)["coherence"] != before["coherence"]


def test_a_choice_of_nothing_is_said_and_what_charts_are_called_lasts(page, study):
    page.open(study, 1400, 900)
    choose(page, "[name=labels]", "document.querySelectorAll('[name=labels]').forEach(one => one.checked = false)")
    said = "[...document.querySelectorAll('[data-none]')].map(one => one.textContent)"
    assert page.value(said).count("choose labels and optimisers") == 4  # coherence, accuracy, layers, equal fit
    assert page.value("document.querySelector('[data-chart=coherence]').ariaLabel").startswith("m-coherence along")
    assert page.value("document.querySelector('[data-chart=coherence] summary').ariaLabel").startswith("Save the chart")
    assert page.errors == []


@pytest.mark.parametrize(("held", "zooms"), [(0, False), (2, True)])  # no key, Ctrl
def test_the_wheel_alone_is_the_pages(page, study, held, zooms):
    page.open(study, 1400, 900)
    before = page.value(INK)["coherence"]
    left, top = page.value(
        "(box => [box.left, box.top])(document.querySelector('[data-chart=coherence] canvas').getBoundingClientRect())"
    )
    at = {"x": left + 150, "y": top + 60}
    page.ask("Input.dispatchMouseEvent", type="mouseMoved", **at)
    page.ask("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=120, modifiers=held, **at)
    page.value("new Promise(done => setTimeout(done, 400))")
    assert (page.value(INK)["coherence"] != before) == zooms


def test_claims_can_be_sorted_and_name_their_figures(page, study):
    page.open(study, 1400, 900)
    ids = "[...document.querySelector('table.claims').tBodies[0].rows].map(row => row.cells[0].textContent)"
    page.value("document.querySelector('table.claims th button').click()")
    order = page.value(ids)
    claims = json.loads(study.with_name("claims.json").read_text())["claims"]
    tested = [claim["id"] for claim in claims if claim["verdict"] in ("supported", "not supported", "inconclusive")]
    assert order == tested
    page.value("document.querySelector('table.claims th button').click()")
    assert page.value(ids) == tested[::-1]
    links = page.value("[...document.querySelectorAll('a:not(.vega-actions a)')].map(a => a.getAttribute('href'))")
    places = set(page.value("[...document.querySelectorAll('[id]')].map(place => place.id)"))
    inside = {link for link in links if link.startswith("#")}
    assert len(inside) > 5
    assert {link.removeprefix("#") for link in inside} <= places
    assert [link for link in links if link not in inside and not (study.parent / link).exists()] == []


def a_large_study():
    """Two seeds, nine optimisers, a network of 100 layers, as its tables would be; the numbers are drawn at random."""
    draw = np.random.default_rng(0)
    names = [f"method_{number}" for number in range(9)]
    runs = pd.DataFrame(
        [("data", "net", "clean", 0.0, name, "full", seed, step, step / 10)
         for name in names for seed in (0, 1) for step in (0, 1, 10, 100)],
        columns=["dataset", "model", "labels", "noise", "optimizer", "subset", "seed", "step", "epoch"],
    )  # fmt: skip
    accuracy = runs.assign(part="train", n=10, accuracy=draw.random(len(runs)), loss=1 / (1 + runs["step"]))
    layers = pd.DataFrame({"layer": ["model", *(f"block.{number}.conv" for number in range(100))]})
    coherence = runs.merge(layers, how="cross").assign(group="train")
    return accuracy, coherence.assign(m_coherence=np.exp(draw.normal(size=len(coherence))))


def test_a_study_of_nine_optimisers_and_a_hundred_layers_is_drawn(page, tmp_path):
    accuracy, coherence = a_large_study()
    names = sorted(accuracy["optimizer"].unique())
    style = FigureStyle(assigned(names, {}), names[0])
    tables = {"accuracy": accuracy, "coherence": coherence}
    text = page_of_study({"study": "large"}, style, {"claims": [], "data": {}}, tables, [], "today")
    (tmp_path / "index.html").write_text(text)
    page.open(tmp_path / "index.html", 1400, 900)
    for name in names[1:]:
        choose(page, f"[name=optimizers][value='{name.replace('_', ' ')}']", "box.click()")
    choose(page, "[name=hue_by][value=optimizer]", "box.click()")
    swatches = page.value(
        "[...document.querySelectorAll('[name=optimizers] + .sample line')].map(one => one.getAttribute('stroke'))"
    )
    assert len(set(swatches)) == len(swatches) == 9
    layer = page.value("document.querySelector('[data-chart=layers] canvas').toDataURL().length")
    assert layer > 10_000
    assert page.errors == []


TALL = "<svg xmlns='http://www.w3.org/2000/svg' width='1400' height='3000'><rect width='1400' height='3000'/></svg>"


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1400, 900)])
def test_snakemakes_report_leads_to_the_page_and_shows_a_figure_whole(page, study, width, height):
    page.open(study.with_name("report.html"), width, height, ready="document.querySelector('#app')?.children.length")
    assert "The study miniature." in page.value("document.body.textContent")
    assert page.value("[...document.querySelectorAll('a')].some(one => one.getAttribute('href') == 'index.html')")
    page.value(f"app.setView({{content: 'img', contentPath: 'data:image/svg+xml,' + encodeURIComponent({TALL!r})}})")
    page.value("new Promise(done => setTimeout(done, 400))")
    box = page.value(
        "(one => [one.top, one.bottom, one.left, one.right])([...document.images].at(-1).getBoundingClientRect())"
    )
    top, bottom, left, right = box
    assert 0 <= top < bottom <= height
    assert bottom - top > 0.9 * height
    assert (right - left) / (bottom - top) == pytest.approx(1400 / 3000, rel=0.01)
