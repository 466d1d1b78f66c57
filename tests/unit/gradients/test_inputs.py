"""Inputs of several tensors, padding and wrappers: the networks of docs/gradients.md, and others, by the loop."""

import re
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from mcoherence import example_statistics, gradient_statistics, without_padding
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.given.trees import arguments, leaves, mapped
from mcoherence.gradients.given.wrappers import plain_names, unwrapped
from mcoherence.gradients.reference import per_example_gradients

PAGE = (Path(__file__).parents[3] / "docs/gradients.md").read_text()
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


@pytest.fixture(autouse=True)
def float64_and_fixed_draws():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def shown():
    """What the code of the section leaves behind, run in float64."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    section = PAGE.partition("## Inputs of several tensors")[2].partition("\n## ")[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL))
    namespace = {"torch": torch, "example_statistics": example_statistics}
    exec(compile(code, "docs/gradients.md", "exec"), namespace)
    torch.set_default_dtype(torch.float32)
    return namespace


def plain_loop(model, loss_fn, batches):
    """Rows [n, P] of a loop that calls the model as its forward is written, an example twice in a batch."""
    rows = []
    model.eval()
    for inputs, targets in batches:
        for i in range(len(targets)):
            one = mapped(lambda leaf, i=i: leaf[[i, i]], inputs)
            outputs = model(**one) if isinstance(one, dict) else model(*one) if isinstance(one, tuple) else model(one)
            found = torch.autograd.grad(loss_fn(outputs, targets[[i, i]])[0], list(model.parameters()))
            rows.append(torch.cat([gradient.reshape(-1) for gradient in found]))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize(
    ("name", "loss"),
    [("decoder", "loss_of_texts"), ("encoder", "loss_of_classes"), ("classifier", "loss_of_classes")],
)
def test_the_networks_of_the_page_are_measured_as_by_the_loop(shown, name, loss):
    model, loss_fn, batches = shown[name], shown[loss], shown[f"{name}_batches"]
    rows = plain_loop(model, loss_fn, batches)
    sums = gradient_statistics(model, loss_fn, batches)
    found = example_statistics(model, loss_fn, batches, along="sum")
    assert sums.sq_norm_of_sum() == pytest.approx((rows.sum(axis=0) ** 2).sum(), rel=1e-10)
    np.testing.assert_allclose(found.sq_norm, (rows**2).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(found.dot["sum"], rows @ rows.sum(axis=0), rtol=1e-9, atol=1e-12 * (rows**2).sum())


class Pair(nn.Module):
    """Takes two tensors in one argument, a tuple or a dict."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, both):
        a, b = both.values() if isinstance(both, dict) else both
        return {"logits": self.first(a) + self.second(b), "none": None}


@pytest.mark.parametrize(
    "container", [dict, tuple, list, namedtuple("Two", "a b")], ids=["dict", "tuple", "list", "named"]
)
def test_containers_of_all_kinds_with_groups_mixed_in_a_batch(container):
    a, b = torch.randn(7, 4), torch.randn(7, 2)
    both = (
        {"a": a, "b": b}
        if container is dict
        else container(a, b)
        if hasattr(container, "_fields")
        else container((a, b))
    )
    targets = {"label": torch.arange(7) % 3, "weight": torch.rand(7)}
    ids = torch.tensor([0, 1, 1, 0, 1, 0, 0])

    def loss_fn(outputs, wanted):
        return wanted["weight"] * PER_EXAMPLE(outputs["logits"], wanted["label"])

    model = Pair()
    found = gradient_statistics(model, loss_fn, [(both, targets, ids)], groups=["a", "b"])
    losses = loss_fn(model((a, b)), targets)
    weights = list(model.parameters())
    gradients = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in losses]
    rows = torch.stack([torch.cat([part.reshape(-1) for part in parts]) for parts in gradients])
    assert found.n == {"a": 4, "b": 3}
    assert found.sum_sq_norm(groups=["b"]) == pytest.approx(float(rows[ids == 1].square().sum()))
    assert found.sq_norm_of_sum() == pytest.approx(float(rows.sum(0).square().sum()))
    by_reference = per_example_gradients(model, loss_fn, both, targets)
    assert float(sum(value.square().sum() for value in by_reference.values())) == pytest.approx(found.sum_sq_norm())


def test_how_a_model_is_called_follows_from_its_signature():
    class Two(nn.Module):
        def forward(self, x, mask=None): ...

    class Any(nn.Module):
        def forward(self, *args, **kwargs): ...

    x, y = torch.zeros(1), torch.ones(1)
    assert arguments(Two(), x) == ((x,), {})
    assert arguments(Two(), (x, None)) == ((x, None), {})
    assert arguments(Two(), {"mask": y, "x": x}) == ((), {"mask": y, "x": x})
    assert arguments(Pair(), (x, y)) == (((x, y),), {})
    assert arguments(Pair(), {"a": x, "b": y}) == (({"a": x, "b": y},), {})
    assert arguments(Any(), {"a": x}) == ((), {"a": x})
    assert len(leaves({"a": x, "b": [y, None, "text"]})) == 2


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": torch.randn(3, 4), "lengths": [3, 2, 1]}, r"inputs\['lengths'\]\[0\]: found int, expected a tensor"),
        ({"x": torch.randn(3, 4), "y": torch.randn(2, 4)}, r"inputs\['y'\]: found 2 rows, expected 3 as in inputs"),
        (nn.utils.rnn.pack_sequence([torch.randn(3, 4)]), "a PackedSequence, whose rows are time steps"),
        (torch.nested.nested_tensor([torch.randn(2), torch.randn(3)], layout=torch.jagged), "a tensor of layout"),
        ((), "inputs: found no tensor"),
        ("text", "inputs: found str"),
        ({"x": torch.randn(3, 4)}, r"found dict, which is none of the arguments of Sequential.forward\(input\)"),
    ],
)  # fmt: skip
def test_what_is_no_tree_of_examples_is_refused_by_its_place(inputs, message):
    with pytest.raises(ValueError, match=message):
        gradient_statistics(nn.Sequential(nn.Linear(4, 3)), PER_EXAMPLE, [(inputs, torch.zeros(3).long())])


def test_padding_is_left_out_and_groups_stay_with_their_examples():
    model, inputs, targets = nn.Linear(4, 3), torch.randn(5, 4), torch.arange(5) % 3
    ids, real = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([True, True, False, True, False])
    padded = [(inputs, targets, ids, real), (inputs[:2], targets[:2], ids[:2], torch.tensor([0, 0]))]
    found = example_statistics(model, PER_EXAMPLE, without_padding(padded), along="sum:b", groups=["a", "b"])
    kept = [(inputs[real], targets[real], ids[real])]
    expected = example_statistics(model, PER_EXAMPLE, kept, along="sum:b", groups=["a", "b"])
    assert found.group_ids.tolist() == [0, 1, 1]
    np.testing.assert_allclose(found.products, expected.products, rtol=1e-12)
    with pytest.raises(ValueError, match=r"mask of padding: found bool of shape \(5,\), expected 2"):
        list(without_padding([(inputs[:2], targets[:2], real)]))


class Module(nn.Module):
    """Has an attribute of the name that wrappers use."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


def test_wrappers_are_taken_off_and_an_attribute_called_module_is_not():
    plain = nn.Linear(4, 3)
    compiled = torch.compile(plain, backend="eager")
    batch = [(torch.randn(4, 4), torch.arange(4) % 3)]
    for model in (nn.DataParallel(plain), compiled, nn.DataParallel(compiled)):
        assert unwrapped(model) is plain
        assert gradient_statistics(model, PER_EXAMPLE, batch).parameters == ("weight", "bias")
        assert set(per_example_gradients(model, PER_EXAMPLE, *batch[0])) == {"weight", "bias"}
    found = example_statistics(Module(plain), PER_EXAMPLE, batch, along={"w": {"module.weight": plain.weight}})
    assert found.layers == ("module",)
    within = nn.Sequential(Module(nn.DataParallel(plain)), compiled)
    assert plain_names(within)["0.module.module.weight"] == "0.module.weight"
    merged = gradient_statistics(compiled, PER_EXAMPLE, batch).merge(gradient_statistics(plain, PER_EXAMPLE, batch))
    assert merged.n == {"all": 8}


@pytest.mark.parametrize("inner", [False, True])
def test_what_is_compiled_within_a_model_is_measured_as_it_was_written_and_stays_compiled(inner):
    compiled, run = [], []

    def backend(graph, _):
        compiled.append(graph)
        return lambda *values: run.append(graph) or graph.forward(*values)

    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    batch = [(torch.randn(4, 4), torch.arange(4) % 3)]
    expected = gradient_statistics(model, PER_EXAMPLE, batch).m_coherence()
    if inner:
        model = nn.Sequential(torch.compile(model, backend=backend))
    else:
        model.compile(backend=backend)
    model(batch[0][0])
    before = len(compiled), len(run)
    assert before == (1, 1)
    assert gradient_statistics(model, PER_EXAMPLE, batch).m_coherence() == pytest.approx(expected, rel=1e-12)
    example_statistics(model, PER_EXAMPLE, batch, along="sum")
    assert (len(compiled), len(run)) == before
    model(batch[0][0])
    assert (len(compiled), len(run)) == (1, 2)


def test_directions_take_the_names_with_and_without_the_prefixes_of_wrappers_within():
    layer = nn.Linear(4, 3)
    model, batch = nn.Sequential(nn.DataParallel(layer)), [(torch.randn(4, 4), torch.arange(4) % 3)]
    along = {name: {f"{name}weight": layer.weight} for name in ("0.", "0.module.")}
    found = example_statistics(model, PER_EXAMPLE, batch, along=along)
    assert found.layers == ("0",)
    assert found.dot["0."].tolist() == found.dot["0.module."].tolist()


def test_a_wrapped_models_own_names_are_taken_as_a_direction():
    """Of the wrapper, of the model within it, and without any prefix: one direction; frozen and tied weights too."""
    layer, frozen = torch.compile(nn.Linear(4, 4), backend="eager"), nn.DataParallel(nn.Linear(4, 3))
    frozen.module.bias.requires_grad_(False)
    inner = nn.Sequential(layer, layer, frozen)
    batch = [(torch.randn(4, 4), torch.arange(4) % 3)]
    plain = {name.replace("_orig_mod.", "").replace("module.", ""): p for name, p in inner.named_parameters()}
    for model in (nn.DataParallel(inner), torch.compile(inner, backend="eager"), AveragedModel(inner)):
        along = {"wrapper": dict(model.named_parameters()), "within": dict(inner.named_parameters()), "plain": plain}
        along["tied"] = {name.replace("0.", "1."): p for name, p in along["wrapper"].items()}
        found = example_statistics(model, PER_EXAMPLE, batch, along=along)
        assert found.dot["plain"].all()
        assert all(found.dot[name].tolist() == found.dot["plain"].tolist() for name in along)


def test_names_that_mean_two_parameters_of_a_wrapped_model_are_refused():
    """A model with a parameter `weight` and one `module.weight`: in the wrapper `module.weight` is the first."""
    inner = nn.Linear(4, 3)
    inner.module = nn.Linear(4, 3)
    batch, model = [(torch.randn(4, 4), torch.arange(4) % 3)], nn.DataParallel(inner)
    with pytest.raises(ValueError, match="of other parameters in the wrapper than in the model within"):
        example_statistics(model, PER_EXAMPLE, batch, along={"w": {"module.weight": inner.weight}})
    whole = example_statistics(model, PER_EXAMPLE, batch, along={"w": dict(model.named_parameters())})
    expected = example_statistics(inner, PER_EXAMPLE, batch, along={"w": dict(inner.named_parameters())})
    assert whole.dot["w"].tolist() == expected.dot["w"].tolist()


def test_what_cannot_be_measured_is_refused_with_the_way_out(monkeypatch):
    batch = [(torch.randn(4, 4), torch.arange(4) % 3)]

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.second(checkpoint(self.first, x.clone().requires_grad_(), use_reentrant=True))

    class DTensor(nn.Parameter):
        """Of the name of the class of sharded tensors."""

    sharded = nn.Linear(4, 3)
    sharded.weight = DTensor(torch.randn(3, 4))
    fully = type("FSDPModule", (nn.Linear,), {})(4, 3)
    for model, message in (
        (
            torch.jit.trace(nn.Linear(4, 3), batch[0][0]),
            r"scripted modules: \(TopLevelTracedModule\).*before torch.jit",
        ),
        (Checkpointed(), "reentrant activation checkpoints.*use_reentrant=False"),
        (sharded, r"every process holds a part .*weight \(DTensor\); gather them"),
        (fully, r"every process holds a part .*the model \(FSDPModule\); gather them"),
        (lambda x: x, "model: found function, expected a torch.nn.Module"),
    ):
        for measure in (gradient_statistics, example_statistics):
            with pytest.raises(UnsupportedModelError, match=message):
                measure(model, PER_EXAMPLE, batch)
