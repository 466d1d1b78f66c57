"""What statistics show, and that files hold all of them."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import mcoherence
from mcoherence import ExampleStatistics, GradientStatistics, example_statistics, gradient_statistics
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import check_content, read_hdf5, write_hdf5
from mcoherence.gradients.storing import EXAMPLES

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def model_and_batches():
    torch.manual_seed(0)
    layers = [part for _ in range(6) for part in (nn.Linear(4, 4), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(4, 3)), [(torch.randn(8, 4), torch.arange(8) % 3, torch.arange(8) % 2)]


@pytest.fixture(scope="module")
def sums():
    model, batches = model_and_batches()
    return gradient_statistics(model, PER_EXAMPLE, batches, groups=["even", "odd"])


@pytest.fixture(scope="module")
def examples():
    model, batches = model_and_batches()
    return example_statistics(model, PER_EXAMPLE, batches, along=["sum", "sum:odd"], groups=["even", "odd"])


def test_statistics_print_as_about_ten_lines_that_fit_a_terminal(sums, examples):
    for statistics in (sums, examples):
        lines = str(statistics).splitlines()
        assert repr(statistics) == str(statistics)
        assert 9 <= len(lines) <= 12
        assert max(map(len, lines)) <= 100
    assert "Gradients of 8 examples in 2 groups: 7 layers" in str(sums)
    assert f"{sums.m_coherence(groups=['odd']):.4g}" in str(sums)
    assert "... 3 more layers: to_dataframe()" in str(sums)
    assert f"{examples.sq_norm.max():.4g}" in str(examples)


def test_notebooks_get_tables_with_names_escaped(sums, examples):
    assert sums._repr_html_().count("<table>") == examples._repr_html_().count("<table>") == 2
    odd = gradient_statistics(nn.Linear(4, 3), PER_EXAMPLE, model_and_batches()[1], groups=["<b>", "&"])
    assert "<td>&lt;b&gt;</td>" in odd._repr_html_()
    assert "<b>" not in odd._repr_html_()


def test_data_frames_have_a_row_for_what_they_are_asked_by(sums, examples):
    frame = examples.to_dataframe()
    assert list(frame) == ["index", "loss", "sq_norm", "dot_sum", "dot_sum:odd"]
    without = replace(examples, own_left_out=("sum",))
    assert list(without.to_dataframe()) == ["index", "loss", "sq_norm", "dot_sum_of_others", "dot_sum:odd"]
    assert "dot_sum_of_others" in str(without)
    assert frame["index"].tolist() == list(range(8))
    assert frame["dot_sum:odd"].tolist() == examples.dot["sum:odd"].tolist()
    by_layer = sums.to_dataframe()
    assert len(by_layer) == 2 * 7
    row = by_layer[(by_layer.group == "odd") & (by_layer.layer == "2")].iloc[0]
    assert row.m_coherence == sums.m_coherence("layer", ["odd"])["2"]
    assert sums.to_dataframe("model").alpha.tolist() == [sums.alpha(groups=[name]) for name in ("even", "odd")]


def test_files_hold_all_to_the_bit_and_a_part_that_was_read_can_be_merged(sums, examples, tmp_path):
    sums.save(tmp_path / "sums.h5")
    examples.save(str(tmp_path / "examples.h5"))
    read, table = GradientStatistics.load(tmp_path / "sums.h5"), ExampleStatistics.load(tmp_path / "examples.h5")
    check_content(tmp_path / "sums.h5")
    assert (read.n, read.parameters, read.evidence) == (sums.n, sums.parameters, sums.evidence)
    assert all(torch.equal(a, b) for a, b in zip(read.group_sums, sums.group_sums, strict=True))
    assert read.merge(sums).sq_norm_of_sum() == pytest.approx(4 * sums.sq_norm_of_sum())
    for name, value in vars(examples).items():
        assert np.array_equal(getattr(table, name), value), name


def as_an_earlier_version(examples, path, left_out):
    """A file that says of all sums at once whether the own gradient is left out of them."""
    examples.save(path)
    datasets, attributes = read_hdf5(path, EXAMPLES)
    earlier = {name: attributes[name] for name in ("evidence", "fingerprint")} | {"leave_one_out": left_out}
    write_hdf5(path, EXAMPLES, datasets, earlier)
    return path


def test_files_of_an_earlier_version_are_read_or_refused_in_one_line(examples, tmp_path):
    for left_out, expected in ((False, ()), (True, ("sum", "sum:odd"))):
        table = ExampleStatistics.load(as_an_earlier_version(examples, tmp_path / "examples.h5", left_out))
        assert (table.own_left_out, table.device) == (expected, "")
        assert np.array_equal(table.products, examples.products)
    named = as_an_earlier_version(replace(examples, directions=("sum", "mine")), tmp_path / "examples.h5", True)
    with pytest.raises(UserError, match=r"^.*examples\.h5: found a direction 'mine' [^\n]*; measure again$"):
        ExampleStatistics.load(named)


def test_complex_sums_and_no_directions_can_be_stored(sums, tmp_path):
    of_one = replace(
        sums,
        parameters=("weight",),
        sum_sq_norms=np.ones((2, 1)),
        group_sums=(torch.randn(2, 3, 4, dtype=torch.complex64),),
    )
    of_one.save(tmp_path / "sums.h5")
    assert torch.equal(GradientStatistics.load(tmp_path / "sums.h5").group_sums[0], of_one.group_sums[0])
    model, batches = model_and_batches()
    example_statistics(model, PER_EXAMPLE, [batches[0][:2]]).save(tmp_path / "examples.h5")
    assert ExampleStatistics.load(tmp_path / "examples.h5").dot == {}


def test_another_file_and_a_damaged_one_are_refused_in_one_line(sums, examples, tmp_path):
    examples.save(tmp_path / "examples.h5")
    with pytest.raises(UserError, match="mcoherence/gradient_statistics/1"):
        GradientStatistics.load(tmp_path / "examples.h5")
    content = bytearray((tmp_path / "examples.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.h5").write_bytes(content)
    with pytest.raises(UserError, match="damaged") as refused:
        ExampleStatistics.load(tmp_path / "damaged.h5")
    assert "\n" not in str(refused.value)


def test_plots_show_a_point_for_every_layer_and_example(sums, examples):
    lines = sums.plot().get_lines()
    assert [line.get_xdata()[2] for line in lines] == [sums.alpha("layer", [name])["4"] for name in ("even", "odd")]
    points = examples.plot().get_lines()[1].get_ydata()
    np.testing.assert_array_equal(points, examples.dot["sum"][examples.group_ids == 1])


def test_public_names_are_listed_and_nothing_heavy_comes_with_them():
    assert set(mcoherence.__all__) <= set(dir(mcoherence))
    assert all(getattr(mcoherence, name) is not None for name in mcoherence.__all__)
    code = "import sys, mcoherence; dir(mcoherence); print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout == "set()\n"
