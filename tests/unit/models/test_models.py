"""Networks by name, and checkpoints that come back as they were saved."""

import inspect
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics, load_checkpoint
from mcoherence.errors import UserError
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.models import NetworkSettings, build_model, read_checkpoint_metadata, save_checkpoint
from mcoherence.study.data_sizes import Size
from mcoherence.study.estimates import parameters_of

CNN = {"architecture": "cnn", "channels": [2, 3], "hidden": 4, "batch_norm": True}
SHAPE = (1, 8, 8)
ROOT = Path(__file__).parents[3]


def names(model):
    return [name for name, module in model.named_modules() if list(module.parameters(recurse=False))]


def test_mlp_layers_and_size():
    model = build_model({"architecture": "mlp", "hidden": [5, 6]}, SHAPE, 10)
    assert names(model) == ["hidden1", "hidden2", "output"]
    assert sum(p.numel() for p in model.parameters()) == (64 * 5 + 5) + (5 * 6 + 6) + (6 * 10 + 10)
    assert model(torch.zeros(3, *SHAPE)).shape == (3, 10)


def deep(**settings):
    return build_model({"architecture": "deep_mlp", "width": 5, "depth": 3} | settings, SHAPE, 10)


def test_a_deep_mlp_without_skips_and_batch_norm_is_the_mlp():
    plain, mlp = deep(), build_model({"architecture": "mlp", "hidden": [5, 5, 5]}, SHAPE, 10)
    mlp.load_state_dict(plain.state_dict())
    inputs = torch.randn(3, *SHAPE)
    assert torch.equal(plain(inputs), mlp(inputs))


def test_skips_of_a_deep_mlp_add_what_went_in():
    """Hidden layers that give nothing leave the first one's output as it is; one that gives f adds f / sqrt(2)."""
    skips = deep(skip=True)
    with torch.no_grad():
        for layer in (skips.hidden2, skips.hidden3):
            layer.linear.weight.zero_()
        first = torch.relu(skips.hidden1(torch.ones(1, 64)))
        assert torch.equal(skips(torch.ones(1, *SHAPE)), skips.output(first))
        skips.hidden3.linear.bias.fill_(1.0)
        torch.testing.assert_close(skips(torch.ones(1, *SHAPE)), skips.output(first + 0.5**0.5))


@pytest.mark.parametrize(("norm", "skip"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_deep_mlp_starts_from_the_weights_of_he_and_has_the_size_that_is_planned_for(norm, skip):
    torch.manual_seed(0)
    model = deep(width=200, batch_norm=norm, skip=skip)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert [layer.bias is None for layer in linear] == [norm, norm, norm, False]
    for layer in linear:
        assert layer.weight.std().item() == pytest.approx((2 / layer.in_features) ** 0.5, rel=0.05)
        assert layer.bias is None or not layer.bias.any()
    settings = {"architecture": "deep_mlp", "width": 200, "depth": 3, "batch_norm": norm}
    assert parameters_of(settings, Size(1, 1, SHAPE, 10)) == sum(p.numel() for p in model.parameters())


def test_cnn_layers_and_size():
    model = build_model(CNN, SHAPE, 10)
    assert names(model) == ["conv1", "bn1", "conv2", "bn2", "hidden", "output"]
    convolutions = 9 * 2 + 2 * 2 + 9 * 2 * 3 + 2 * 3  # no bias where batch norm follows
    assert sum(p.numel() for p in model.parameters()) == convolutions + (3 * 2 * 2 * 4 + 4) + (4 * 10 + 10)
    assert model(torch.zeros(3, *SHAPE)).shape == (3, 10)


def test_group_norm_takes_the_place_of_batch_norm_and_treats_every_example_alone():
    settings = {"architecture": "cnn_group_norm", "channels": [4, 8], "hidden": 4}
    model = build_model(settings, (1, 8, 8), 3).train()
    assert [(norm.num_groups, norm.num_channels) for norm in (model.norm1, model.norm2)] == [(1, 4), (2, 8)]
    assert sum(p.numel() for p in model.parameters()) == 36 + 8 + 288 + 16 + (32 * 4 + 4) + (4 * 3 + 3)
    images = torch.randn(5, 1, 8, 8)
    assert torch.allclose(model(images)[:1], model(images[:1]), atol=1e-6)
    with pytest.raises(UserError, match=r"^cnn_group_norm: found 6 channels, expected a multiple of .*, 4$"):
        build_model(settings | {"channels": [6]}, (1, 8, 8), 3)


def test_cnn_without_batch_norm_has_biases():
    assert names(build_model(CNN | {"batch_norm": False}, SHAPE, 10)) == [
        "conv1",
        "conv2",
        "hidden",
        "output",
    ]


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = build_model(CNN, SHAPE, 10)
    model(torch.randn(20, *SHAPE))  # running statistics move
    path = tmp_path / "step3.safetensors"
    save_checkpoint(path, model, NetworkSettings(CNN, SHAPE, 10), {"step": 3, "epoch": 0.5, "run": {"seed": 1}})
    return model, path


def test_a_checkpoint_comes_back_in_eval_mode_with_every_weight_and_buffer(saved):
    model, path = saved
    loaded = load_checkpoint(path)
    assert not any(module.training for module in loaded.modules())
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in loaded.state_dict().items())
    inputs = torch.randn(2, *SHAPE)
    assert torch.equal(loaded(inputs), model.eval()(inputs))


def test_a_checkpoint_says_what_it_holds(saved):
    metadata = read_checkpoint_metadata(saved[1])
    assert metadata["model"] == {"settings": CNN, "input_shape": [1, 8, 8], "num_classes": 10}
    assert (metadata["step"], metadata["epoch"], metadata["run"]) == (3, 0.5, {"seed": 1})


def test_equal_weights_give_equal_bytes(saved, tmp_path):
    model, path = saved
    again = tmp_path / "other_name.safetensors"
    save_checkpoint(again, model, NetworkSettings(CNN, SHAPE, 10), {"run": {"seed": 1}, "epoch": 0.5, "step": 3})
    assert path.read_bytes() == again.read_bytes()


def test_loading_does_not_disturb_the_generator(saved):
    state = torch.get_rng_state()
    load_checkpoint(saved[1])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.safetensors: unreadable"):
        load_checkpoint(path)


def test_a_missing_or_foreign_checkpoint_is_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(UserError, match=r"gone\.safetensors: not found"):
        load_checkpoint(tmp_path / "gone.safetensors")
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="not a checkpoint of this project"):
        load_checkpoint(tmp_path / "foreign.safetensors")


# A user's own networks, written to a module of the user's.
OWN = '''
import torch
from torch import nn


class Tied(nn.Module):
    """Two hidden layers with one weight, and a weight that is stored transposed."""

    def __init__(self, size, classes):
        super().__init__()
        self.first, self.second = nn.Linear(size, size), nn.Linear(size, size)
        self.second.weight = self.first.weight
        self.output = nn.Parameter(torch.randn(classes, size).T)

    def forward(self, x):
        return self.second(self.first(x.flatten(1)).relu()).relu() @ self.output


def tied(input_shape, num_classes):
    return Tied(input_shape[0] * input_shape[1] * input_shape[2], num_classes)


def without_biases(input_shape, num_classes, width=5):
    layers = [nn.Flatten(), nn.Linear(64, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, num_classes, bias=False))


def frozen_features(input_shape, num_classes):
    features = nn.Conv2d(1, 2, 3).requires_grad_(False).eval()
    return nn.Sequential(features, nn.Flatten(), nn.Linear(72, num_classes))


def with_dropout(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, num_classes))


def no_module(input_shape, num_classes):
    return lambda x: x


def too_few(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes - 1))


class Buffers(nn.Module):
    """A linear classifier with a buffer of one kind or another, which its output depends on."""

    def __init__(self, size, classes, buffer):
        super().__init__()
        self.linear = nn.Linear(size, classes)
        self.register_buffer("buffer", buffer)

    def forward(self, x):
        return self.linear(x.flatten(1)) + self.buffer


def expanded(input_shape, num_classes):
    return Buffers(64, num_classes, torch.randn(1).expand(num_classes))


def sparse(input_shape, num_classes):
    return Buffers(64, num_classes, torch.ones(num_classes).to_sparse())


def complex_of_two_doubles(input_shape, num_classes):
    return Buffers(64, num_classes, torch.ones(num_classes, dtype=torch.complex128))


def two_outputs(input_shape, num_classes):
    return nn.LSTM(8, num_classes)


def lazy(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def broken(input_shape, num_classes):
    return nn.Linear(3, num_classes)
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Settings of a network in the user's module, which lies in a folder that Python searches."""
    (tmp_path / "networks_of_a_user.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda function, **options: {"architecture": f"networks_of_a_user:{function}", **options}
    sys.modules.pop("networks_of_a_user", None)


def seeded(settings):
    torch.manual_seed(1)
    return build_model(settings, SHAPE, 10)


def assert_survives_a_checkpoint(model, settings, path):
    save_checkpoint(path, model, NetworkSettings(settings, SHAPE, 10), {"step": 0})
    own_network = settings["architecture"] if ":" in settings["architecture"] else None
    loaded = load_checkpoint(path, own_network)
    inputs = torch.randn(3, *SHAPE)
    assert torch.equal(loaded(inputs), model.eval()(inputs))
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in loaded.state_dict().items())
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert [name for name, p in loaded.named_parameters() if p.requires_grad] == trainable
    return loaded


def test_a_users_network_is_called_with_shape_classes_and_options(own, tmp_path):
    settings = own("without_biases", options={"width": 7}, code="0123")
    model = seeded(settings)
    assert [layer.weight.shape for layer in model if hasattr(layer, "weight")] == [(7, 64), (7, 7), (10, 7)]
    assert_survives_a_checkpoint(model, settings, tmp_path / "a")


def test_a_trial_of_a_users_network_leaves_no_trace(own):
    """Checking what the network returns neither takes random numbers nor changes modes."""
    torch.manual_seed(1)
    model = build_model(own("frozen_features"), SHAPE, 10)
    torch.manual_seed(1)
    expected = nn.Conv2d(1, 2, 3), nn.Linear(72, 10)
    assert torch.equal(model[0].weight, expected[0].weight)
    assert torch.equal(model[2].weight, expected[1].weight)
    assert (model.training, model[0].training) == (True, False)


def test_tied_and_transposed_weights_survive_a_checkpoint(own, tmp_path):
    model = seeded(own("tied"))
    assert not model.output.is_contiguous()
    loaded = assert_survives_a_checkpoint(model, own("tied"), tmp_path / "a")
    assert loaded.first.weight is loaded.second.weight
    save_checkpoint(tmp_path / "b", loaded, NetworkSettings(own("tied"), SHAPE, 10), {"step": 0})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_buffer_that_is_one_value_seen_many_times_survives_a_checkpoint(own, tmp_path):
    assert_survives_a_checkpoint(seeded(own("expanded")), own("expanded"), tmp_path / "a")


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("nothing", None, r"^networks_of_a_user:nothing: found no 'nothing' in the module"),
        (
            "tied",
            {"widht": 3},
            r"^networks_of_a_user:tied: found tied\(input_shape, num_classes, widht=\.\.\.\).*'widht'",
        ),
        ("no_module", None, r"^networks_of_a_user:no_module: found a function, expected .* torch\.nn\.Module"),
        ("too_few", None, r"^networks_of_a_user:too_few: found an output of \[2, 9\] .*expected logits \[2, 10\]"),
        (
            "sparse",
            None,
            r"^networks_of_a_user:sparse: found buffer to be a tensor of layout torch\.sparse_coo .* dense",
        ),
        ("complex_of_two_doubles", None, r"found buffer to be .* type torch\.complex128, expected .* store it so"),
        ("lazy", None, r"^networks_of_a_user:lazy: found 1\.weight of type UninitializedParameter"),
    ],
)
def test_a_users_mistake_in_a_network_is_one_line(own, function, options, message):
    settings = own(function) if options is None else own(function, options=options)
    with pytest.raises(UserError, match=message) as caught:
        build_model(settings, SHAPE, 10)
    assert "\n" not in str(caught.value)


def test_an_output_that_is_no_tensor_is_refused(own):
    with pytest.raises(UserError, match=r"found an output of tuple for two images of 4x8, expected logits \[2, 10\]"):
        build_model(own("two_outputs"), (4, 8), 10)


def test_an_error_inside_the_users_network_is_one_line(own):
    with pytest.raises(UserError, match=r"on which it fails \(RuntimeError: .* shapes cannot be multiplied"):
        build_model(own("broken"), SHAPE, 10)


def test_a_module_that_is_nowhere_is_one_line():
    with pytest.raises(
        UserError, match=r"^no_such_file:net: found no module 'no_such_file', expected one in the working"
    ):
        build_model({"architecture": "no_such_file:net"}, SHAPE, 10)


def test_a_checkpoint_of_a_network_that_has_changed_since_is_refused(own, tmp_path):
    settings = own("without_biases", options={"width": 7})
    save_checkpoint(tmp_path / "a", seeded(settings), NetworkSettings(own("without_biases"), SHAPE, 10), {"step": 0})
    with pytest.raises(
        UserError, match=r"a: found weights that do not fit the network that networks_of_a_user:without"
    ):
        load_checkpoint(tmp_path / "a", settings["architecture"])


def test_blocks_that_leave_no_pixel_are_refused():
    with pytest.raises(UserError, match=r"^cnn: found 4 blocks for images of 8x8, expected at most 3"):
        build_model(CNN | {"channels": [2, 2, 2, 2]}, SHAPE, 10)


# Initial weights.


def test_init_scale_multiplies_every_parameter_and_no_buffer():
    plain, scaled = seeded(CNN), seeded(CNN | {"init_scale": 0.5})
    pairs = dict(scaled.named_parameters())
    assert all(torch.equal(pairs[name], 0.5 * p) for name, p in plain.named_parameters())
    assert torch.equal(scaled.bn1.weight, torch.full((2,), 0.5))
    assert all(torch.equal(value, dict(scaled.named_buffers())[name]) for name, value in plain.named_buffers())


def test_three_layers_without_biases_are_homogeneous_of_degree_three(own):
    inputs = torch.randn(4, *SHAPE)
    plain, scaled = seeded(own("without_biases"))(inputs), seeded(own("without_biases", init_scale=4.0))(inputs)
    assert torch.equal(scaled, 64 * plain)  # a power of two: no rounding
    assert plain.abs().max() > 0


def test_init_scale_leaves_frozen_weights_and_scales_tied_ones_once(own):
    plain, scaled = seeded(own("frozen_features")), seeded(own("frozen_features", init_scale=2))
    assert torch.equal(scaled[0].weight, plain[0].weight)
    assert torch.equal(scaled[2].bias, 2 * plain[2].bias)
    assert torch.equal(seeded(own("tied", init_scale=2)).second.weight, 2 * seeded(own("tied")).second.weight)


LAZY = CNN | {"init_scale": 2, "subtract_initial_output": True}


def test_the_output_is_zero_until_the_weights_move_in_either_mode():
    model = seeded(LAZY)
    for _ in range(3):
        assert not model.train()(torch.randn(20, *SHAPE)).any()  # moves the running statistics of both
    assert model.network.bn1.running_mean.any()
    assert not model.eval()(torch.randn(5, *SHAPE)).any()


def test_training_moves_the_output_by_the_change_of_the_weights_alone():
    """A linear classifier: f(x; w) - f(x; w0) = (W - W0) x + (b - b0)."""
    model = seeded({"architecture": "mlp", "hidden": [], "subtract_initial_output": True})
    inputs = torch.randn(6, *SHAPE)
    start = [p.detach().clone() for p in model.network.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    nn.functional.cross_entropy(model(inputs), torch.arange(6)).backward()
    optimizer.step()
    weight, bias = (p - p0 for p, p0 in zip(model.network.parameters(), start, strict=True))
    torch.testing.assert_close(model(inputs), inputs.flatten(1) @ weight.T + bias, rtol=0, atol=1e-6)
    assert all(torch.equal(p, p0) for p, p0 in zip(model.initial.parameters(), start, strict=True))


def test_the_start_is_kept_in_the_checkpoint(tmp_path):
    model = seeded(LAZY)
    model(torch.randn(20, *SHAPE))
    with torch.no_grad():
        for p in model.network.parameters():
            p.add_(0.1)
    loaded = assert_survives_a_checkpoint(model, LAZY, tmp_path / "a")
    assert torch.equal(loaded.initial.output.weight, seeded(LAZY).network.output.weight)


def test_gradients_are_of_the_trained_weights_alone():
    model = seeded(LAZY).double()
    inputs, targets = torch.randn(5, *SHAPE).double(), torch.tensor([1, 2, 3, 1, 0])
    model(inputs)
    with torch.no_grad():
        model.network.output.weight.add_(0.3)
    loss = nn.CrossEntropyLoss(reduction="none")
    totals = gradient_statistics(model, loss, [(inputs, targets)]).sum_sq_norm(by="parameter")
    rows = per_example_gradients(model, loss, inputs, targets)
    assert set(totals) == {f"network.{name}" for name, _ in seeded(CNN).named_parameters()} == set(rows)
    for name, gradients in rows.items():
        assert totals[name] == pytest.approx(gradients.square().sum().item(), rel=1e-10), name


def test_an_initial_output_that_cannot_be_subtracted_is_refused(own):
    with pytest.raises(UserError, match=r"^subtract_initial_output: found a network that draws random numbers"):
        build_model(own("with_dropout", subtract_initial_output=True), SHAPE, 10)


def test_the_schema_and_the_functions_agree_on_every_setting_and_default():
    from mcoherence.models import cnn, mlp, own_network, torchvision_networks

    definitions = json.loads((ROOT / "schemas/config.schema.json").read_text())["$defs"]
    functions = {
        "mlp": mlp.mlp, "cnn": cnn.cnn, "resnet": torchvision_networks.resnet, "vgg": torchvision_networks.vgg,
        "alexnet": torchvision_networks.alexnet, "inception_v3": torchvision_networks.inception_v3,
        "efficientnet": torchvision_networks.efficientnet, "torchvision": torchvision_networks.other,
        "own_network": own_network.own_network,
    }  # fmt: skip
    for name, function in functions.items():
        properties = dict(definitions[name]["properties"])
        common = {key: properties.pop(key).get("default") for key in ("init_scale", "subtract_initial_output")}
        assert common == {"init_scale": 1, "subtract_initial_output": False}
        del properties["architecture"]
        arguments = dict(inspect.signature(function).parameters)
        for given in ("architecture", "builder", "input_shape", "num_classes"):
            arguments.pop(given, None)
        assert list(properties) == list(arguments), name
        for key, schema in properties.items():
            default = arguments[key].default
            assert ("default" in schema) == (default is not inspect.Parameter.empty), (name, key)
            assert schema.get("default") == ({} if key == "options" else default if "default" in schema else None)
