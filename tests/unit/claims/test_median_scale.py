"""Prevention, delay, both or neither, on tables whose answer is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.median_scale import findings, prevention_or_delay, statement
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.verdicts import part_of
from mcoherence.figures import median_scale
from mcoherence.figures.style import FigureStyle

SETTINGS = ClaimSettings(0.95, 0, 0.9, {}, equivalence_margin=0.02)
SGD = {0: (0.50, 10.0), 1: (0.52, 12.0), 2: (0.48, 11.0)}  # seed -> corrupt accuracy at equal fit, time


def rows(method, by_seed, **other):
    """Rows of the table median_scale: at the chosen rate, of seeds that are reported."""
    return pd.DataFrame(
        [
            {
                "dataset": "d", "model": "net", "labels": "half", "noise": 0.5, "optimizer": method, "subset": "full",
                "seed": seed, "method": method, "reference": method == "sgd", "batch_size": 12, "tuning": False,
                "chosen": True, "per_class": 0.4, "corrupt_at_fit": corrupt, "memorised_epoch": time,
                "end_epoch": 88.0, "diverged": False,
            }
            | other
            for seed, (corrupt, time) in by_seed.items()
        ]
    )  # fmt: skip


def with_sgd(fewer, factor, spread=0.0):
    """A method that has fitted so many fewer corrupt labels, and takes so many times as long; `spread` over seeds."""
    own = {seed: (corrupt - fewer + spread * (seed - 1), factor * time) for seed, (corrupt, time) in SGD.items()}
    return pd.concat([rows("sgd", SGD), rows("m3", own)], ignore_index=True)


@pytest.mark.parametrize(
    ("fewer", "factor", "expected"),
    [
        (0.3, 2.0, "prevention and delay"),
        (0.3, 1.1, "prevention"),
        (0.01, 2.0, "delay"),
        (0.0, 1.0, "neither"),
        (-0.3, 0.5, "neither"),
    ],
)
def test_a_finding_follows_from_both_differences(fewer, factor, expected):
    (found,) = findings(with_sgd(fewer, factor))
    assert found.words(SETTINGS) == expected
    assert found.fewer.tolist() == pytest.approx([fewer] * 3)
    assert found.longer.tolist() == pytest.approx([np.log2(factor)] * 3)


def test_from_where_a_method_takes_longer_is_a_setting():
    """It takes 1.1 times as long: equal within a factor of 1.25, a delay beyond one of 1.05."""
    table = with_sgd(0.0, 1.1)
    narrow = replace(SETTINGS, delay_factor=1.05)
    assert [findings(table)[0].words(one) for one in (SETTINGS, narrow)] == ["neither", "delay"]
    where = "d, net, m3, batches of 12, delay"
    margins = [prevention_or_delay({"median_scale": table}, one)[where].margin for one in (SETTINGS, narrow)]
    assert margins == pytest.approx([np.log2(1.25), np.log2(1.05)])


def test_what_varies_too_much_over_seeds_is_open():
    assert findings(with_sgd(0.1, 1.0, spread=0.3))[0].words(SETTINGS) == "open"
    assert findings(with_sgd(0.1, 2.0, spread=0.3))[0].words(SETTINGS) == "delay, else open"
    one_seed = with_sgd(0.3, 2.0).query("seed == 0")
    assert findings(one_seed)[0].words(SETTINGS) == "open"


def test_times_that_do_not_come_count_with_the_end_of_the_run_for_both():
    table = with_sgd(0.3, np.inf)
    (found,) = findings(table)
    assert (found.never, found.never_by_sgd) == (3, 0)
    assert found.longer.tolist() == pytest.approx(np.log2([88 / 10, 88 / 12, 88 / 11]).tolist())
    assert found.words(SETTINGS) == "prevention and delay"  # a lower bound of the delay is enough for one
    table.loc[(table["method"] == "sgd") & (table["seed"] == 1), "memorised_epoch"] = np.inf
    (found,) = findings(table)
    assert (found.never, found.never_by_sgd) == (3, 1)
    assert found.longer.tolist() == pytest.approx([np.log2(88 / 10), 0, np.log2(88 / 11)])
    assert found.words(SETTINGS) == "prevention, else open"  # nothing is known beyond the end


def test_a_shorter_run_bounds_the_time_of_both():
    table = with_sgd(0.3, 4.0)
    table.loc[table["method"] == "m3", ["end_epoch", "memorised_epoch"]] = [11.0, np.inf]
    (found,) = findings(table)
    assert (found.never, found.never_by_sgd) == (3, 1)  # SGD's 12 is beyond 11
    assert found.longer.tolist() == pytest.approx([np.log2(11 / 10), 0, 0])


def test_that_it_may_take_longer_than_the_run_is_no_finding_that_it_does_not():
    table = with_sgd(0.3, np.inf).assign(end_epoch=12.5)  # less than 1.25 times SGD's time
    assert findings(table)[0].words(SETTINGS) == "prevention, else open"


def test_a_delay_beyond_the_end_of_the_runs_is_no_equality():
    """No method run gets there, and the ends are within 1.25 times SGD's time: nothing says that they are equal."""
    table = with_sgd(0.3, np.inf).assign(end_epoch=12.5)
    parts = prevention_or_delay({"median_scale": table}, SETTINGS)
    for where in ("m3, mean of all settings, delay", "d, net, m3, batches of 12, delay"):
        part = part_of(where, parts[where], 0.95)
        assert part.verdict == "inconclusive"
        assert part.reason == (
            "a run of the method never fits half of the corrupt labels, so the delay may be longer than the runs say"
        )
    longer = prevention_or_delay({"median_scale": with_sgd(0.3, np.inf)}, SETTINGS)
    assert longer["d, net, m3, batches of 12, delay"].open_because == ""  # a delay that is there already


def test_where_sgd_never_gets_there_a_faster_method_is_no_open_question():
    """SGD's times are beyond the end, 88 epochs, the method's an eighth of it: the true delay is shorter yet."""
    table = with_sgd(0.3, 1.0)
    table.loc[table["method"] == "sgd", "memorised_epoch"] = np.inf
    part = part_of("", prevention_or_delay({"median_scale": table}, SETTINGS)["d, net, m3, batches of 12, delay"], 0.95)
    assert part.verdict == "not supported"
    assert findings(table)[0].words(SETTINGS) == "prevention"
    table.loc[table["method"] == "m3", "memorised_epoch"] = 80.0
    part = part_of("", prevention_or_delay({"median_scale": table}, SETTINGS)["d, net, m3, batches of 12, delay"], 0.95)
    assert part.reason == (
        "a run of SGD never fits half of the corrupt labels, so the delay may be shorter than the runs say"
    )


def test_a_run_that_never_fits_the_pristine_examples_leaves_its_setting_open():
    table = with_sgd(0.3, 2.0)
    table.loc[(table["method"] == "m3") & (table["seed"] == 2), "corrupt_at_fit"] = np.nan
    (found,) = findings(table)
    assert found.words(SETTINGS) == "delay, else open"
    part = part_of(
        "", prevention_or_delay({"median_scale": table}, SETTINGS)["d, net, m3, batches of 12, prevention"], 0.95
    )
    assert part.reason == "2 of 3 seeds have a number: in the others a run never fits 0.95 of the pristine examples"


def test_a_mean_that_leaves_settings_out_says_how_many_and_decides_nothing():
    not_fitted = with_sgd(0.1, 2.0).assign(batch_size=30)
    not_fitted.loc[not_fitted["method"] == "m3", "corrupt_at_fit"] = np.nan
    no_rate = with_sgd(0.1, 2.0).assign(batch_size=60)
    no_rate.loc[no_rate["method"] == "m3", "chosen"] = False
    table = pd.concat([with_sgd(0.3, 2.0), not_fitted, no_rate], ignore_index=True)
    parts = {
        where: part_of(where, one, 0.95)
        for where, one in prevention_or_delay({"median_scale": table}, SETTINGS).items()
    }
    prevention, delay = list(parts)[:2]
    assert (prevention, delay) == ("m3, mean of 1 of 3 settings, prevention", "m3, mean of 2 of 3 settings, delay")
    assert parts[prevention].value == pytest.approx(0.3)
    assert parts[prevention].reason == (
        "of 3 settings it leaves out 1 in which no rate was chosen for the method or for SGD and 1 in which some run "
        "never fits 0.95 of the pristine examples"
    )
    assert parts[delay].reason == (
        "of 3 settings it leaves out 1 in which no rate was chosen for the method or for SGD"
    )
    assert {parts[prevention].verdict, parts[delay].verdict} == {"inconclusive"}
    table.loc[table["method"] == "m3", "corrupt_at_fit"] = np.nan
    parts = {
        where: part_of(where, one, 0.95)
        for where, one in prevention_or_delay({"median_scale": table}, SETTINGS).items()
    }
    none = parts["m3, mean of 0 of 3 settings, prevention"]
    assert (none.value, none.verdict) == (None, "inconclusive")
    assert none.reason.startswith("of 3 settings it leaves out 1 in which")


def test_only_chosen_rates_and_reported_seeds_count():
    other = dict.fromkeys(SGD, (0.9, 1.0))
    table = pd.concat(
        [
            with_sgd(0.3, 2.0),
            rows("m3", other, chosen=False),
            rows("m3", {100: (0.9, 1.0)}, tuning=True),
            rows("rm3", other, chosen=False),
        ],
        ignore_index=True,
    )
    (found,) = findings(table)
    assert found.method == "m3"
    assert found.fewer.tolist() == pytest.approx([0.3] * 3)


def test_the_statement_counts_settings_and_names_their_groups():
    other = with_sgd(0.0, 1.0).assign(batch_size=60, per_class=2.0)
    found = findings(pd.concat([with_sgd(0.0, 2.0), other], ignore_index=True))
    assert statement(found, SETTINGS) == {"m3": "of 2 settings delay in 1 (0.4 per class), neither in 1 (2 per class)"}


def test_the_claim_reports_both_numbers_with_the_finding_in_words():
    parts = prevention_or_delay({"median_scale": with_sgd(0.3, 2.0)}, SETTINGS)
    means, settings = list(parts)[:2], list(parts)[2:]
    assert means == ["m3, mean of all settings, prevention", "m3, mean of all settings, delay"]
    assert settings == ["d, net, m3, batches of 12, prevention", "d, net, m3, batches of 12, delay"]
    assert {parts[where].note for where in settings} == {"prevention and delay; 0.4 examples of a class in a group"}
    assert parts[means[1]].per_seed.tolist() == pytest.approx([1.0] * 3)
    assert parts[means[0]].note == "of 1 settings prevention and delay in 1 (0.4 per class)"
    assert parts[means[1]].note == (
        "of 1 settings prevention and delay in 1 (0.4 per class); settings with a run that never fits half of the "
        "corrupt labels: 0 of the method, 0 of SGD"
    )


def test_two_batch_sizes_with_as_many_of_a_class_in_a_group_are_two_points():
    both = [with_sgd(0.3, 2.0).assign(batch_size=size) for size in (12, 24)]  # as of groups of one example
    style = FigureStyle(optimizer_colors={"sgd": "#0072b2", "m3": "#d55e00"}, reference_optimizer="sgd")
    figure = median_scale.draw({"median_scale": pd.concat(both, ignore_index=True)}, style)
    [points] = [one for one in figure.axes[1].containers if one.get_label() == "m3"]
    assert points[0].get_ydata() == pytest.approx([1.0, 1.0])  # one doubling of SGD's time


def test_the_band_of_equal_times_is_that_of_the_setting():
    style = FigureStyle({"sgd": "#0072b2", "m3": "#d55e00"}, "sgd", delay_factor=2)
    figure = median_scale.draw({"median_scale": with_sgd(0.3, 4.0)}, style)
    (band,) = figure.axes[1].patches
    assert (band.get_y(), band.get_height()) == (-1, 2)  # a doubling to either side
