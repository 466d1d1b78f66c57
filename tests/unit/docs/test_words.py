"""The table of docs/gradients.md with the words that people search for is true, and whole."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from mcoherence.gradients import noise, pairs

PAGE = (Path(__file__).parents[3] / "docs/gradients.md").read_text()
TABLE = PAGE.split("| word | formula | here | bias |")[1].split("\n\n")[0]
CALLS = re.findall(r"`((?:statistics|examples|gram|noise)\.[^`]+)`", TABLE)
# Steps on the way: the matrices that stiffness is the mean of, as `gram.cosines` and with of="sign".
STEPS = {"sign_agreement", "gradient_cosines"}


@pytest.fixture(scope="module")
def measured():
    """What the page's first three blocks and that of the table itself define."""
    before = PAGE.split("| word | formula | here | bias |")[0]
    namespace: dict = {"noise": noise}
    torch.manual_seed(0)
    exec("\n".join(re.findall(r"```python\n(.*?)```", before, flags=re.DOTALL)), namespace)
    return namespace


@pytest.mark.parametrize("call", CALLS)
def test_every_call_of_the_table_gives_numbers(measured, call):
    found = eval(call, measured)
    values = np.concatenate([np.ravel(one) for one in (found.values() if isinstance(found, dict) else [found])])
    assert values.size
    # A mean that is not told from zero has no noise scale, in any layer of a network as it starts.
    assert call.startswith("statistics.noise_scale") or not np.isnan(values).all()


def functions(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }


def test_every_public_function_of_noise_and_pairs_is_in_the_table():
    public = {name for module in (noise, pairs) for name in functions(module) if not name.startswith("_")}
    named = {re.split(r"[.(]", call)[1] for call in CALLS}
    assert public - STEPS <= named
    assert {"m_coherence", "alpha", "sq_norm", "share_helped"} <= named
