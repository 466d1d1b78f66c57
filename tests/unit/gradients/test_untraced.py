"""Where no gradient goes, examples may mix unseen by autograd's graph: which calls are taken for that; what follows."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, library, nn

from mcoherence import gradient_statistics
from mcoherence.gradients.batch.passes import Passes
from mcoherence.gradients.checks import checks
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.graph.untraced import Untraced
from mcoherence.gradients.graph.watching import Watch
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.gradients.sweep import sample_pass
from tests.unit.gradients.model_of_function import Model, Turned, bare

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
N, T = 6, 5


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scripts are deprecated, and are still met
    SCRIPT = torch.jit.CompilationUnit("def mixed(x):\n    return x - x.sum(0)\n")
LAYERS = {
    "recurrent": nn.GRU(1, 2, batch_first=True),
    "recurrent along the first axis": nn.GRU(1, 2),
    "attention": nn.MultiheadAttention(1, 1, batch_first=True),
    "attention to the first axis": nn.MultiheadAttention(1, 1),
}
OWN = {id(p): p for layer in LAYERS.values() for p in layer.parameters()}


def may_mix(function, *inputs):
    with Watch(untraced=Untraced(N, OWN, inputs)) as watch:
        function(*inputs)
    return watch.may_mix()


def padded(ids):
    return ids != 0


def written_row_by_row(ids):
    mask = padded(ids).clone()
    mask[:, 0] = True
    return mask.logical_not_()


def score_mask(ids):
    causal = torch.full((T, T), 1.0).triu_(1).bool()
    allowed = padded(ids)[:, None, None, :].expand(N, 2, T, T) & ~causal
    return torch.zeros(N, 2, T, T).masked_fill_(~allowed, -torch.inf)


# An operation of somebody's own, by a name that torch has too.
LIBRARY = library.Library("mcoherence_tests", "DEF")
LIBRARY.define("clamp(Tensor x) -> Tensor")
LIBRARY.impl("clamp", lambda x: x / x.amax(), "CompositeExplicitAutograd")
SQUARE = nn.MultiheadAttention(T, 1)


def chosen_by_a_mask(ids):
    mask = torch.zeros(N, T, dtype=torch.bool)
    mask[0], mask[1, 0] = True, True
    return ids[..., mask] + 1


APART = {
    "axes other than the first turned": lambda ids: ids[:, :, None].transpose(1, 2).mT[:, :, 0].amax(1) + 1,
    "mask": lambda ids: padded(ids)[:, None, None].float(),
    "lengths": lambda ids: padded(ids).sum(1) - padded(ids).sum(dim=-1),
    "places": lambda ids: padded(ids).cumsum(1).clamp(min=1) - 1,
    "last token": lambda ids: ids.gather(1, padded(ids).sum(1, keepdim=True) - 1),
    "mask of scores": score_mask,
    "mask that is written to": written_row_by_row,
    "one hot": lambda ids: F.one_hot(ids, 9).float().mean((1, 2)),
    "own rows, by their numbers": lambda ids: padded(ids)[
        torch.arange(N)[:, None, None, None], torch.arange(T)[None, None, None]
    ],
    "last token, by the numbers of rows": lambda ids: ids[torch.arange(N), padded(ids).sum(1) - 1] + 1,
    "turned": lambda ids: ids.transpose(0, 1),
    "rows joined": lambda ids: ids.flatten(),
    "positions": lambda ids: torch.arange(T).unsqueeze(0).flip(0).t().max() + torch.zeros_like(ids).sum(),
    "repeated": lambda ids: ids.repeat(1, 3) + ids[:, None].expand(N, 3, T).reshape(N, 3 * T),
    "weights of classes": lambda ids: torch.ones(7)[ids] * torch.ones(7)[ids[:, 0]][:, None],
    "cut and joined": lambda ids: torch.cat([ids[:, 1:], ids[..., :1]], dim=1)[:, [0, 2]],
    "padded": lambda ids: F.pad(ids, (1, 2)),
    "constants that are summed in place": lambda ids: [
        total := torch.zeros(1),
        total.add_(1),
        total + ids.new_zeros(1),
    ],
    "recurrent layer": lambda ids: LAYERS["recurrent"](ids[:, :, None].float()),
    "attention": lambda ids: LAYERS["attention"](*[ids[:, :, None].float()] * 3, key_padding_mask=ids == 0),
    "frozen layers": lambda ids: F.layer_norm(F.linear(ids.float(), torch.ones(3, T)).relu(), (3,)),
}
MIXED = {
    "which places are used": lambda ids: padded(ids).any(0),
    "longest": lambda ids: torch.ones(N) / padded(ids).sum(1).max(),
    "largest of all": lambda ids: ids / ids.amax(),
    "order": lambda ids: ids[:, 0].argsort(),
    "order along the first axis": lambda ids: ids.argsort(0),
    "places among experts": lambda ids: F.one_hot(ids[:, 0], 9).cumsum(0),
    "first example": lambda ids: ids[:1],
    "numbers of rows that were written to": lambda ids: [
        a := torch.arange(N),
        a.sub_(1),
        ids[a, ids.argmax(1) % T] + 1,
    ],
    "a view made before": lambda ids: [b := torch.zeros(N, T), v := b[:1].expand(N, T), b.copy_(ids), v + 1],
    "data of another": lambda ids: setattr(torch.zeros(N, T), "data", ids.float()),
    "gradient of another": lambda ids: setattr(torch.zeros(N, T), "grad", ids.float()),
    "attention of rows to each other": lambda ids: F.scaled_dot_product_attention(*[ids.float()] * 3),
    "by a script": lambda ids: SCRIPT.mixed(ids) + 1,
    "recurrent layer along the examples": lambda ids: LAYERS["recurrent along the first axis"](ids[:, :, None].float()),
    "attention to the examples": lambda ids: LAYERS["attention to the first axis"](*[ids[:, :, None].float()] * 3),
    "one number for all": lambda ids: torch.full_like(ids, ids.amax()) + 1,
    "spread along the last axis": lambda ids: ids[:, 0].expand(N, N) > ids[:, :1],
    "rows moved by padding": lambda ids: F.pad(ids, (0, 0, 1, -1)),
    "norm over all": lambda ids: F.layer_norm(ids.float(), ids.shape),
    "the first axis under an ellipsis": lambda ids: ids[..., torch.arange(N).flip(0), :],
    "separated indices": lambda ids: ids.view(N, 1, T, 1)[
        :, torch.zeros(N, dtype=torch.int64), :, torch.zeros(N).long()
    ],
    "rows along a batch of matrices": lambda ids: ids.float() @ torch.ones(N, T, 2),
    "convolution of one": lambda ids: F.conv1d(ids.float(), torch.ones(N, N, 1)),
    "rows by other numbers": lambda ids: ids[torch.arange(N).flip(0), torch.arange(N) % T],
    "rows by numbers in another order": lambda ids: ids[
        torch.arange(N)[torch.arange(N).flip(0)], torch.zeros(N, dtype=torch.int64)
    ],
    "rows by numbers from 1": lambda ids: ids[torch.arange(1, N + 1) % N, torch.zeros(N, dtype=torch.int64)],
    "pairs of rows, by their numbers": lambda ids: ids[torch.arange(N), torch.zeros(2, 1, dtype=torch.int64)],
    "halves": lambda ids: ids.chunk(2),
    "rolled": lambda ids: ids.roll(1, 0),
    "sum of the turned": lambda ids: ids.transpose(0, 1).sum(1),
    "sum of the joined": lambda ids: 1 + ids.flatten().sum(0) * torch.ones(1),
    "all pairs": lambda ids: ids[:, 0] == ids[:, :1],
    "written into a constant, by another name": lambda ids: torch.zeros(N * T).view(N, T)[0].copy_(ids[2]),
    "written into a constant": lambda ids: torch.zeros(N, T).__setitem__((slice(None), 0), ids.float().sum(0)[0]),
    "a constant that was written to by its data": lambda ids: [z := torch.zeros(N, T), z.data.copy_(ids), z.amax() * z],
    "by the places in the batch": lambda ids: ids / (1 + torch.arange(N)[:, None]),
    "by places that are reckoned with": lambda ids: ids * (torch.linspace(0, 1, N).unsqueeze(1) ** 2).expand(N, T),
    "an operation of one's own": lambda ids: torch.ops.mcoherence_tests.clamp(ids.float()) + 1,
    "an overload of one's own": lambda ids: torch.ops.mcoherence_tests.clamp.default(ids.float()) + 1,
    "as many as examples by a mask of the last axes": chosen_by_a_mask,
    "a constant that was written to": lambda ids: [z := torch.zeros(N, T), z.view(N, T).copy_(ids), z.sum(0)],
}


@pytest.mark.parametrize("name", APART)
def test_what_is_computed_row_by_row_mixes_no_examples(name):
    assert not may_mix(APART[name], torch.arange(N * T).view(N, T) % 7)


@pytest.mark.parametrize("name", MIXED)
def test_what_is_computed_of_several_rows_may(name):
    assert may_mix(MIXED[name], torch.arange(N * T).view(N, T) % 7)


def activation():
    return torch.randn(N, T, requires_grad=True) * 2


def test_what_is_computed_of_inputs_with_a_gradient_is_in_no_graph_of_a_parameter():
    assert may_mix(lambda x: x - x.mean(0), torch.randn(N, T, requires_grad=True))


WITH_ACTIVATIONS = {
    "masked": (lambda h, x: h * (x != 0) + x.float(), False),
    "attended to": (lambda h, x: F.scaled_dot_product_attention(h[None], h[None], h[None]).sum(0) + x, False),
    "linear of the inputs": (lambda h, x: F.linear(x.float(), h[:2]), False),
    "losses": (lambda h, x: F.cross_entropy(h, x[:, 0] % T, reduction="none") * F.mse_loss(h, x / 2)[None], True),
    "losses by row": (lambda h, x: F.cross_entropy(h, x[:, 0] % T, reduction="none"), False),
    "losses by element": (lambda h, x: F.mse_loss(h, x / 2, reduction="none").mean(1), False),
    "chosen": (lambda h, x: h.gather(1, x[:, :1] % T)[torch.arange(N), x[:, 1] % 1], False),
    "all pairs": (lambda h, x: h @ x.float().t(), True),
    "pairs of rows": (lambda h, x: h[:, None] - x[None], True),
    "distances": (lambda h, x: torch.cdist(h, x.float()), True),
    "of an expression": (lambda h, x: torch.einsum("nd,md->nd", h, x.float()), True),
    "by a number of all": (lambda h, x: h / x.amax(), True),
    "rows chosen by content": (lambda h, x: h[x[:, 0] % N], True),
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_ACTIVATIONS)
def test_examples_without_a_gradient_may_meet_activations_row_by_row_alone(name):
    function, mixes = WITH_ACTIVATIONS[name]
    inputs = torch.arange(N * T).view(N, T) % 7
    assert may_mix(function, activation(), inputs) == mixes


OF_ACTIVATIONS = {
    "cut off": lambda h: h.detach(),
    "a mean that is cut off": lambda h: h.mean(0).detach(),
    "compared": lambda h: h > 0,
    "largest": lambda h: h.argmax(1),
    "largest with its place": lambda h: h.max(1),
    "data": lambda h: h.data,
}


@pytest.mark.parametrize("name", OF_ACTIVATIONS)
def test_so_may_whatever_is_made_of_an_activation_without_a_gradient(name):
    assert may_mix(OF_ACTIVATIONS[name], activation())


def test_a_number_of_several_examples_may_be_asked_for_but_not_computed_with():
    """What Python asks for is looked after by itself: the examples alone may ask for the same."""
    h = activation()
    assert not may_mix(lambda ids: bool((padded(ids).sum() + 1).sqrt() > 2), torch.arange(N * T).view(N, T))
    assert may_mix(lambda ids: h / padded(ids).sum(), torch.arange(N * T).view(N, T))
    assert may_mix(lambda ids: padded(ids) / padded(ids).sum(), torch.arange(N * T).view(N, T))


def test_what_tells_nothing_of_itself_fails_no_pass():
    class Strange(torch.Tensor):
        def dim(self):
            raise RuntimeError("asked for")

    assert may_mix(lambda ids: ids.as_subclass(Strange) + 1, torch.arange(N * T).view(N, T))


def test_what_has_a_gradient_is_left_to_the_graph():
    assert not may_mix(lambda h: (h - h.mean(0)).relu().sum() * torch.zeros_like(h), activation())


def test_weights_and_buffers_are_the_same_for_all_examples():
    norm = nn.BatchNorm1d(T)
    with (
        Watch(untraced=Untraced(N, {id(one): one for one in (*norm.parameters(), *norm.buffers())}, [])) as watch,
        torch.no_grad(),
    ):
        _ = norm.weight.sum() + norm.running_var.mean()
    assert not watch.may_mix()


def test_but_not_those_that_are_written_to():
    scratch = torch.zeros(N, T)

    def used(ids):
        scratch.copy_(ids)
        return scratch.sum(0) + scratch.zero_()

    with Watch(untraced=Untraced(N, {id(scratch): scratch}, [ids := torch.ones(N, T)])) as watch:
        used(ids)
    assert watch.may_mix()


def test_a_mask_of_examples_is_that_of_attention_as_the_mask_of_padding_alone():
    x, mask = torch.randn(T, T, 1), torch.rand(T, T) > 0.3  # as many examples as positions
    for told, mixes in (({"key_padding_mask": mask}, False), ({"attn_mask": mask}, True)):
        with Watch(untraced=Untraced(T, OWN, [x, mask])) as watch:
            LAYERS["attention"](x, x, x, **told)
        assert watch.may_mix() == mixes


def test_attention_among_examples_is_seen_where_there_are_as_many_of_them_as_positions():
    x = torch.randn(N, T, N)  # turned to [n, n, T]
    own = {id(p): p for p in SQUARE.parameters()}
    with Watch(untraced=Untraced(N, own, [x])) as watch:
        SQUARE(*[x.transpose(1, 2)] * 3)
    assert watch.may_mix()


def test_many_constants_are_not_kept(monkeypatch):
    monkeypatch.setattr("mcoherence.gradients.graph.untraced.MOST_CONSTANTS", 100)
    assert may_mix(lambda: torch.zeros(26))
    assert not may_mix(lambda: torch.zeros(25))


def dead_where_all_are(m, x):
    """Numbers of the whole batch, in the graph, that no gradient comes back through where they are below 0."""
    h = m.a(x)
    return m.b(h + (h.mean(0) - 1.2).relu())


def by_steps(m, x):
    h = m.a(x)
    return m.b((h + h.mean(0).round()).tanh())


def with_room_for_few(m, x):
    """Experts each take as many examples as there is room for, and send the others on as they are."""
    h = m.a(x).tanh()
    weight, chosen = h.softmax(-1).max(-1)
    one = F.one_hot(chosen, h.shape[1])
    kept = (one.cumsum(0) * one).sum(-1) <= max(1, len(x) // h.shape[1])
    return m.b(h + torch.einsum("nd,edk,ne->nk", h, m.w, one.to(h.dtype)) * (weight * kept)[:, None])


def by_a_full_tensor(m, x):
    h = m.a(x).tanh()
    return m.b(h * torch.full_like(h, x.amax()).clamp(min=5))


def by_all_pairs(m, x):
    h = m.a(x).tanh()
    return m.b(h + 0.01 * (h @ x.t() - 12).relu() @ x)


def by_the_brightest(m, x):
    return m.b(m.a(x / x.amax()).tanh())


def by_places_in_use(m, x):
    return m.b((m.a(x).tanh() * (x != 0).any(0)).sum(1, keepdim=True).expand(-1, 8))


def beside_a_branch_without_weight(m, x):
    """Weights that are 0 yet: the losses are the same, the gradients are not."""
    return m.b(m.a(x).tanh() + F.linear(x / x.abs().amax().clamp(min=3), m.zero))


def model(forward):
    torch.manual_seed(0)
    return Model(forward, a=nn.Linear(8, 8), b=nn.Linear(8, 3), w=bare(8, 8, 8), zero=nn.Parameter(torch.zeros(8, 8)))


def two_dark(x):
    x = x.sigmoid()
    x[:-2, 0], x[-2:] = 1, x[-2:] * 0.4
    return x


MODELS = {
    "dead where all are": (dead_where_all_are, lambda x: [x]),
    "by steps, in a second batch": (by_steps, lambda x: [0.1 * x, 6 * x + 2]),
    "with room for few": (with_room_for_few, lambda x: [x]),
    "by the brightest": (by_the_brightest, lambda x: [two_dark(x)]),
    "by a full tensor, in a second batch": (by_a_full_tensor, lambda x: [x.clamp(-2, 2), 8 * x]),
    "by all pairs, in a second batch": (by_all_pairs, lambda x: [0.1 * x, 8 * x]),
    "by places in use, in a second batch": (by_places_in_use, lambda x: [x, x * (torch.rand_like(x) > 0.95)]),
    "beside a branch without weight, in a second batch": (beside_a_branch_without_weight, lambda x: [0.3 * x, 3 * x]),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_mix_few_examples_or_later_ones_are_refused(name):
    forward, batches_of = MODELS[name]
    network = model(forward).double()
    targets = torch.arange(24) % 3
    batches = [(inputs, targets) for inputs in batches_of(torch.randn(24, 8, dtype=torch.float64))]
    with pytest.raises(UnsupportedModelError, match="mixes the examples of a batch"):
        gradient_statistics(network, PER_EXAMPLE, batches)


def over_the_longest(outputs, targets):
    """A mean over as many tokens as the longest text of the batch has."""
    losses = F.cross_entropy(outputs.transpose(1, 2), targets, ignore_index=-100, reduction="none")
    return losses.sum(1) / (targets != -100).sum(1).max()


def without_the_easiest(outputs, targets):
    losses = PER_EXAMPLE(outputs[:, 0], targets[:, 0])
    return losses * (losses.detach().argsort().argsort() >= 2 * (len(losses) > 4))


def by_how_many_of_a_class(outputs, targets):
    counts = F.one_hot(targets[:, 0], 3).sum(0)
    return PER_EXAMPLE(outputs[:, 0], targets[:, 0]) / counts[targets[:, 0]]


def texts(lengths):
    targets = torch.arange(len(lengths))[:, None] % 3 * torch.ones(1, T, dtype=torch.int64)
    for row, length in zip(targets, lengths, strict=True):
        row[length:] = -100
    return torch.randn(len(lengths), T, 4, dtype=torch.float64), targets


LOSSES = {
    "over the longest": (over_the_longest, [[5] * 6, [5, 4, 3, 2, 2, 5]]),
    "without the easiest": (without_the_easiest, [[5] * 16]),
    "by how many of a class": (by_how_many_of_a_class, [[5] * 6, [5] * 7]),
}


def chain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


@pytest.mark.parametrize("name", LOSSES)
def test_so_are_losses_that_do(name):
    loss_fn, lengths = LOSSES[name]
    network = Model(lambda m, x: m.chain(x), chain=chain())
    with pytest.raises(UnsupportedModelError, match="mixes the examples of a batch"):
        gradient_statistics(network, loss_fn, [texts(one) for one in lengths])


@pytest.mark.parametrize("some_shorter", [2, 5])
def test_and_losses_of_batches_that_go_through_the_network_together(some_shorter, monkeypatch):
    """The first batch is measured by itself. All of the others go together, unless a look at them fails."""
    joined = []
    measure = sample_pass.measure_joined
    monkeypatch.setattr(sample_pass, "measure_joined", lambda *given: joined.append(given) or measure(*given))
    batches = [texts([5] * 6) for _ in range(some_shorter)] + [texts([5, 4, 3, 2, 2, 5])] + [texts([5] * 6)]
    gradient_statistics(chain(), over_the_longest, [*batches[:some_shorter], *batches[some_shorter + 1 :]])
    assert joined
    with pytest.raises(UnsupportedModelError, match="mixes the examples of a batch"):
        gradient_statistics(chain(), over_the_longest, batches)


def by_its_own_mask(m, x):
    """No example is looked at by another, though calls between may mix: rows are sorted and put back."""
    order = x[:, 0].argsort()
    return m.b(m.a(x[order]).tanh()[order.argsort()] * (x.flip(1).argmax(1) > 0)[:, None])


def test_models_that_only_might_are_measured():
    network = model(by_its_own_mask).double()
    inputs, targets = torch.randn(12, 8, dtype=torch.float64), torch.arange(12) % 3
    found = gradient_statistics(network, PER_EXAMPLE, [(inputs[:6], targets[:6]), (inputs[6:], targets[6:])])
    for name, rows in per_example_gradients(network, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter").get(name, 0) == pytest.approx(float(rows.square().sum()), rel=1e-10)


class Counted(Passes):
    """Counts the looks at all examples."""

    looks = 0

    def losses_of_each(self, inputs, targets) -> Tensor | None:
        type(self).looks += 1
        return super().losses_of_each(inputs, targets)


@pytest.mark.parametrize(("spot_check", "looks"), [(0, 0), (1, 4)])
def test_all_examples_are_looked_at_in_every_batch_that_is_a_power_of_two(spot_check, looks, monkeypatch):
    monkeypatch.setattr(sample_pass, "Passes", Counted)
    monkeypatch.setattr(Counted, "looks", 0)
    network = model(lambda m, x: m.b(m.a(x).tanh() * (x.roll(1, 1).cummax(1)[0] > 0).sum(1, keepdim=True)))
    batch = torch.randn(5, 8), torch.arange(5) % 3
    gradient_statistics(network, PER_EXAMPLE, [batch] * 13, spot_check=spot_check)
    assert Counted.looks == looks


def test_batches_of_a_joined_one_that_failed_are_looked_at_one_by_one_and_later_ones_in_their_turn(monkeypatch):
    looked_at = []

    def refused_if_joined(passes, measured, inputs, targets):
        looked_at.append(measured.n)
        if measured.n > 4:
            raise UnsupportedModelError("joined")

    monkeypatch.setattr(checks, "require_same_of_each", refused_if_joined)
    batches = [(torch.randn(4, 4, dtype=torch.float64), torch.arange(4) % 3) for _ in range(64)]
    gradient_statistics(chain(), lambda outputs, targets: PER_EXAMPLE(outputs, targets) + 0 * targets.amax(), batches)
    joined = next(n for n in looked_at if n > 4)
    at = looked_at.index(joined)
    assert looked_at[at + 1 : at + 1 + joined // 4] == [4] * (joined // 4)
    assert len(looked_at) <= 7 + 1 + joined // 4  # the 1st, 2nd, 4th ... 64th, and these


def shortened(m, x):
    """Texts are cut after the longest of the batch; a text ends with zeros, which are looked at as other tokens are."""
    used = (x != 0).sum(1).amax()
    return m.b(m.encoder(m.a(x[:, :, None].expand(-1, -1, 8)) * (torch.arange(8) < used)[:, None]).mean(1))


def test_encoders_of_torch_are_looked_at_with_all_examples():
    """In eval mode and without gradients they would take a way that vmap cannot."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    network = Model(shortened, a=nn.Linear(8, 8), b=nn.Linear(8, 3), encoder=encoder).double()
    x, targets = 1 + torch.rand(64, 8, dtype=torch.float64), torch.arange(64) % 3
    one_short = x.clone()
    one_short[37, 3:] = 0
    with pytest.raises(UnsupportedModelError, match="the loss of example 37 of a batch of 64"):
        gradient_statistics(network, PER_EXAMPLE, [(x, targets), (one_short, targets)])


def test_what_a_model_and_a_loss_keep_of_a_look_is_gone_with_it():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.log, self.table = nn.Linear(8, 8), nn.Linear(8, 3), [], {"by size": {}}

        def forward(self, x):
            h = self.a(x).tanh()
            self.log.append(h.detach())
            self.table["by size"].setdefault(len(x), torch.ones(1, 8) * h.detach().roll(1, 1)[:1] * 0 + 1)
            return self.b(h * self.table["by size"][len(x)])

    class Loss:
        def __init__(self):
            self.seen = []

        def __call__(self, outputs, targets):
            self.seen.append(outputs.detach())
            return PER_EXAMPLE(outputs, targets)

    torch.manual_seed(0)
    network, loss_fn = Keeping(), Loss()
    gradient_statistics(network, loss_fn, [(torch.randn(5, 8), torch.arange(5) % 3)] * 3)
    kept = [*network.log, *network.table["by size"].values(), *loss_fn.seen]
    assert len(kept) > 6
    assert all(torch.isfinite(one).all() for one in kept)
    assert network(torch.randn(1, 8)).shape == (1, 3)
    copy.deepcopy((network, loss_fn))


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: m.b(m.norm(m.a(x)).tanh()),
        lambda m, x: m.b(m.a(x) * m.norm.running_var.flip(0).sum()),
        lambda m, x: m.b(m.a(x) * m.zero.detach().max()),
    ],
)
def test_what_hangs_on_weights_and_buffers_alone_costs_no_look(forward, monkeypatch):
    monkeypatch.setattr(sample_pass, "Passes", Counted)
    monkeypatch.setattr(Counted, "looks", 0)
    network = model(forward)
    network.norm = nn.BatchNorm1d(8)
    gradient_statistics(network, PER_EXAMPLE, [(torch.randn(5, 8), torch.arange(5) % 3)])
    assert Counted.looks == 0


def test_of_a_model_that_vmap_cannot_take_some_are_looked_at_in_a_smaller_batch():
    """`nn.LSTM` has no rule for many batches at once, and the mask mixes in the second batch."""

    def forward(m, x):
        found, _ = m.lstm(x.unsqueeze(-1))
        return m.b(found[:, -1] * (1 + (x > 3).any(0)[:8]))

    torch.manual_seed(0)
    network = Model(forward, lstm=nn.LSTM(1, 8, batch_first=True), b=nn.Linear(8, 3)).double()
    x, targets = torch.randn(24, 8, dtype=torch.float64), torch.arange(24) % 3
    x[1::2] = x[1::2].clamp(max=2)
    with pytest.raises(UnsupportedModelError, match="mixes the examples of a batch"):
        gradient_statistics(network, PER_EXAMPLE, [(x.clamp(max=2), targets), (3 * x, targets)])


class Halved(torch.autograd.Function):
    """A function of somebody's own that keeps examples apart."""

    @staticmethod
    def forward(ctx, x):
        return x / 2

    @staticmethod
    def backward(ctx, grads):
        return grads / 2


def test_a_backward_pass_that_turns_gradients_around_is_refused_though_all_lengths_are_right():
    network = model(lambda m, x: m.b(Turned.apply(m.a(x).tanh()))).double()
    batch = torch.randn(12, 8, dtype=torch.float64), torch.arange(12) % 3
    with pytest.raises(UnsupportedModelError, match=r"the gradients of 8 examples, .* mixes the examples of a batch"):
        gradient_statistics(network, PER_EXAMPLE, [batch])


def test_one_that_does_not_is_measured():
    network = model(lambda m, x: m.b(Halved.apply(m.a(x).tanh()))).double()
    inputs, targets = torch.randn(12, 8, dtype=torch.float64), torch.arange(12) % 3
    found = gradient_statistics(network, PER_EXAMPLE, [(inputs, targets)])
    assert found.evidence.by_whole_model == ()
    rows = per_example_gradients(network, PER_EXAMPLE, inputs, targets)["a.weight"]
    assert found.sq_norm_of_sum(by="parameter")["a.weight"] == pytest.approx(float(rows.sum(0).square().sum()))


def test_the_gradient_of_one_example_is_looked_at_in_the_first_batch_of_another_size():
    """By its loss nothing shows: what the number of examples is multiplied with is 0."""

    def forward(m, x):
        return m.b(m.a(x).tanh()) + m.zero[0, :3] * (1 + len(x) // 10)

    targets = torch.arange(12) % 3
    inputs = torch.randn(12, 8, dtype=torch.float64)
    with pytest.raises(UnsupportedModelError, match=r"parameter 'zero': .* mixes the examples of a batch"):
        gradient_statistics(model(forward).double(), PER_EXAMPLE, [(inputs[:8], targets[:8]), (inputs, targets)])


def test_a_convolution_that_takes_the_examples_for_channels_is_refused_in_a_line():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Flatten(), nn.Linear(24, 3))
    with pytest.raises(UnsupportedModelError, match="fails on one example"):
        gradient_statistics(network, PER_EXAMPLE, [(torch.randn(4, 6, 4), torch.arange(4) % 3)])


def test_sums_are_those_of_the_examples_alone_where_those_of_the_batch_are_nearly_the_same():
    """In float32 they are let differ by what rounding may; here by a tenth of the mean over the batch."""

    def forward(m, x):
        h = m.a(x).tanh()
        return m.b(h + 0.1 * (h.mean(0) - h.mean(0).detach()))

    network = model(forward)
    inputs, targets = torch.randn(150, 8), torch.arange(150) % 3
    found = gradient_statistics(network, PER_EXAMPLE, [(inputs, targets)])
    assert found.evidence.by_whole_model == ("a.weight", "a.bias")
    rows = per_example_gradients(network, PER_EXAMPLE, inputs, targets)
    for name in ("a.weight", "a.bias"):
        expected = float(rows[name].double().sum(0).square().sum())
        assert found.sq_norm_of_sum(by="parameter")[name] == pytest.approx(expected, rel=1e-5)
