"""What the plan says of claims: the tables that it asks them on, and its lines."""

from pathlib import Path

import pytest
from snakemake.utils import validate

from mcoherence.audit.claims_ahead import claims_ahead, describe_claims
from mcoherence.audit.planned_tables import KNOWN, planned_tables
from mcoherence.claims.registry import claims_of
from mcoherence.study.catalogue import EXPERIMENTS, TABLES, with_entries_made
from mcoherence.study.config_files import study_config
from mcoherence.tables.dictionary import columns_of, dictionary

ROOT = Path(__file__).parents[3]
CLAIMS = claims_of("mcoherence.claims")


def config_of(*studies, **arguments):
    files = [ROOT / f"studies/{name}.yaml" for name in studies]
    config = study_config(ROOT / "config.yaml", files, {"study": "s", **arguments}).config
    validate(config, str(ROOT / "schemas/config.schema.json"))
    return with_entries_made(config)


def test_every_table_that_a_claim_reads_can_be_had_ahead():
    read = {name for claim in CLAIMS for name in claim.tables}
    assert read <= KNOWN <= TABLES.keys()


def test_a_table_ahead_has_every_column_that_is_its_own():
    start = {"adversarial_start", "bound"}  # which no claim reads
    sizes = {"datasets": ["digits"], "models": ["mlp"], "labels": ["clean"], "optimizer": "sgd", "seeds": [0]}
    config = config_of(
        "difficulty_digits", "width_depth_digits", experiments=[name for name in EXPERIMENTS if name not in start],
        sample_size={**sizes, "sizes": [20]}, label_noise={"labels": ["clean", "half_random"]},
        median_scale={
            "datasets": ["digits"], "models": ["mlp"], "labels": "half_random", "optimizers": ["sgd", "m3"],
            "reference_optimizer": "sgd", "batches": [{"batch_size": 30, "updates": 9}],
            "tuning_seeds": [0], "seeds": [1],
        },
        label_errors={**sizes, "labels": ["half_random"]},
    )  # fmt: skip
    tables = planned_tables(config, sorted(KNOWN))
    assert tables.keys() == KNOWN
    for name, table in tables.items():
        own = columns_of(name).keys() - columns_of("accuracy").keys()
        assert own <= set(table), name
        assert len(dictionary([(name, table)])) == len(table.columns)  # and none that nobody has described
        assert len(table) > 0, name


def test_the_study_on_winsorised_sgd_can_speak_to_the_claims_that_it_was_made_for():
    asked = [claim for claim in CLAIMS if claim.id in ("P11", "P12", "P13", "P16", "P18", "E12")]
    missing = {claim.id: claim.missing for claim in claims_ahead(config_of("mnist"), asked)}
    assert [missing[name] for name in ("P11", "P12", "P16", "E12")] == [None] * 4
    assert missing["P13"].startswith(
        "needs runs of SGD, and of M3 or RM3, at the same noise levels; this study has noise"
    )
    assert missing["P18"] == "needs the experiment toy, which this study does not make"


@pytest.mark.parametrize(("labels", "able"), [(["clean", "all_random"], True), (["clean"], False)])
def test_the_lines_follow_from_the_runs(labels, able):
    noise = {"models": ["mlp"], "labels": labels, "optimizers": ["sgd"], "seeds": [0, 1]}
    first, *others = describe_claims(config_of(experiments=["label_noise"], label_noise=noise)).splitlines()
    assert first.startswith("Claims that it can speak to, unless runs diverge: ")
    assert ("P1," in first) == able
    assert others[0] == "Claims that it cannot speak to:"
    assert "  P15, E4, E5, E6, E7: needs the experiment easy_hard, which this study does not make." in others
    lines = [line for line in others if line.startswith("  P1:") or line.startswith("  P1,")]
    assert bool(lines) != able
