"""The page's charts are valid by the schema of Vega-Lite, which they are not checked against where they are made."""

import altair as alt
import pytest
from jsonschema import ValidationError

from mcoherence.front_page import charts

COLORS = {"labels": {"clean": "#0072B2"}, "optimizer": {"sgd": "#D55E00", "clean": "#009E73"}}
DASHES = {"labels": {"clean": [1, 0]}, "optimizer": {"sgd": [1, 0], "clean": [4, 2]}}
CHARTS = {
    **{f"forest of a {unit}": lambda unit=unit: charts.forest(unit, ["P1", "P2"]) for unit in charts.UNITS},
    **{
        f"curves, logarithmic {how}": lambda how=how: charts.curves(
            "accuracy", "accuracy", "accuracy_of", COLORS, DASHES, logarithmic=how
        )
        for how in (True, False)
    },
    "layers": lambda: charts.layers(["clean", "half_random"]),
    "equal fit": lambda: charts.equal_fit(COLORS, DASHES),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_one_by_the_schema_of_vega_lite(name):
    spec = CHARTS[name]()
    alt.Chart.from_dict(spec)
    assert spec["background"] == "transparent"
    assert spec["description"]
    assert spec["config"]["view"]["stroke"] is None  # on top of what Altair says of a view
    with pytest.raises(ValidationError):
        alt.Chart.from_dict(spec | {"config": {"axis": {"grid": "yes"}}})
