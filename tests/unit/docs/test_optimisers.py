"""What docs/optimisers.md shows is valid, whole, and gives the rates that it says."""

import json
import re
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml

from mcoherence.optim.methods import METHODS
from mcoherence.study import checks, schema_checks
from mcoherence.training.schedules import learning_rate

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/optimisers.md").read_text()
BLOCKS = [yaml.safe_load(block)["optimizers"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)]
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
SCHEDULES = BLOCKS[1]


def rows(header):
    """Cells of the rows of the table with this header."""
    table = PAGE.partition(f"{header}\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[1:]]


@pytest.mark.parametrize("entries", BLOCKS)
def test_entries_are_valid(entries):
    config = yaml.safe_load((ROOT / "tests/digits_study.yaml").read_text())
    config["optimizers"] |= entries
    schema_checks.check_config(config, SCHEMA)
    checks.check_references(config)


def test_every_method_has_its_step():
    assert [cells[0] for cells in rows("| `method` | the step |")] == [f"`{name}`" for name in METHODS]


def test_every_kind_of_schedule_is_described():
    kinds = SCHEMA["$defs"]["schedule"]["properties"]["kind"]["enum"]
    assert [cells[0] for cells in rows("| `kind` | η after u updates | keys (default) |")] == [f"`{k}`" for k in kinds]


@pytest.mark.parametrize("cells", rows("| entry | u = 0 | u = 50 | u = 100 | u = 450 | u = 899 |"), ids=lambda c: c[0])
def test_the_rates_of_the_table_are_those_of_the_entries(cells):
    entry = SCHEDULES[cells[0].strip("`")]
    schedule = {"kind": "constant", "factor": 0.1, "final": 0, **entry.get("schedule", {})}
    rates = [learning_rate({**entry, "schedule": schedule}, update) for update in (0, 50, 100, 450, 899)]
    assert [float(cell) for cell in cells[1:]] == pytest.approx(rates, rel=1e-3, abs=1e-6)


def test_the_optimiser_of_ones_own_steps_along_signs(tmp_path, monkeypatch):
    """Of gradients 3, -0.5 and 0 at a rate of 0.1."""
    page, shown = ROOT / "docs/optimisers.md", re.compile(r"( *)```python\n(.*?class SignSGD.*?)\1```", flags=re.DOTALL)
    (tmp_path / "sign_sgd.py").write_text(textwrap.dedent(shown.search(page.read_text()).group(2)))
    monkeypatch.syspath_prepend(tmp_path)
    from sign_sgd import SignSGD

    weights = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = SignSGD([weights], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (weights * torch.tensor([3.0, -0.5, 0.0])).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(3.0 - 1.0)
    torch.testing.assert_close(weights.detach(), torch.tensor([0.9, 2.1, 3.0]))
    sys.modules.pop("sign_sgd")
