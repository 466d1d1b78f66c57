"""The claims on label noise on tables written out by hand: what supports them, what refutes them, what is left out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mcoherence.claims.noise import (
    LATE,
    best_beats_last,
    clean_test_beats_noisy_train,
    contributions_cross,
    control_narrows_less,
    heldout_parts_from_train,
    pristine_agree_more_early,
    winsorising_hurts_fitting,
    winsorising_stops_memorising,
)
from mcoherence.claims.settings import ClaimSettings
from mcoherence.claims.verdicts import part_of

METHODS = {"sgd": "sgd", "rm3": "rm3", "ra3": "ra3", "c0": "winsorized", "c2": "winsorized", "c8": "winsorized"}
SETTINGS = ClaimSettings(confidence=0.95, first_step=2, target_accuracy=0.9, methods=METHODS, robust=["rm3"])
SEEDS = (0, 1, 2)
WOBBLE = {0: 0.0, 1: 0.001, 2: -0.001}
RUN = {"dataset": "d", "model": "net", "labels": "half", "noise": 0.5, "subset": "full"}


def verdicts(parts):
    return {where: part_of(where, measured, SETTINGS.confidence).verdict for where, measured in parts.items()}


def overfit_rows(final, noise=0.5):
    """{entry: (c, train accuracy, test accuracy)} at the last step 9; as at chance, equal ones at step 0."""
    return pd.DataFrame(
        [
            RUN
            | {"noise": noise, "optimizer": name, "seed": seed, "step": step, "c": c, "alike": -1 if np.isnan(c) else 0}
            | {
                "pristine_share": 0.55,
                "test_accuracy": test,
                "train_accuracy": (train if step else test) + WOBBLE[seed],
            }
            | {"overfit": train + WOBBLE[seed] - (noise / 10 + (1 - noise) * test)}
            for name, (c, train, test) in final.items()
            for seed in SEEDS
            for step in (0, 9)
        ]
    )


AS_IN_THE_PAPER = {"c0": (0.0, 1.0, 0.6), "c2": (2.0, 0.54, 0.9), "c8": (8.0, 0.5, 0.9), "rm3": (np.nan, 0.55, 0.9)}


def test_winsorising_as_in_the_paper():
    parts = winsorising_stops_memorising({"overfit": overfit_rows(AS_IN_THE_PAPER)}, SETTINGS)
    assert set(verdicts(parts).values()) == {"supported"}
    where = "d, net, noise 0.5"
    assert parts[f"{where}, c 2, training accuracy below the proper one"].per_seed[0] == pytest.approx(0.01 + 0.02)
    # overfit 1 - (0.05 + 0.3) = 0.65 at c = 0 and 0.54 - (0.05 + 0.45) = 0.04 at c = 2
    assert parts[f"{where}, c 0 to 2, overfit"].per_seed[0] == pytest.approx(0.61)
    assert set(parts) == {
        *(f"{where}, c {c}, training accuracy below the proper one" for c in (2, 8)),
        *(f"{where}, c {step}, overfit" for step in ("0 to 2", "2 to 8")),
    }


@pytest.mark.parametrize(
    ("change", "refuted"),
    [
        ({"c2": (2.0, 0.6, 0.9)}, "c 2, training accuracy below the proper one"),
        ({"c8": (8.0, 0.55, 0.85)}, "c 2 to 8, overfit"),  # 0.55 - (0.05 + 0.425) is 0.035 more than 0.04
    ],
)
def test_memorising_or_more_overfit_refutes(change, refuted):
    tested = verdicts(winsorising_stops_memorising({"overfit": overfit_rows(AS_IN_THE_PAPER | change)}, SETTINGS))
    assert tested[f"d, net, noise 0.5, {refuted}"] == "not supported"


def test_without_noise_there_is_no_proper_accuracy_to_stay_below():
    parts = winsorising_stops_memorising({"overfit": overfit_rows(AS_IN_THE_PAPER, noise=0.0)}, SETTINGS)
    assert set(parts) == {"d, net, noise 0, c 0 to 2, overfit", "d, net, noise 0, c 2 to 8, overfit"}


def test_winsorising_hurts_fitting_by_the_largest_c():
    (part,) = winsorising_hurts_fitting({"overfit": overfit_rows(AS_IN_THE_PAPER)}, SETTINGS).values()
    assert part.per_seed.to_numpy() == pytest.approx(0.5)
    equal = AS_IN_THE_PAPER | {"c8": (8.0, 1.0, 0.9)}
    (verdict,) = verdicts(winsorising_hurts_fitting({"overfit": overfit_rows(equal)}, SETTINGS)).values()
    assert verdict == "inconclusive"  # a tie
    assert winsorising_hurts_fitting({"overfit": overfit_rows({"c2": (2.0, 0.5, 0.9)})}, SETTINGS) == {}


def test_clean_test_accuracy_of_methods_that_do_not_memorise():
    parts = clean_test_beats_noisy_train({"overfit": overfit_rows(AS_IN_THE_PAPER)}, SETTINGS)
    assert set(parts) == {f"d, net, {name}, noise 0.5" for name in ("c2", "c8", "rm3")}
    assert parts["d, net, rm3, noise 0.5"].per_seed[0] == pytest.approx(0.35)
    memorising = AS_IN_THE_PAPER | {"rm3": (np.nan, 1.0, 0.6)}
    tested = verdicts(clean_test_beats_noisy_train({"overfit": overfit_rows(memorising)}, SETTINGS))
    assert tested["d, net, rm3, noise 0.5"] == "not supported"
    for noise in (0.25, 1.0):
        assert clean_test_beats_noisy_train({"overfit": overfit_rows(AS_IN_THE_PAPER, noise)}, SETTINGS) == {}


def test_the_noise_from_which_methods_are_tested_is_a_setting():
    table = overfit_rows(AS_IN_THE_PAPER, 0.25)
    found = clean_test_beats_noisy_train({"overfit": table}, replace(SETTINGS, least_noise=0.25))
    assert set(found) == {f"d, net, {name}, noise 0.25" for name in ("c2", "c8", "rm3")}


def test_networks_that_are_not_trained_are_what_clean_test_accuracy_is_held_against():
    table = overfit_rows(AS_IN_THE_PAPER)
    at_start = table["step"] == 0
    table.loc[at_start, "test_accuracy"] = 0.1 + table["seed"].map({0: 0.0, 1: 0.01, 2: 0.02})
    table.loc[at_start, "train_accuracy"] = 0.1
    null = clean_test_beats_noisy_train({"overfit": table}, SETTINGS)["d, net, rm3, noise 0.5"].null
    half = 4.302653 * 0.01 * np.sqrt(2 / 3)  # of the mean of three more of 0, 0.01 and 0.02
    assert null.interval == pytest.approx((0.01 - half, 0.01 + half), rel=1e-6)


def test_not_memorising_is_held_against_the_same_optimiser_without_clipping():
    """A network that learns nothing stays below the proper accuracy too, and so says nothing where c = 0 does so."""
    where = "d, net, noise 0.5, c 2, training accuracy below the proper one"
    parts = winsorising_stops_memorising({"overfit": overfit_rows(AS_IN_THE_PAPER)}, SETTINGS)
    half = 4.302653 * 0.001 * np.sqrt(2 / 3)  # the wobble is 0, 0.001, -0.001
    assert parts[where].null.interval == pytest.approx((0.57 - 1.0 - half, 0.57 - 1.0 + half), rel=1e-6)
    underfit = AS_IN_THE_PAPER | {"c0": (0.0, 0.3, 0.3)}
    parts = winsorising_stops_memorising({"overfit": overfit_rows(underfit)}, SETTINGS)
    assert part_of(where, parts[where], 0.95).reason == "its null is above 0 as well"
    alone = {name: AS_IN_THE_PAPER[name] for name in ("c2", "c8")}
    parts = winsorising_stops_memorising({"overfit": overfit_rows(alone)}, SETTINGS)
    assert part_of(where, parts[where], 0.95).reason == "its null is not known: needs runs with c = 0"


def test_every_run_counts_with_its_own_last_step():
    table = overfit_rows(AS_IN_THE_PAPER)
    table.loc[(table["optimizer"] == "c8") & (table["step"] == 9), "step"] = 3
    (part,) = winsorising_hurts_fitting({"overfit": table}, SETTINGS).values()
    assert part.per_seed.to_numpy() == pytest.approx(0.5)


def accuracy_rows(final):
    """{entry: (train, test, corrupt) accuracy} at the last step."""
    return pd.DataFrame(
        [
            RUN | {"optimizer": name, "seed": seed, "step": 9, "part": part, "accuracy": value + WOBBLE[seed]}
            for name, values in final.items()
            for part, value in zip(("train", "test", "corrupt"), values, strict=True)
            for seed in SEEDS
        ]
    )


def test_the_control_narrows_less_than_the_median():
    parts = control_narrows_less(
        {"accuracy": accuracy_rows({"rm3": (0.6, 0.8, 0.1), "ra3": (0.9, 0.7, 0.8)})}, SETTINGS
    )
    where = "d, net, ra3 against rm3, noise 0.5"
    assert parts[f"{where}, gap"].per_seed[0] == pytest.approx(0.2 - (-0.2))
    assert parts[f"{where}, corrupt accuracy"].per_seed[0] == pytest.approx(0.7)
    alike = control_narrows_less(
        {"accuracy": accuracy_rows({"rm3": (0.9, 0.7, 0.8), "ra3": (0.9, 0.7, 0.8)})}, SETTINGS
    )
    assert set(verdicts(alike).values()) == {"inconclusive"}  # a tie
    assert control_narrows_less({"accuracy": accuracy_rows({"rm3": (0.6, 0.8, 0.1)})}, SETTINGS) == {}


def contribution_tables(f_pristine, null=0.5):
    """f^p of SGD at steps 0, 2, 4, 20, 40, the same null world always; half-way is step 4, fitted step 20."""
    steps, squared = (0, 2, 4, 20, 40), (4.0, 4.0, 4.0, 2.0, 2.0)
    rows = [
        RUN
        | {"optimizer": "sgd", "seed": seed, "step": step, "epoch": step / 2, "world": world, "sq_norm_of_sum": total}
        | {"f_pristine": share + WOBBLE[seed], "f_corrupt": 1 - share - WOBBLE[seed]}
        for seed in SEEDS
        for world, shares in (("measured", f_pristine), ("null 1", [null] * 5), ("null 2", [null] * 5))
        for step, share, total in zip(steps, shares, squared, strict=True)
    ]
    fitted = [
        RUN | {"optimizer": "sgd", "seed": seed, "step": step, "part": "pristine", "accuracy": accuracy}
        for seed in SEEDS
        for step, accuracy in zip(steps, (0.1, 0.3, 0.5, 0.95, 1.0), strict=True)
    ]
    return {"contributions": pd.DataFrame(rows), "accuracy": pd.DataFrame(fitted)}


def test_contributions_cross_as_in_the_paper():
    parts = contributions_cross(contribution_tables([0.7, 0.8, 0.6, 0.2, 0.2]), SETTINGS)
    assert set(verdicts(parts).values()) == {"supported"}
    where = "d, net, sgd, noise 0.5"
    # early: steps 0, 2 and 4, where |S|^2 is equal: the mean of (0.4 + 0.6) / 2 and (0.6 + 0.2) / 2
    assert parts[f"{where}, early, pristine over corrupt"].per_seed[0] == pytest.approx(0.45)
    assert parts[f"{where}, late, corrupt over pristine"].per_seed[0] == pytest.approx(0.6)


def test_what_group_sizes_alone_would_give_is_not_beyond_the_null_worlds():
    """In null worlds pristine examples, the larger group, lead by 0.4; so do the measured ones late, and less early."""
    parts = contributions_cross(contribution_tables([0.5, 0.8, 0.6, 0.7, 0.7], null=0.7), SETTINGS)
    tested = verdicts(parts)
    early, late = (f"d, net, sgd, noise 0.5, {what}" for what in ("early, pristine over corrupt", LATE))
    # (0 + 0.6) / 2 and (0.6 + 0.2) / 2 have the mean 0.35
    assert parts[early].per_seed[0] == pytest.approx(0.35 - 0.4)
    assert parts[early].null.interval == pytest.approx((0, 0))  # a null world less the other
    assert parts[late].per_seed[0] == pytest.approx(-0.4)
    assert parts[late].null.interval == pytest.approx((-0.4, -0.4), abs=0.01)  # the lead itself is the smaller one
    # Late the lead is what shuffled tags give too, which refutes nothing; early it is below that.
    assert tested == {early: "not supported", late: "inconclusive"}
    assert parts[early].note == "the lead alone +0.350, in the null worlds +0.400"


def test_one_null_world_is_too_few_to_tell():
    tables = contribution_tables([0.7, 0.8, 0.6, 0.2, 0.2])
    tables["contributions"] = tables["contributions"].query("world != 'null 2'")
    tested = {where: part_of(where, one, 0.95) for where, one in contributions_cross(tables, SETTINGS).items()}
    assert {part.reason for part in tested.values()} == {"its null is not known: needs two null worlds"}
    assert {part.verdict for part in tested.values()} == {"inconclusive"}


def test_contributions_count_by_what_they_do_to_the_loss():
    tables = contribution_tables([0.7, 0.8, 0.6, 0.2, 0.2])
    table = tables["contributions"]
    table.loc[(table["step"] == 40), "sq_norm_of_sum"] = 0.0
    table.loc[(table["step"] == 40), ["f_pristine", "f_corrupt"]] = [50.0, -49.0]  # of next to nothing
    parts = contributions_cross(tables, SETTINGS)
    assert parts["d, net, sgd, noise 0.5, late, corrupt over pristine"].per_seed[0] == pytest.approx(0.6)


def test_pristine_examples_that_are_never_fitted_leave_the_late_parts_open():
    tables = contribution_tables([0.7, 0.8, 0.6, 0.2, 0.2])
    tables["accuracy"]["accuracy"] = tables["accuracy"]["accuracy"].clip(upper=0.8)
    tested = verdicts(contributions_cross(tables, SETTINGS))
    assert {verdict for where, verdict in tested.items() if "late" in where} == {"inconclusive"}
    assert {verdict for where, verdict in tested.items() if "early" in where} == {"supported"}


def alignment_rows(curves, noise):
    """{group: alignment at steps 0, 2, 4, 90}, at epochs 0, 1, 2, 45; one seed is like the other."""
    steps = ((0, 0.0), (2, 1.0), (4, 2.0), (90, 45.0))
    return pd.DataFrame(
        [
            RUN
            | {"noise": noise, "optimizer": "sgd", "seed": seed, "layer": "model", "step": step, "epoch": epoch}
            | {"group": group, "pairwise_alignment": value}
            for group, values in curves.items()
            for (step, epoch), value in zip(steps, values, strict=True)
            for seed in SEEDS
        ]
    )


def half_way_at_step_4(noise=0.5):
    """Accuracy of SGD on pristine examples, fitted by step 90."""
    names = {"optimizer": "sgd", "noise": noise, "part": "pristine"}
    return pd.DataFrame(
        [
            RUN | names | {"seed": seed, "step": step, "accuracy": accuracy}
            for seed in SEEDS
            for step, accuracy in ((0, 0.1), (4, 0.5), (90, 0.95))
        ]
    )


def test_pristine_examples_agree_more_early_and_less_once_they_are_fitted():
    """Early are the steps until half-way, 0, 2 and 4; pristine examples are fitted by step 90."""
    coherence = alignment_rows({"pristine": (0.3, 0.3, 0.5, 0.1), "corrupt": (0, 0.1, 0.1, 0.4)}, noise=0.5)
    parts = pristine_agree_more_early({"coherence": coherence, "accuracy": half_way_at_step_4()}, SETTINGS)
    assert {where: one.per_seed.tolist() for where, one in parts.items()} == {
        "d, net, sgd, noise 0.5, early, pristine over corrupt": pytest.approx([0.3] * 3),
        "d, net, sgd, noise 0.5, late, corrupt over pristine": pytest.approx([0.3] * 3),
    }
    clean = {"coherence": coherence.assign(noise=0.0), "accuracy": half_way_at_step_4()}
    assert pristine_agree_more_early(clean, SETTINGS) == {}


def test_heldout_examples_part_from_training_examples_between_the_early_steps_and_the_end():
    coherence = alignment_rows({"train": (0.6, 0.5, 0.7, 0.1), "heldout": (0.5, 0.4, 0.6, 0.7)}, noise=0.0)
    accuracy = half_way_at_step_4(noise=0.0)
    (part,) = heldout_parts_from_train({"coherence": coherence, "accuracy": accuracy}, SETTINGS).values()
    # 0.1 apart early, 0.6 apart late, in whichever direction
    assert part.per_seed.tolist() == pytest.approx([0.6 - 0.1] * 3)
    random = {"coherence": coherence.assign(noise=1.0), "accuracy": accuracy}
    assert heldout_parts_from_train(random, SETTINGS) == {}


def test_scatter_about_equality_is_no_distance():
    """Late the held-out examples are off by +0.3, -0.3 and 0: as absolute values 0.2 in the mean, here not above 0."""
    coherence = alignment_rows({"train": 4 * (0.5,), "heldout": 4 * (0.5,)}, noise=0.0)
    off = coherence["seed"].map({0: 0.3, 1: -0.3, 2: 0.0})
    late = (coherence["step"] == 90) & (coherence["group"] == "heldout")
    coherence.loc[late, "pairwise_alignment"] += off[late]
    tables = {"coherence": coherence, "accuracy": half_way_at_step_4(noise=0.0)}
    (part,) = heldout_parts_from_train(tables, SETTINGS).values()
    assert part.per_seed.tolist() == pytest.approx([-0.3, -0.3, 0.0])  # against the sign of the other two


def test_the_best_checkpoint_is_chosen_by_the_other_seeds():
    curves = {0: (0.2, 0.9, 0.5, 0.6), 1: (0.2, 0.5, 0.8, 0.6), 2: (0.2, 0.7, 0.8, 0.6)}
    rows = [
        RUN | {"optimizer": name, "noise": noise, "seed": seed, "step": step, "part": "test", "accuracy": accuracy}
        for name, noise in (("sgd", 0.5), ("sgd", 0.0), ("sgd", 1.0), ("rm3", 0.5))
        for seed, curve in curves.items()
        for step, accuracy in enumerate(curve)
    ]
    (part,) = best_beats_last({"accuracy": pd.DataFrame(rows)}, SETTINGS).values()
    # the others of seed 0 are best at step 2 (0.8), those of seed 1 at step 1 (0.8), those of seed 2 at step 1 (0.7)
    assert part.per_seed.tolist() == pytest.approx([0.5 - 0.6, 0.5 - 0.6, 0.7 - 0.6])
    assert part.note == "each run's own best, which is optimistic, +0.233"
