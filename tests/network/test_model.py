"""The network layer by layer: counts against the paper's, outputs and gradients against a plain re-statement."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alexnet_network.model import AlexNet, Dropout, layer_costs
from alexnet_network.modelconfig import LAYERS, ModelConfig, layer_names, map_sides_px, parameter_count
from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import load_recipe


def released(**changes: object) -> ModelConfig:
    return replace(load_recipe("released").model, **({"num_classes": 1000} | changes))  # type: ignore[arg-type]


def small(**changes: object) -> ModelConfig:
    return released(**({"width": 0.125, "num_classes": 10} | changes))


def seeded(config: ModelConfig) -> AlexNet:
    return AlexNet(config, torch.Generator().manual_seed(0))


def test_released_network_counts() -> None:
    costs = layer_costs(seeded(released()))
    table = [(cost.name, cost.output_shape, cost.parameters, round(cost.multiply_adds / 1e6, 1)) for cost in costs]
    assert table == [
        ("conv1", (96, 55, 55), 34_944, 105.4),
        ("conv2", (256, 27, 27), 307_456, 223.9),
        ("conv3", (384, 13, 13), 885_120, 149.5),
        ("conv4", (384, 13, 13), 663_936, 112.1),
        ("conv5", (256, 13, 13), 442_624, 74.8),
        ("fc6", (4096,), 37_752_832, 37.7),
        ("fc7", (4096,), 16_781_312, 16.8),
        ("fc8", (1000,), 4_097_000, 4.1),
    ]
    assert sum(cost.parameters for cost in costs) == 60_965_224
    neurons = [math.prod(cost.output_shape) for cost in costs]
    assert (neurons[0], sum(neurons)) == (290_400, 659_272)
    assert sum(cost.multiply_adds for cost in costs) == 724_406_816
    assert sum(cost.multiply_adds for cost in costs[:5]) == 665_784_864


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [
        ("paper", 60_965_224),
        ("caffe", 60_965_224),
        ("no-lrn", 60_965_224),
        ("one-tower", 59_798_312),
        ("torchvision", 61_100_840),
    ],
)
def test_parameters_of_the_variants(recipe: str, parameters: int) -> None:
    costs = layer_costs(seeded(replace(load_recipe(recipe).model, num_classes=1000)))
    assert sum(cost.parameters for cost in costs) == parameters


def test_ungrouped_counts() -> None:
    costs = layer_costs(seeded(released(towers=1)))
    assert sum(cost.parameters for cost in costs) == 62_378_344
    assert round(sum(cost.multiply_adds for cost in costs) / 1e6) == 1135


def window_norm(x: Tensor, alpha: float) -> Tensor:
    """Paper section 3.3 with alpha as given, over all channels of x."""
    squares = functional.pad(x.square(), (0, 0, 0, 0, 2, 2))
    total = sum((squares[:, i : i + x.shape[1]] for i in range(5)), torch.zeros_like(x))
    return x / (2 + alpha * total) ** 0.75


def per_tower(x: Tensor, alpha: float) -> Tensor:
    return torch.cat([window_norm(half, alpha) for half in x.chunk(2, 1)], 1)


def two_towers(x: Tensor, model: AlexNet, name: str, padding: int) -> Tensor:
    """A grouped convolution as two: each half of the maps with its half of the filters."""
    layer = model.get_submodule(name)
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    halves = zip(x.chunk(2, 1), weight.chunk(2), bias.chunk(2), strict=True)
    return torch.cat([functional.conv2d(a, w, b, padding=padding) for a, w, b in halves], 1)


def restated(model: AlexNet, x: Tensor, *, paper: bool) -> Tensor:
    """The eval-time network written out, in the released order of stages or in the paper's."""
    alpha = 1e-4 if paper else 1e-4 / 5
    padded = torch.zeros(len(x), 3, 227, 227, dtype=x.dtype)
    padded[:, :, :224, :224] = x
    x = model.conv1(padded)
    if paper:
        x = functional.max_pool2d(per_tower(x.clamp(min=0), alpha), 3, 2)
    else:
        x = functional.max_pool2d(per_tower(x, alpha), 3, 2).clamp(min=0)
    x = per_tower(two_towers(x, model, "conv2", 2).clamp(min=0), alpha)
    if not paper:
        ones = torch.ones(x.shape[1], 1, 5, 5, dtype=x.dtype)
        total = functional.conv2d(x.square(), ones, padding=2, groups=x.shape[1])
        x = x / (1 + 0.001 / 25 * total) ** 0.75
    x = functional.max_pool2d(x, 3, 2)
    x = functional.conv2d(x, model.conv3.weight, model.conv3.bias, padding=1).clamp(min=0)
    x = two_towers(x, model, "conv4", 1).clamp(min=0)
    x = functional.max_pool2d(two_towers(x, model, "conv5", 1).clamp(min=0), 3, 2).flatten(1)
    x = 0.5 * functional.linear(x, model.fc6.weight, model.fc6.bias).clamp(min=0)
    x = 0.5 * functional.linear(x, model.fc7.weight, model.fc7.bias).clamp(min=0)
    return functional.linear(x, model.fc8.weight, model.fc8.bias)


VARIANTS: dict[str, dict[str, object]] = {
    "released": {},
    "caffe": {"lrn_per_tower": False, "lrn_k": 1.0},
    "paper": {"lrn_alpha_over_size": False},
}

PAPER = {
    "after_conv1": ("relu", "lrn", "pool"),
    "after_conv2": ("relu", "lrn", "pool"),
    "lrn_alpha_over_size": False,
}


@pytest.mark.parametrize("paper", [False, True], ids=["released", "paper"])
def test_network_equals_its_restatement_with_gradients(paper: bool) -> None:
    # Deviations at which every layer passes signal at this width, so that an error in any of them shows.
    stds = (0.03, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2)
    model = seeded(small(init_std=stds, **(PAPER if paper else {}))).eval()
    x = 60 * torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    logits, want = model(x), restated(model, x, paper=paper)
    assert logits.std() > 1e-3
    torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-4 * want.abs().max().item())
    target = torch.tensor([1, 7])
    parameters = list(model.parameters())
    ours = torch.autograd.grad(functional.cross_entropy(logits, target), parameters)
    theirs = torch.autograd.grad(functional.cross_entropy(want, target), parameters)
    for name, mine, his in zip(dict(model.named_parameters()), ours, theirs, strict=True):
        scale = his.abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(mine, his, rtol=1e-3, atol=1e-4 * scale, msg=name)


def test_torchvisions_network() -> None:
    """torchvision.models.alexnet written out, with our weights."""
    model = seeded(replace(load_recipe("torchvision").model, num_classes=10, width=0.25)).eval()
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    want = functional.max_pool2d(functional.conv2d(x, model.conv1.weight, model.conv1.bias, 4, 2).relu(), 3, 2)
    want = functional.max_pool2d(functional.conv2d(want, model.conv2.weight, model.conv2.bias, 1, 2).relu(), 3, 2)
    for layer in (model.conv3, model.conv4, model.conv5):
        want = functional.conv2d(want, layer.weight, layer.bias, 1, 1).relu()
    want = functional.adaptive_avg_pool2d(functional.max_pool2d(want, 3, 2), 6).flatten(1)
    want = model.fc8(model.fc7(model.fc6(want).relu()).relu())
    torch.testing.assert_close(model(x), want, rtol=1e-4, atol=1e-6)


def test_norms_of_the_variants() -> None:
    norms = {name: AlexNet(small(**changes)).after_conv1 for name, changes in VARIANTS.items()}
    assert "k=2.0, groups=2" in str(norms["released"])
    assert "k=1.0, groups=1" in str(norms["caffe"])
    assert "alpha=0.0005" in str(norms["paper"])


def test_channels_last_gives_the_same_logits() -> None:
    model = seeded(small()).eval()
    x = 60 * torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    want = model(x)
    found = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-6)


def test_initial_weights() -> None:
    model = seeded(released(num_classes=100))
    for name, std, bias in zip(
        LAYERS, (0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01), (0, 1, 0, 1, 1, 1, 1, 0), strict=True
    ):
        layer = model.get_submodule(name)
        assert layer.get_parameter("weight").std().item() == pytest.approx(std, rel=0.02), name
        assert abs(layer.get_parameter("weight").mean().item()) < std / 50, name
        assert bool((layer.get_parameter("bias") == bias).all()), name


def test_equal_seeds_give_equal_weights() -> None:
    one, other = (seeded(small()).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_dropout_is_the_originals() -> None:
    x = torch.full((200, 500), 3.0)
    torch.manual_seed(0)
    dropped = Dropout(0.5, "test")(x)
    assert set(dropped.unique().tolist()) == {0.0, 3.0}  # kept values pass unchanged
    assert dropped.mean().item() == pytest.approx(1.5, rel=0.02)
    assert torch.equal(Dropout(0.5, "test").eval()(x), 0.5 * x)
    scaled = Dropout(0.5, "train")(x)
    assert set(scaled.unique().tolist()) == {0.0, 6.0}
    assert torch.equal(Dropout(0.5, "train").eval()(x), x)


@pytest.mark.parametrize("scaled_in", ["test", "train"])
def test_masks_of_some_places_are_rows_of_the_whole_batchs(scaled_in: str) -> None:
    x = torch.randn(12, 300, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    whole = Dropout(0.5, scaled_in)(x)
    part = Dropout(0.5, scaled_in)
    part.batch_size = 12
    for places in (range(12), range(4), range(4, 9), range(11, 12)):
        part.places = torch.tensor(places)
        torch.manual_seed(0)
        assert torch.equal(part(x[places]), whole[places])
    assert torch.equal(part.eval()(x), Dropout(0.5, scaled_in).eval()(x))


def test_dropout_at_outputs_or_inputs() -> None:
    x = 60 * torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    seen: dict[str, list[tuple[int, ...]]] = {}
    for place in ("outputs", "inputs"):
        model = seeded(small(dropout_at=place))
        shapes: list[tuple[int, ...]] = []
        model.dropout.register_forward_hook(lambda *call, shapes=shapes: shapes.append(tuple(call[2].shape)))
        model(x)
        seen[place] = shapes
    assert seen == {"outputs": [(1, 512), (1, 512)], "inputs": [(1, 32 * 36), (1, 512)]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"after_conv1": ("relu", "norm", "pool")}, "'norm'"),
        ({"after_conv5": ("relu",)}, "one pool"),
        ({"pool_px": 5}, "maps of conv1 55, pool1 26"),
        ({"pool_stride_px": 0}, "pool_stride_px is 0; expected 1 to 64"),
        ({"conv1_padding_px": (0, 0)}, "expected 6 at the end"),
        ({"conv1_padding_px": (3,)}, "has 1 numbers"),
        ({"conv1_padding_px": (-60, 0)}, r"conv1_padding_px\[0\] is -60"),
        ({"hidden": -5}, "hidden is -5"),
        ({"hidden": 250_000, "width": 1.0}, "parameters; expected at most"),
        ({"num_classes": 10**6, "hidden": 200_000, "width": 1.0}, "parameters; expected at most"),
        ({"channels": (96, -256, 384, 384, 256)}, r"channels\[1\] is -256"),
        ({"channels": (0, 256, 384, 384, 256)}, "every network has a conv1"),
        ({"lrn_alpha": float("nan")}, "lrn_alpha is nan"),
        ({"lrn_k": 0.0}, "lrn_k is 0.0"),
        ({"init_std": (float("inf"),) * 8}, r"init_std\[0\] is inf"),
        ({"width": float("inf")}, "width is inf"),
        ({"after_conv1": ("pool", *("relu",) * 99)}, "100 stages"),
        ({"towers": 3}, "towers is 3"),
        ({"width": 0.0}, "width is 0.0"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"channels": (1, 2)}, "channels has 2"),
        ({"init_std": (0.1,)}, "init_std"),
        ({"lrn_size": 4}, "lrn_size is 4"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"dropout_at": "nowhere"}, "dropout_at"),
    ],
)
def test_configs_that_are_no_network_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(AlexnetError, match=message):
        AlexNet(small(**changes))


def test_the_network_has_the_layers_maps_and_parameters_that_its_config_says() -> None:
    for name in (
        "released",
        "torchvision",
        "no-overlap",
        "without-conv3",
        "without-conv4",
        "without-conv5",
        "six-conv",
    ):
        config = replace(load_recipe(name).model, width=0.125, num_classes=7)
        model = seeded(config)
        costs = layer_costs(model)
        assert (
            tuple(cost.name for cost in costs)
            == layer_names(config)
            == tuple(key.removesuffix(".weight") for key in model.state_dict() if key.endswith(".weight"))
        )
        sides = map_sides_px(config, 224)
        for cost in costs:
            if cost.name.startswith("conv"):
                assert cost.output_shape[1:] == (sides[cost.name],) * 2, (name, cost.name)
        assert parameter_count(config) == sum(cost.parameters for cost in costs), name


def test_configuration_147_has_the_maps_of_its_released_file() -> None:
    """layers-147.cfg: conv1, pool1, conv2, pool2, conv4, conv5, pool5 of 55, 28, 26, 13, 13, 11, 6 pixels."""
    config = replace(load_recipe("no-overlap").model, width=0.125, num_classes=7)
    assert (config.pool_px, config.pool_stride_px, config.conv2_padding_px, config.conv5_padding_px) == (2, 2, 1, 0)
    sides = map_sides_px(config, 224)
    assert [sides[name] for name in ("conv1", "pool1", "conv2", "pool2", "conv4", "conv5", "pool5")] == [
        55, 28, 26, 13, 13, 11, 6,
    ]  # fmt: skip
    seen: list[int] = []
    model = seeded(config)
    for stage in (model.conv1, model.after_conv1, model.conv2, model.after_conv2, model.conv4, model.conv5):
        stage.register_forward_hook(lambda *call: seen.append(call[2].shape[-1]))
    model.after_conv5.register_forward_hook(lambda *call: seen.append(call[2].shape[-1]))
    model.eval()(torch.zeros(1, 3, 224, 224))
    assert seen == [55, 28, 26, 13, 13, 11, 6]


def test_left_out_layers_change_nothing_else() -> None:
    """Without conv4, conv5 takes conv3's maps: the network written out with the same weights."""
    model = seeded(replace(load_recipe("without-conv4").model, width=0.125, num_classes=7)).eval()
    x = 60 * torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    want = model.after_conv2(model.conv2(model.after_conv1(model.conv1(functional.pad(x, (0, 3, 0, 3))))))
    want = model.after_conv5(model.conv5(functional.relu(model.conv3(want)))).flatten(1)
    want = 0.5 * functional.relu(model.fc7(0.5 * functional.relu(model.fc6(want))))
    assert torch.equal(model(x), model.fc8(want))
    assert not hasattr(model, "conv4")


def test_init_torch_draws_what_torchs_own_layers_draw() -> None:
    model = seeded(replace(load_recipe("torchvision").model, width=0.125, num_classes=10))
    torch.manual_seed(0)
    for name in LAYERS:
        layer = model.get_submodule(name)
        drawn = copy.deepcopy(layer)
        drawn.reset_parameters()  # type: ignore[operator]
        for key, tensor in layer.state_dict().items():
            assert torch.equal(tensor, drawn.state_dict()[key]), (name, key)
            assert tensor.std() > 0
