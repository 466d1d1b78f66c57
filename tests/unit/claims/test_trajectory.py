"""Claims about the course of m-coherence, on small tables worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.networks import (
    alexnet_coherent_on_random_labels,
    convolutions_above_last_layer,
    wider_more_coherent,
)
from mcoherence.claims.sample_size import shape_kept_at_other_sizes
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.trajectory import (
    coherence_near_one_when_fitted,
    drops_at_the_start,
    early_coherence_by_noise,
    peak_real_over_random,
    random_rises_and_falls,
)
from mcoherence.claims.verdicts import part_of
from mcoherence.study.result_names import REDRAWN

SETTINGS = ClaimSettings(
    confidence=0.95,
    first_step=None,
    target_accuracy=0.9,
    methods={"sgd": "sgd", "slow": "sgd", "rm3": "rm3"},
    architectures={"net": "resnet18", "alex": "alexnet"},
    peak_window=0,  # curves as they are; tests of smoothing are those of tables.curves
)
STEPS = (0, 5, 10, 100, 1000)


def curve(values, model="net", noise=0.0, seed=0, layer="model", layer_type="", optimizer="sgd", steps=STEPS):
    return pd.DataFrame(
        {
            "dataset": "glyphs", "model": model, "labels": f"noise_{noise:g}", "noise": noise, "optimizer": optimizer,
            "subset": "full", "seed": seed, "step": steps, "epoch": np.array(steps) / 10, "group": "train",
            "layer": layer, "layer_type": layer_type, "m_coherence": values, "n": 500,
        }
    )  # fmt: skip


def accuracy(values, losses=None, **names):
    rows = curve(values, **names).drop(columns=["group", "layer", "layer_type"])
    rows = rows.rename(columns={"m_coherence": "accuracy"}).assign(loss=losses or [math.nan] * len(values))
    return pd.concat([rows.assign(part=part) for part in ("train", "pristine")])


def values(measured):
    return {where: one.per_seed.tolist() for where, one in measured.items()}


# From near m down to 2 at step 10, and up again: the transient ends at step 10.
REAL, RANDOM = [400, 50, 2, 20, 1], [400, 50, 2, 8, 1]
LOSS = [2.0, 1.9, 1.8, 0.6, 0.1]


def test_peaks_are_compared_past_the_transient_and_at_equal_loss_at_every_rate():
    tables = {
        "coherence": pd.concat(
            curve(values, noise=noise, seed=seed, optimizer=optimizer)
            for optimizer in ("sgd", "slow", "rm3")
            for seed in (0, 1)
            for noise, values in ((0.0, REAL), (1.0, RANDOM))
        ),
        "accuracy": pd.concat(
            accuracy([0.1, 0.1, 0.2, 0.8, 1.0], LOSS, noise=noise, seed=seed, optimizer=optimizer)
            for optimizer in ("sgd", "slow", "rm3")
            for seed in (0, 1)
            for noise in (0.0, 1.0)
        ),
    }
    measured = peak_real_over_random(tables, SETTINGS)
    found = values(measured)
    assert found["glyphs, net, sgd"] == pytest.approx([math.log10(20 / 8)] * 2)
    # The same losses at the same steps. At 0.9 of the loss before training, 1.8, the transient has just ended, so that
    # it does not count. From 1.6 to 0.6 the lead grows from 0 at step 10 to log10 2.5 at step 100, where the loss is
    # 0.6; from there to 0.2 it falls to 0 at the end, where it is 0.1.
    shares = [(1.8 - loss) / 1.2 for loss in (1.6, 1.4, 1.2, 1.0, 0.8, 0.6)] + [
        (loss - 0.1) / 0.5 for loss in (0.4, 0.2)
    ]
    expected = math.log10(2.5) * sum(shares) / len(shares)
    assert found["glyphs, net, sgd, at equal training loss"] == pytest.approx([expected] * 2)
    assert measured["glyphs, net, sgd, at equal training loss"].note.startswith("at 0.8, 0.7, 0.6")
    assert set(found) == {
        f"glyphs, net, {one}{loss}" for one in ("sgd", "slow") for loss in ("", ", at equal training loss")
    }


def test_a_peak_after_the_labels_are_fitted_is_none_of_learning_them():
    """Real labels are fitted at step 100, where m-coherence is 20; what it does then, 90, is not compared."""
    coherence = pd.concat([curve([400, 50, 2, 20, 90]), curve([400, 50, 2, 8, 40], noise=1.0)])
    fitted = [accuracy([0.1, 0.1, 0.2, 1.0, 1.0]), accuracy([0.1, 0.1, 0.2, 1.0, 1.0], noise=1.0)]
    found = values(peak_real_over_random({"coherence": coherence, "accuracy": pd.concat(fitted)}, SETTINGS))
    assert found["glyphs, net, sgd"] == pytest.approx([math.log10(20 / 8)])
    # Random labels that are never fitted are compared by all of their course.
    never = [fitted[0], accuracy([0.1, 0.1, 0.2, 0.4, 0.9], noise=1.0)]
    found = values(peak_real_over_random({"coherence": coherence, "accuracy": pd.concat(never)}, SETTINGS))
    assert found["glyphs, net, sgd"] == pytest.approx([math.log10(20 / 40)])


def test_a_run_that_fits_its_labels_in_its_transient_has_no_peak():
    coherence = pd.concat([curve(REAL), curve(RANDOM, noise=1.0)])
    fitted = pd.concat([accuracy([0.1, 1, 1, 1, 1]), accuracy([0.1, 0.1, 0.2, 0.8, 1.0], noise=1.0)])
    measured = peak_real_over_random({"coherence": coherence, "accuracy": fitted}, SETTINGS)["glyphs, net, sgd"]
    assert measured.per_seed.isna().all()
    assert "before they fit" in part_of("", measured, 0.95).reason


def test_losses_that_one_run_has_not_passed_are_not_compared():
    tables = {
        "coherence": pd.concat([curve(REAL), curve(RANDOM, noise=1.0)]),
        "accuracy": pd.concat([accuracy([0.1] * 5, LOSS), accuracy([0.1] * 5, [2.0, 2, 1.9, 1.8, 1.5], noise=1.0)]),
    }
    measured = peak_real_over_random(tables, SETTINGS)["glyphs, net, sgd, at equal training loss"]
    assert measured.note == "at 0.8 of the loss before training"
    tables["accuracy"].loc[tables["accuracy"]["noise"] == 1, "loss"] = 2.0
    measured = peak_real_over_random(tables, SETTINGS)["glyphs, net, sgd, at equal training loss"]
    assert np.isnan(measured.per_seed).all()
    assert part_of("", measured, 0.95).verdict == "inconclusive"


def test_early_is_compared_until_the_clean_runs_are_half_way_whatever_the_step():
    steps = (0, 5, 10, 20, 1000)
    tables = {
        "coherence": pd.concat(
            [curve([400, 50, 2, 20, 900], steps=steps), curve([400, 50, 2, 5, 900], noise=0.5, steps=steps)]
        ),
        "accuracy": pd.concat(
            [
                accuracy([0.1, 0.2, 0.3, 0.5, 1.0], LOSS, steps=steps),
                accuracy([0.1, 0.1, 0.1, 0.1, 0.2], LOSS, noise=0.5, steps=steps),
            ]
        ),
    }
    found = values(early_coherence_by_noise(tables, SETTINGS))
    # From the end of the transient, step 10, to half-way, step 20: the mean of log10 2 / 2 and log10 20 / 5.
    assert found["glyphs, net, sgd, noise 0 over 0.5"] == pytest.approx([math.log10(4) / 2])
    # Down to half of the loss before training, 1.0: at 1.6, 1.4, 1.2 and 1.0 the lead has come that far from 0 at a
    # loss of 1.8 to log10 4 at 0.6.
    expected = math.log10(4) * np.mean([(1.8 - loss) / 1.2 for loss in (1.6, 1.4, 1.2, 1.0)])
    assert found["glyphs, net, sgd, noise 0 over 0.5, at equal training loss"] == pytest.approx([expected])


STEPS_OF_RANDOM = (0, 5, 10, 100, 500, 1000)


def random_labels(end=1.0, middle=(2, 5, 8), redrawn=False):
    """Coherence of two seeds with real labels and with random ones, these at `middle` from step 10 on."""
    frames = [
        frame
        for seed in (0, 1)
        for frame in (
            curve([400, 50, 2, 20, 1], seed=seed),
            curve([400, 50, *middle, end], noise=1.0, seed=seed, steps=STEPS_OF_RANDOM),
            *(
                one.assign(group=REDRAWN)
                for _ in range(redrawn)
                for one in (
                    curve([9, 9, 9, 9, 9], seed=seed),
                    curve([9, 9, 9, 9, 4, 9], noise=1.0, seed=seed, steps=STEPS_OF_RANDOM),
                )
            ),
        )
    ]
    return {"coherence": pd.concat(frames), "accuracy": fits(pd.concat(frames))}


def fits(coherence, seeds=(0, 1)):
    """Training accuracies: at the last step the runs of `seeds` fit every example."""
    last = coherence["step"] == coherence["step"].max()
    rows = coherence[(coherence["group"] == "train") & last].assign(part="train", loss=math.nan)
    return rows.assign(accuracy=rows["seed"].isin(seeds).astype(float))


def test_random_labels_rise_beyond_near_and_return_and_peak_later():
    measured = random_rises_and_falls(random_labels(redrawn=True), SETTINGS)
    found = values(measured)
    rise = measured["glyphs, net, sgd, rises beyond 3"]
    assert rise.per_seed.tolist() == pytest.approx([math.log10(8 / 3)] * 2)
    assert rise.null.rule.startswith("the same statistic of the same weights with labels redrawn")
    assert rise.null.expected == pytest.approx(math.log10(4 / 3))  # 4 where the value is read
    assert rise.note == (
        "at the first checkpoint past the transient +0.301; labels redrawn, at the same weights as the value, +0.602"
    )
    assert found["glyphs, net, sgd, returns towards 1"] == pytest.approx([math.log10(3)] * 2)  # the end alone
    assert found["glyphs, net, sgd, peak later than with real labels"] == pytest.approx([math.log10(5)] * 2)


def test_a_run_is_read_where_the_other_seeds_are_highest():
    """Seed 0 peaks at step 100, seed 1 at step 500: each is read where the other does."""
    coherence = pd.concat(
        [
            curve([1, 1, 1, 9, 0.5, 1], noise=1.0, steps=STEPS_OF_RANDOM),
            curve([1, 1, 1, 2, 9, 1], noise=1.0, seed=1, steps=STEPS_OF_RANDOM),
        ]
    )
    found = values(random_rises_and_falls({"coherence": coherence, "accuracy": fits(coherence)}, SETTINGS))
    assert found["glyphs, net, sgd, rises beyond 3"] == pytest.approx([math.log10(0.5 / 3), math.log10(2 / 3)])


def test_a_rise_after_the_first_run_has_fitted_is_none_of_learning():
    """Seed 0 has fitted at step 100; that all runs stand at 9 from step 500 on says nothing of learning the labels."""
    coherence = pd.concat(curve([1, 1, 1, 2, 9, 9], noise=1.0, seed=seed, steps=STEPS_OF_RANDOM) for seed in (0, 1))
    rows = coherence[coherence["group"] == "train"].assign(part="train", loss=math.nan)
    fitted = (rows["step"] >= rows["seed"].map({0: 100, 1: 500})).astype(float)
    found = values(random_rises_and_falls({"coherence": coherence, "accuracy": rows.assign(accuracy=fitted)}, SETTINGS))
    assert found["glyphs, net, sgd, rises beyond 3"] == pytest.approx([math.log10(2 / 3)] * 2)


def test_scatter_about_1_is_as_often_above_1_as_below_it():
    """50 runs about 1: the highest of 20 values is 0.56 above it in the mean, that of the other seeds' step is not."""
    draw = np.random.default_rng(0)
    steps = range(20)
    coherence = pd.concat(curve(10 ** draw.normal(0, 0.3, 20), noise=1.0, seed=seed, steps=steps) for seed in range(50))
    settings = replace(SETTINGS, first_step=0)
    tables = {"coherence": coherence, "accuracy": fits(coherence, range(50))}
    rise = random_rises_and_falls(tables, settings)["glyphs, net, sgd, rises beyond 3"]
    assert abs(rise.per_seed.mean() + math.log10(3)) < 4 * 0.3 / math.sqrt(50)
    assert part_of("", rise, 0.95).verdict == "not supported"


def test_a_rise_within_near_is_none_and_refutes_the_claim():
    tables = random_labels(middle=(1, 1.5, 1.2))
    rise = random_rises_and_falls(tables, replace(SETTINGS, first_step=10))["glyphs, net, sgd, rises beyond 3"]
    assert rise.per_seed.tolist() == pytest.approx([math.log10(1.5 / 3)] * 2)
    assert part_of("", rise, 0.95).verdict == "not supported"


def test_a_curve_that_only_falls_has_no_rise_and_refutes_the_claim():
    measured = random_rises_and_falls(random_labels(middle=(8, 7, 6), end=5), SETTINGS)
    rise = measured["glyphs, net, sgd, rises beyond 3"]
    assert rise.per_seed.tolist() == pytest.approx([-math.log10(3)] * 2)
    assert part_of("", rise, 0.95).verdict == "not supported"


def test_a_run_that_is_still_in_its_transient_where_the_others_are_highest_has_no_number():
    """Seed 2's transient ends at step 100, after the step at which the two others peak; and it rises to 30."""
    others = [curve([400, 50, 2, 8, 2, 1], noise=1.0, seed=seed, steps=(0, 5, 10, 20, 100, 1000)) for seed in (0, 1)]
    late = curve([400, 90, 50, 20, 2, 30], noise=1.0, seed=2, steps=(0, 5, 10, 20, 100, 1000))
    coherence = pd.concat([*others, late])
    tables = {"coherence": coherence, "accuracy": fits(coherence, range(3))}
    rise = random_rises_and_falls(tables, SETTINGS)["glyphs, net, sgd, rises beyond 3"].per_seed
    assert np.isnan(rise[2])
    assert (rise[:2] > -1).all()


def test_one_seed_alone_has_no_others_to_say_where_it_is_read():
    tables = {"coherence": curve(RANDOM, noise=1.0)}
    tables["accuracy"] = fits(tables["coherence"])
    assert np.isnan(random_rises_and_falls(tables, SETTINGS)["glyphs, net, sgd, rises beyond 3"].per_seed).all()


def test_a_run_that_has_not_fitted_its_labels_says_nothing_of_rise_and_return():
    tables = random_labels(end=6.0)
    tables["accuracy"] = fits(tables["coherence"], seeds=(0,))
    measured = random_rises_and_falls(tables, SETTINGS)
    for where in ("rises beyond 3", "returns towards 1"):
        part = part_of("", measured[f"glyphs, net, sgd, {where}"], 0.95)
        assert part.verdict == "inconclusive"
        assert part.reason.startswith("1 of 2 seeds have a number: the others do not fit all their labels, or ")


def test_an_end_that_is_not_near_one_is_no_return():
    measured = random_rises_and_falls(random_labels(end=6.0), SETTINGS)["glyphs, net, sgd, returns towards 1"]
    assert measured.per_seed.tolist() == pytest.approx([-math.log10(2)] * 2)
    assert part_of("", measured, 0.95).verdict == "not supported"


def test_a_run_that_never_rose_has_nothing_to_return_from_and_refutes_nothing():
    measured = random_rises_and_falls(random_labels(middle=(1, 2.5, 2)), SETTINGS)[
        "glyphs, net, sgd, returns towards 1"
    ]
    part = part_of("", measured, 0.95)
    assert (part.verdict, part.value) == ("inconclusive", None)
    assert part.reason == "0 of 2 seeds have a number: the others do not fit all their labels, or have no peak beyond 3"


def test_without_redrawn_labels_a_rise_is_held_against_1():
    with_them, without = (
        random_rises_and_falls(random_labels(redrawn=redrawn), SETTINGS)["glyphs, net, sgd, rises beyond 3"]
        for redrawn in (True, False)
    )
    assert without.per_seed.equals(with_them.per_seed)
    assert without.null.rule.startswith("-0.477121 (m-coherence 1, gradients without a common direction)")


def with_redrawn(real, random):
    """The tables of P1 with labels redrawn at the same weights: at the steps of real and of random labels."""
    frames = [
        curve(values, noise=noise, seed=seed).assign(group=group)
        for seed in (0, 1, 2)
        for noise, of_own, of_redrawn in ((0.0, REAL, real), (1.0, RANDOM, random))
        for group, values in (("train", of_own), (REDRAWN, of_redrawn))
    ]
    trained = [
        accuracy([0.1, 0.1, 0.2, 0.8, 1.0], LOSS, noise=noise, seed=seed) for seed in (0, 1, 2) for noise in (0.0, 1.0)
    ]
    return {"coherence": pd.concat(frames), "accuracy": pd.concat(trained)}


def test_what_labels_redrawn_give_too_is_taken_off_a_comparison():
    """Past the transient, from step 10 on: 20 over 8 with own labels, 10 over 5 with labels redrawn."""
    measured = peak_real_over_random(with_redrawn([1, 1, 2, 10, 1], [1, 1, 2, 5, 1]), SETTINGS)
    peaks = measured["glyphs, net, sgd"]
    assert peaks.per_seed.tolist() == pytest.approx([math.log10(20 / 8) - math.log10(10 / 5)] * 3)
    assert peaks.note == "by itself +0.398, beyond the same of labels redrawn +0.097"
    # At equal loss the lead of own labels at step 100 is log10 2.5 and that of labels redrawn log10 2; both are 0 at
    # steps 10 and 1000, so that each mean is the same share of them.
    at_loss, alone = (
        peak_real_over_random(tables, SETTINGS)["glyphs, net, sgd, at equal training loss"]
        for tables in (
            with_redrawn([1, 1, 2, 10, 1], [1, 1, 2, 5, 1]),
            with_redrawn([math.nan] * 5, [math.nan] * 5),
        )
    )
    share = (math.log10(2.5) - math.log10(2)) / math.log10(2.5)
    assert at_loss.per_seed.tolist() == pytest.approx([share * one for one in alone.per_seed])


def test_a_lead_that_labels_redrawn_have_too_supports_nothing():
    same = with_redrawn(REAL, RANDOM)
    for where, one in peak_real_over_random(same, SETTINGS).items():
        assert one.per_seed.tolist() == pytest.approx([0.0] * 3), where
        assert part_of(where, one, 0.95).verdict == "inconclusive"


def test_a_claim_is_not_refuted_where_only_labels_redrawn_have_the_larger_lead():
    """Real labels peak higher, 20 over 8; with labels redrawn 80 over 8."""
    measured = peak_real_over_random(with_redrawn([1, 1, 2, 80, 1], [1, 1, 2, 8, 1]), SETTINGS)["glyphs, net, sgd"]
    part = part_of("", measured, 0.95)
    assert part.value == pytest.approx(math.log10(2.5) - 1)
    assert (part.verdict, part.reason) == ("inconclusive", "less than with labels redrawn, but not below 0 by itself")


def test_seeds_without_redrawn_labels_are_told_apart_from_those_without_a_peak():
    tables = with_redrawn([1, 1, 2, 10, 1], [1, 1, 2, 5, 1])
    coherence = tables["coherence"]
    tables["coherence"] = coherence[(coherence["group"] != REDRAWN) | (coherence["seed"] != 2)]
    part = part_of("", peak_real_over_random(tables, SETTINGS)["glyphs, net, sgd"], 0.95)
    assert part.reason == "2 of 3 seeds have a number: of the others labels redrawn were not measured"


def test_redrawn_labels_are_looked_at_until_the_fit_as_their_own_are():
    """Random labels are fitted at step 500; what comes after it does not count, here 900 with labels redrawn."""
    coherence = random_labels(redrawn=True)["coherence"]
    own = coherence[coherence["group"] == "train"]
    accuracy = own.assign(part="train", loss=math.nan, accuracy=(own["step"] >= 500).astype(float))
    later = (coherence["group"] == REDRAWN) & (coherence["step"] > 500)
    changed = coherence.assign(m_coherence=coherence["m_coherence"].mask(later, 900.0))
    before, after = (
        random_rises_and_falls(
            {"coherence": one, "accuracy": accuracy}, replace(SETTINGS, peak_window=2.5, first_step=10)
        )
        for one in (coherence, changed)
    )
    where = "glyphs, net, sgd, rises beyond 3"
    assert before[where].null.interval is not None
    assert before[where].null == after[where].null


def test_a_flat_curve_of_labels_redrawn_has_its_peak_at_step_0_which_counts_as_1():
    tables = random_labels(redrawn=True)
    coherence = tables["coherence"].assign(
        m_coherence=lambda rows: rows["m_coherence"].mask((rows["group"] == "train") & (rows["step"] < 10), 1.0)
    )
    accuracy = fits(coherence)
    where = "glyphs, net, sgd, peak later than with real labels"
    measured = random_rises_and_falls({"coherence": coherence, "accuracy": accuracy}, SETTINGS)[where]
    # Own labels peak at 500 after 100; with labels redrawn both are at 9 from step 0 on.
    assert measured.per_seed.tolist() == pytest.approx([math.log10(5)] * 2)


def test_a_peak_that_is_not_earlier_than_the_spacing_tells_refutes_nothing():
    """Random labels peak at step 10 and real ones at 20, one spacing later; labels redrawn at 160 and 10."""
    steps = (0, 5, 10, 20, 40, 80, 160, 320)

    def peaking(at, **names):
        return curve([9.0 if step == at else 1.0 for step in steps], steps=steps, **names)

    frames = [
        peaking(at, noise=noise, seed=seed).assign(group=group)
        for seed in (0, 1, 2)
        for noise, own, of_redrawn in ((0.0, 20, 10), (1.0, 10, 160))
        for group, at in (("train", own), (REDRAWN, of_redrawn))
    ]
    coherence = pd.concat(frames)
    tables = {"coherence": coherence, "accuracy": fits(coherence, seeds=(0, 1, 2))}
    measured = random_rises_and_falls(tables, SETTINGS)["glyphs, net, sgd, peak later than with real labels"]
    assert measured.per_seed.tolist() == pytest.approx([math.log10(10 / 20) - math.log10(160 / 10)] * 3)
    assert part_of("", measured, 0.95).verdict == "inconclusive"


def test_labels_redrawn_that_lead_the_other_way_add_nothing():
    """Real labels peak at 20 over 8; with labels redrawn at 2 over 80."""
    measured = peak_real_over_random(with_redrawn([1, 1, 2, 2, 1], [1, 1, 2, 80, 1]), SETTINGS)["glyphs, net, sgd"]
    assert measured.per_seed.tolist() == pytest.approx([math.log10(20 / 8)] * 3)


def test_a_peak_as_late_with_labels_redrawn_is_no_later_peak():
    tables = random_labels(redrawn=True)
    late = tables["coherence"]
    late.loc[(late["group"] == REDRAWN) & (late["noise"] == 1) & (late["step"] == 500), "m_coherence"] = 90.0
    measured = random_rises_and_falls(tables, SETTINGS)["glyphs, net, sgd, peak later than with real labels"]
    # Own labels peak at step 500 after 100, labels redrawn at 500 after 10, the first checkpoint of a flat curve.
    assert measured.per_seed.tolist() == pytest.approx([math.log10(500 / 100) - math.log10(500 / 10)] * 2)
    assert measured.resolution == pytest.approx(2 * math.log10(1000 / 100))


def test_label_sets_of_one_noise_are_never_pooled():
    """Labels drawn anew and labels permuted, each with all random: peaks 8 and 4 against 20 of real ones."""
    tables = {
        "coherence": pd.concat(
            curve(one, noise=noise, seed=seed).assign(labels=name)
            for seed in (0, 1)
            for name, noise, one in (
                ("clean", 0.0, REAL), ("drawn", 1.0, RANDOM), ("permuted", 1.0, [400, 50, 2, 4, 1])
            )
        ),
        "accuracy": pd.concat(
            accuracy([0.1, 0.1, 0.2, 0.8, 1.0], LOSS, noise=noise, seed=seed).assign(labels=name)
            for seed in (0, 1)
            for name, noise in (("clean", 0.0), ("drawn", 1.0), ("permuted", 1.0))
        ),
    }  # fmt: skip
    found = values(peak_real_over_random(tables, SETTINGS))
    where = "glyphs, net, sgd, noise 0 and 1"
    assert found[f"{where} (drawn)"] == pytest.approx([math.log10(20 / 8)] * 2)
    assert found[f"{where} (permuted)"] == pytest.approx([math.log10(20 / 4)] * 2)
    at_loss = [found[f"{where} ({name}), at equal training loss"] for name in ("drawn", "permuted")]
    assert at_loss[1][0] > at_loss[0][0] > 0
    assert {where for where in values(early_coherence_by_noise(tables, SETTINGS)) if "loss" not in where} == {
        f"glyphs, net, sgd, noise 0 over 1 ({name})" for name in ("drawn", "permuted")
    }
    risen = values(random_rises_and_falls(tables, SETTINGS))
    assert risen["glyphs, net, sgd, noise 1 (drawn), rises beyond 3"] == pytest.approx([math.log10(8 / 3)] * 2)
    assert risen["glyphs, net, sgd, noise 1 (permuted), rises beyond 3"] == pytest.approx([math.log10(4 / 3)] * 2)
    assert set(values(coherence_near_one_when_fitted(tables, SETTINGS))) == {
        "glyphs, net, sgd, noise 0", "glyphs, net, sgd, noise 1 (drawn)", "glyphs, net, sgd, noise 1 (permuted)",
    }  # fmt: skip


def test_near_one_is_read_at_the_last_checkpoint_that_fits_every_example():
    tables = {
        "coherence": pd.concat(
            [
                curve([100, 50, 2, 20, 1], seed=0),
                curve([100, 50, 2, 20, 9], seed=1),  # ends fitted, at 9
                curve([100, 50, 2, 20, 7], noise=1.0, seed=0),  # fitted at step 100, lost again
                curve([100, 50, 1, 20, 1], noise=1.0, seed=1),  # never fitted
                curve([1, 1, 1, 1, 1], optimizer="rm3"),
            ]
        ),
        "accuracy": pd.concat(
            [
                accuracy([0.1, 0.2, 0.5, 1.0, 1.0], seed=0),
                accuracy([0.1, 0.2, 0.5, 1.0, 1.0], seed=1),
                accuracy([0.1, 0.2, 0.5, 1.0, 0.9], noise=1.0, seed=0),
                accuracy([0.1, 0.2, 0.5, 0.9, 0.99], noise=1.0, seed=1),
            ]
        ),
    }
    measured = coherence_near_one_when_fitted(tables, SETTINGS)
    found = values(measured)
    assert found["glyphs, net, sgd, noise 0"] == pytest.approx([math.log10(3), math.log10(3) - math.log10(9)])
    assert found["glyphs, net, sgd, noise 1"] == pytest.approx([math.log10(3 / 20), math.nan], nan_ok=True)
    assert len(found) == 2
    assert part_of("", measured["glyphs, net, sgd, noise 1"], 0.95).verdict == "inconclusive"


def test_a_curve_that_was_never_far_from_one_does_not_show_that_it_is_near_one_when_fitted():
    tables = {
        "coherence": pd.concat([curve([1, 1, 1.5, 2, 1], seed=seed) for seed in (0, 1)]),
        "accuracy": pd.concat([accuracy([0.1, 0.2, 0.5, 1.0, 1.0], seed=seed) for seed in (0, 1)]),
    }
    (part,) = (part_of("", one, 0.95) for one in coherence_near_one_when_fitted(tables, SETTINGS).values())
    assert part.verdict == "inconclusive"
    assert part.reason == (
        "0 of 2 seeds have a number: the others do not fit all their labels, or have no peak beyond 3"
    )


def test_the_initial_drop_begins_near_m_and_is_beyond_what_another_checkpoint_would_show():
    parts = drops_at_the_start({"coherence": curve([400, 5, 20, 2, 1])}, SETTINGS)  # of 500; steps 0, 5, 10
    found = values(parts)
    where = "glyphs, net, sgd, noise 0"
    assert found[f"{where}, from near m"] == pytest.approx([math.log10(3) - math.log10(500 / 400)])
    # From 400 down to 5, from 5 to 20 and from 20 to 5; the mean of these is taken off. Below 10 by a factor of 2.
    drops = [math.log10(400 / 5), math.log10(5 / 20), math.log10(20 / 5)]
    assert found[f"{where}, drops to below 10"] == pytest.approx([min(drops[0] - sum(drops) / 3, math.log10(2))])
    assert parts[f"{where}, from near m"].null.rule == "not known: needs two seeds"


def test_a_least_value_that_is_step_0_itself_is_no_drop():
    found = values(drops_at_the_start({"coherence": curve([2, 5, 20, 2, 1])}, SETTINGS))
    assert found["glyphs, net, sgd, noise 0, drops to below 10"][0] < 0
    assert found["glyphs, net, sgd, noise 0, from near m"] == pytest.approx([math.log10(3) - math.log10(250)])


def test_a_drop_that_ends_above_10_is_not_deep_enough():
    found = values(drops_at_the_start({"coherence": curve([400, 40, 20, 2, 1])}, SETTINGS))
    assert found["glyphs, net, sgd, noise 0, drops to below 10"] == pytest.approx([-math.log10(2)])


def test_the_stretch_of_the_initial_drop_and_its_depth_are_settings():
    """Steps 0, 5, 10 and 100: from 400 down to 2 of these, and below 4 by a factor of 2."""
    settings = replace(SETTINGS, drop_steps=100, drop_below=4)
    found = values(drops_at_the_start({"coherence": curve([400, 5, 20, 2, 1])}, settings))
    assert found["glyphs, net, sgd, noise 0, drops to below 4"] == pytest.approx([math.log10(2)])


def test_the_losses_at_which_curves_are_compared_are_settings():
    """Real labels have the same losses at the same steps and 2.5 times the m-coherence at step 100, where it is 0.6."""
    coherence = pd.concat([curve([400, 50, 2, 20, 1]), curve([400, 50, 2, 8, 1], noise=1.0)])
    losses = pd.concat([accuracy([0.1, 0.1, 0.2, 0.8, 1.0], LOSS, noise=noise) for noise in (0.0, 1.0)])
    tables = {"coherence": coherence, "accuracy": losses}
    settings = replace(SETTINGS, loss_levels=[0.25, 0.3], early_loss_levels=[0.3])  # 0.5 and 0.6 of 2.0
    lead = math.log10(2.5)
    for function, where, expected in (
        (peak_real_over_random, "glyphs, net, sgd", (lead + lead * 0.4 / 0.5) / 2),  # 0.5 is a fifth of the way to 0.1
        (early_coherence_by_noise, "glyphs, net, sgd, noise 0 over 1", lead),
    ):
        part = function(tables, settings)[f"{where}, at equal training loss"]
        assert part.per_seed.tolist() == pytest.approx([expected])
    assert part.note == "at 0.3 of the loss before training"


def test_convolutions_count_by_their_geometric_mean_and_the_steps_that_they_are_ahead():
    layers = {
        "model": ("", REAL),  # whose transient ends at step 10
        "conv1": ("Conv2d", [9, 9, 4, 16, 1]),
        "norm": ("BatchNorm2d", [99, 99, 99, 99, 99]),
        "conv2": ("Conv2d", [9, 9, 4, 1, 4]),  # geometric means 4, 4, 2
        "hidden": ("Linear", [99, 99, 99, 99, 99]),
        "output": ("Linear", [1, 1, 5, 3, 5]),  # ahead at step 100 alone, which stands for 90 of 990 steps
    }
    rows = [curve(one, layer=name, layer_type=kind) for name, (kind, one) in layers.items()]
    found = values(convolutions_above_last_layer({"coherence": pd.concat(rows)}, SETTINGS))
    assert found == {"glyphs, net, sgd, noise 0": pytest.approx([90 / 990 - 0.5])}


def test_convolutions_that_lead_with_redrawn_labels_too_owe_it_to_their_shape():
    layers = {"model": ("", [1] * 5), "conv": ("Conv2d", [9] * 5), "output": ("Linear", [1] * 5)}
    rows = pd.concat(
        curve(one, layer=name, layer_type=kind, seed=seed) for name, (kind, one) in layers.items() for seed in (0, 1)
    )
    (alone,) = convolutions_above_last_layer({"coherence": rows}, SETTINGS).values()
    assert alone.per_seed.tolist() == [0.5, 0.5]
    assert alone.null.rule.startswith("0 (layers that change places)")
    both = pd.concat([rows, rows.assign(group=REDRAWN)])
    (beside,) = convolutions_above_last_layer({"coherence": both}, SETTINGS).values()
    assert beside.null.interval == (0.5, 0.5)
    assert part_of("", beside, 0.95).reason == "its null is above 0 as well"


def test_a_network_without_convolutions_does_not_speak_to_them():
    rows = pd.concat([curve([1] * 5, layer=name, layer_type="Linear") for name in ("hidden", "output")])
    rows = pd.concat([rows, curve([1] * 5)])
    assert convolutions_above_last_layer({"coherence": rows}, SETTINGS) == {}


def test_alexnet_is_compared_with_resnet_at_the_peaks_past_the_transient_on_random_labels():
    rows = [
        curve([500, 500, 2, 30, 1], model="alex", noise=1.0, seed=0),
        curve([500, 500, 2, 6, 1], model="alex", noise=1.0, seed=1),
        curve([900, 900, 1, 2, 1], noise=1.0, seed=0),
        curve([900, 900, 1, 4, 1], noise=1.0, seed=1),
        curve([900, 900, 900, 900, 900], noise=0.0, seed=0),
    ]
    coherence = pd.concat(rows)
    tables = {"coherence": coherence, "accuracy": fits(coherence)}
    expected = [math.log10(5), math.log10(1.5 / 3)]
    assert values(alexnet_coherent_on_random_labels(tables, SETTINGS)) == {
        "glyphs, sgd, alex over net": pytest.approx(expected)
    }
    # A value after the fit is no peak: the ResNet has fitted at step 100.
    later = coherence.assign(m_coherence=coherence["m_coherence"].where(coherence["step"] < 1000, 70.0))
    early_fit = pd.concat(fits(later[later["step"] <= 100]).assign(model=model) for model in ("alex", "net"))
    assert values(alexnet_coherent_on_random_labels({"coherence": later, "accuracy": early_fit}, SETTINGS)) == {
        "glyphs, sgd, alex over net": pytest.approx(expected)
    }


def test_networks_are_compared_at_their_highest_rates_and_at_their_next():
    """A rate is the network's own: the lower one of the AlexNet is another entry than that of the ResNet."""
    rates = {"sgd": {"alex": 0.02, "net": 0.1}, "slow": {"net": 0.01}, "slowest": {"alex": 0.001}}
    methods = dict.fromkeys(rates, "sgd")
    coherence = pd.concat(
        [
            curve([500, 500, 2, 60, 1], model="alex", noise=1.0),
            curve([500, 500, 2, 30, 1], model="alex", noise=1.0, optimizer="slowest"),
            curve([900, 900, 1, 4, 1], noise=1.0),
            curve([900, 900, 1, 2, 1], noise=1.0, optimizer="slow"),
        ]
    )
    tables = {"coherence": coherence, "accuracy": fits(coherence)}
    found = values(alexnet_coherent_on_random_labels(tables, replace(SETTINGS, rates=rates, methods=methods)))
    assert found == {
        "glyphs, sgd, alex over net": pytest.approx([math.log10(15 / 3)]),
        "glyphs, slowest and slow, alex over net": pytest.approx([math.log10(15 / 3)]),
    }


def sizes(own=50, **curves):
    frames = [
        curve(values).assign(m=int(m[1:]), own_sample=int(m[1:]) == own).drop(columns=["group", "layer"])
        for m, values in curves.items()
    ]
    return {"sample_size": pd.concat(frames)}


@pytest.mark.parametrize("own", [50, 100])
def test_a_sample_twice_as_large_keeps_the_shape_and_doubles_what_is_far_above_one(own):
    table = sizes(own=own, m50=[1, 9, 20, 40, 5], m100=[2, 18, 40, 80, 10])
    found = values(shape_kept_at_other_sizes(table, SETTINGS))
    where = f"glyphs, net, noise_0, sgd, m = {150 - own} against {own}"
    assert found == {
        f"{where}, shape": pytest.approx([0.1]),
        f"{where}, grows with m": pytest.approx([math.log10(1.5)]),
    }


def test_near_the_orthogonal_limit_nothing_is_said_of_growth_and_another_shape_is_seen():
    settings = replace(SETTINGS, first_step=10)
    found = values(shape_kept_at_other_sizes(sizes(m50=[1, 1, 1, 2, 4], m100=[1, 1, 4, 2, 1]), settings))
    assert found == {"glyphs, net, noise_0, sgd, m = 100 against 50, shape": pytest.approx([-1.9])}


def test_the_null_of_a_shape_is_that_of_curves_which_do_not_lie_over_each_other():
    """Simulated: curves of another run, as smooth, correlate as the shifted ones do; the null holds their mean."""
    draw = np.random.default_rng(3)

    def wave():
        return 10 ** np.convolve(draw.normal(size=42), np.ones(3) / 3, mode="valid")

    steps = range(40)
    frames = []
    for seed in range(5):
        shared = wave()
        for m in (50, 100):
            names = {"m": m, "own_sample": m == 50}
            frames.append(
                curve(shared * m / 50, seed=seed, steps=steps).assign(**names).drop(columns=["group", "layer"])
            )
    (shape,) = (
        one for where, one in shape_kept_at_other_sizes({"sample_size": pd.concat(frames)}, SETTINGS).items()
        if where.endswith("shape")
    )  # fmt: skip
    assert shape.per_seed.tolist() == pytest.approx([0.1] * 5)
    unrelated = [
        np.mean([np.corrcoef(np.log10(wave()), np.log10(wave()))[0, 1] for _ in range(5)]) - 0.9 for _ in range(200)
    ]
    low, high = shape.null.interval
    assert low < np.quantile(unrelated, 0.1) < np.quantile(unrelated, 0.9) < high < 0


def test_widths_are_compared_with_the_next_at_the_peaks_past_the_transient():
    rows = [
        curve(course, seed=seed)
        .rename(columns={"m_coherence": "smoothed_m_coherence"})
        .assign(setting=setting, value=value, past_transient=np.array(STEPS) >= 10)
        for setting, value, seed, course in [
            ("width", 32.0, 0, [90, 90, 4, 2, 1]),
            ("width", 32.0, 1, [90, 90, 1, 8, 1]),
            ("width", 128.0, 0, [1, 1, 12, 2, 1]),
            ("width", 128.0, 1, [1, 1, 2, 4, 1]),
            ("width", 512.0, 0, [1, 1, 12, 2, 1]),
            ("width", 512.0, 1, [1, 1, 4, 8, 1]),
            ("depth", 1.0, 0, [1, 1, 50, 2, 1]),
        ]
    ]
    found = values(wider_more_coherent({"sweep": pd.concat(rows)}, SETTINGS))
    assert found == {
        "glyphs, noise_0, sgd, width 128 over 32": pytest.approx([math.log10(3), math.log10(1 / 2)]),
        "glyphs, noise_0, sgd, width 512 over 128": pytest.approx([0, math.log10(2)]),
    }
