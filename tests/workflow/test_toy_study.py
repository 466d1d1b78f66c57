"""studies/toy.yaml, whole, as from a fresh clone: nothing is trained, and the report is made all the same."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mcoherence.audit.claims_ahead import claims_ahead
from mcoherence.claims.registry import claims_of

STUDY = Path(__file__).parents[2] / "studies/toy.yaml"


@pytest.fixture(scope="module")
def workflow(tmp_path_factory, new_workflow):
    workflow = new_workflow(tmp_path_factory.mktemp("toy"))
    shutil.copy2(STUDY, workflow.folder / "miniature.yaml")  # the file that the tests' command names
    assert set(workflow.planned()) == {
        "tabulate", "check_claims", "draw_toy_regression", "describe_study", "page", "report",
    }  # fmt: skip
    answer = workflow.run("--cores", "2", "--quiet", "reason")
    assert answer.returncode == 0, answer.stdout[-5000:]
    (workflow.folder / "said").write_text(answer.stdout)
    return workflow


@pytest.fixture(scope="module")
def results(workflow):
    return workflow.folder / "results/toy"


def test_a_run_is_told_in_a_line_a_job_and_ends_with_where_to_look(workflow):
    said = (workflow.folder / "said").read_text().splitlines()
    on_the_way = re.compile(r"\S+ \d+ % of the work done, .+; .+")  # every 30 seconds: told where a machine is slow
    first, planning, counts, *jobs, last = [line for line in said if not on_the_way.fullmatch(line)]
    assert "profile" in first  # Snakemake's, before it reads the workflow
    assert planning.endswith(" Finding out which jobs are to run ...")
    total = len(jobs)
    assert re.fullmatch(rf"\S+ {total} jobs: 1 tabulate, 1 draw, {total - 2} others", counts), "\n".join(said)
    told = [re.fullmatch(rf"\S+ \[(\d)/{total}\] (.+) \(.*s\)", line) for line in jobs]
    assert [one and int(one[1]) for one in told] == list(range(1, total + 1))
    assert told[-1][2] == "The study is complete"
    assert re.fullmatch(r"This start took \d+ min \d+ s: open results/toy/index.html", last)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_table_ends_at_the_exact_values(results, form):
    read = pd.read_csv if form == "csv" else pd.read_parquet
    table = read(results / f"tables/toy.{form}").query("trained_on == 4 and measured == 4")
    end = table[table["step"] == 2000].set_index("data")
    weights = [f"w{component}" for component in range(1, 7)]
    assert end.loc["real", weights].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.2, 0, 0.8], rel=0, abs=1e-14)
    assert end.loc["random", weights].tolist() == pytest.approx([1, 1, 1, 1, 0, 0], rel=0, abs=1e-14)
    assert end["test_loss"].to_dict() == pytest.approx({"real": 0.02, "random": 0.5}, rel=0, abs=1e-14)
    assert table.groupby("data")["m_coherence"].agg(["min", "max"]).to_numpy().tolist() == [
        pytest.approx([1, 1], rel=1e-14, abs=0), pytest.approx([2.5, 2.5], rel=1e-14, abs=0),
    ]  # fmt: skip


def test_the_claim_on_it_is_exact_and_the_others_name_what_they_miss(results):
    claims = {claim["id"]: claim for claim in json.loads((results / "claims.json").read_text())["claims"]}
    toy = claims.pop("P18")
    assert (toy["verdict"], toy["num_seeds"]) == ("supported", 0)
    assert [part["value"] for part in toy["parts"]] == pytest.approx([0.48, 1.5], rel=1e-13)
    assert {claim["verdict"] for claim in claims.values()} == {"not tested"}
    assert claims["P1"]["missing"] == "needs the experiment label_noise, which this study does not make"
    assert "needs the experiment easy_hard" in (results / "claims.html").read_text()


def test_the_plan_has_said_so_beforehand(results):
    config = json.loads((results / "config.json").read_text())
    claims = json.loads((results / "claims.json").read_text())["claims"]
    ahead = claims_ahead(config, claims_of("mcoherence.claims"))
    assert {claim.id: claim.missing for claim in ahead} == {claim["id"]: claim["missing"] for claim in claims}


def test_the_report_is_whole(results):
    text = (results / "report.html").read_text()
    for content in ("an example in six dimensions", "1. Claims", "7. Settings, versions, run times"):
        assert content in text
    assert (results / "figures/toy_regression.pdf").stat().st_size > 0


def test_there_is_nothing_left_to_do(workflow):
    assert workflow.planned() == {}
