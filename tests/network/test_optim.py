"""The update rule against the paper's formula by hand and against torch.optim.SGD; the schedule against the log."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from alexnet_network.modelconfig import LAYERS
from alexnet_network.optim import (
    MomentumSGD,
    OptimConfig,
    Phase,
    drops_of_plateau,
    make_optimizer,
    phase_at,
    rates_at,
    set_rates,
)
from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import load_recipe


def phase(after_epochs: int, factor: float, layers: dict[str, float] | None = None) -> Phase:
    return Phase(
        after_epochs=after_epochs, weights=factor, biases=2 * factor, layers=layers or {}, colour_noise=factor == 1
    )


def config(*phases: Phase) -> OptimConfig:
    return replace(
        load_recipe("released", ()).optim,
        learning_rate=0.1,
        weight_decay=0.01,
        plateau_epochs=2,
        plateau_factor=0.1,
        plateau_drops=3,
        phases=phases or (phase(0, 1.0),),
    )


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 4, generator=generator)).square().mean().backward()
        optimizer.step()


def rates(model: nn.Module, optim: OptimConfig, epochs_done: int) -> dict[str, float]:
    return rates_at(optim, [name for name, _ in model.named_parameters()], epochs_done)


def test_two_steps_by_hand() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.0), model.bias.fill_(1.0)
    optimizer = make_optimizer(model, config())
    set_rates(optimizer, {"weight": 0.1, "bias": 0.2})
    w, b, v_w, v_b = 2.0, 1.0, 0.0, 0.0
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.tensor([[3.0]])).sum().backward()
        optimizer.step()
        v_w = 0.9 * v_w - 0.01 * 0.1 * w - 0.1 * 3.0
        v_b = 0.9 * v_b - 0.2 * 1.0
        w, b = w + v_w, b + v_b
    assert model.weight.item() == pytest.approx(w, rel=1e-6)
    assert model.bias.item() == pytest.approx(b, rel=1e-6)


def test_equals_torch_at_a_constant_rate_and_differs_at_a_drop() -> None:
    ours, theirs = net(), net()
    optimizer = make_optimizer(ours, config())
    weights = [p for name, p in theirs.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in theirs.named_parameters() if name.endswith("bias")]
    reference = torch.optim.SGD(
        [{"params": weights, "lr": 0.1, "weight_decay": 0.01}, {"params": biases, "lr": 0.2}], lr=0.1, momentum=0.9
    )
    set_rates(optimizer, rates(ours, config(), 0))
    train(ours, optimizer, 20, seed=1)
    train(theirs, reference, 20, seed=1)
    for mine, torchs in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-5, atol=1e-6)
    before = copy.deepcopy(dict(ours.named_parameters()))
    set_rates(optimizer, dict.fromkeys(before, 1e-12))
    for group in reference.param_groups:
        group["lr"] = 1e-12
    train(ours, optimizer, 1, seed=2)
    train(theirs, reference, 1, seed=2)
    moved = {name: (p - before[name]).abs().max().item() for name, p in ours.named_parameters()}
    assert min(moved.values()) > 0  # the velocity goes on
    for name, p in theirs.named_parameters():
        torch.testing.assert_close(p, before[name], rtol=1e-5, atol=1e-6)  # torch stands still at once


def test_weights_decay_and_biases_do_not() -> None:
    optimizer = make_optimizer(net(), config())
    decay = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decay == {"0.weight": 0.01, "0.bias": 0.0, "2.weight": 0.01, "2.bias": 0.0}


def test_phases_scale_layers() -> None:
    optim = config(phase(0, 1.0), phase(3, 0.1, {"conv1": 0.0}))
    names = ["conv1.weight", "conv1.bias", "fc8.weight", "fc8.bias"]
    assert rates_at(optim, names, 2) == pytest.approx(dict(zip(names, (0.1, 0.2, 0.1, 0.2), strict=True)))
    assert rates_at(optim, names, 3) == pytest.approx(dict(zip(names, (0.0, 0.0, 0.01, 0.02), strict=True)))
    assert not phase_at(optim.phases, 4).colour_noise


@pytest.mark.parametrize(
    ("errors", "drops"),
    [
        ((), 0),
        ((0.9, 0.8, 0.7), 0),
        ((0.9, 0.9), 0),
        ((0.9, 0.9, 0.95), 1),  # two epochs without a lower error
        ((0.9, 0.95, 0.8, 0.85, 0.8), 1),  # an equal one is none
        ((0.9, 0.9, 0.9, 0.9), 1),  # after a drop two more are needed
        ((0.9, 0.9, 0.9, 0.9, 0.9), 2),
        ((0.9,) * 30, 3),  # no more than plateau_drops
    ],
)
def test_plateau(errors: tuple[float, ...], drops: int) -> None:
    optim = config()
    assert drops_of_plateau(optim, errors) == drops
    found = rates_at(optim, ["fc8.weight", "fc8.bias"], len(errors), val_errors=errors)
    assert list(found.values()) == pytest.approx([0.1 * 0.1**drops, 0.2 * 0.1**drops])
    assert drops_of_plateau(load_recipe("released").optim, errors) == 0


def test_rates_of_the_2012_run_and_of_the_four_steps() -> None:
    names = ["conv1.weight", "fc8.weight", "fc8.bias"]
    log = [(0, 1e-2, 1e-2, 2e-2), (25, 1e-3, 1e-3, 2e-2), (51, 1e-4, 1e-4, 2e-2), (67, 1e-5, 1e-4, 2e-2)]
    log += [(72, 0.0, 1e-4, 2e-2), (79, 0.0, 1e-5, 2e-2)]
    steps = [(0, 1e-2, 1e-2, 2e-2), (24, 1.5874e-3, 1.5874e-3, 2e-2), (48, 2.5198e-4, 2.5198e-4, 2e-3)]
    steps += [(71, 4e-5, 4e-5, 2e-3), (74, 0.0, 4e-5, 2e-3)]
    for recipe, rows in (("released-2012", log), ("no-lrn", log), ("four-step", steps)):
        for epochs_done, *expected in rows:
            found = rates_at(load_recipe(recipe).optim, names, epochs_done)
            assert list(found.values()) == pytest.approx(expected), (recipe, epochs_done)


def test_biases_end_where_the_released_files_end() -> None:
    """The last saved layer-params: 0.02 but for the frozen conv1 (145 on 2012, 148), 0.002 (145 on 2010, 147),
    0.02 but 0.002 in conv1 and conv2 (145-half)."""
    names = [f"{layer}.bias" for layer in LAYERS]
    ends = {
        "released-2012": [0.0] + [0.02] * 7,
        "no-lrn": [0.0] + [0.02] * 7,
        "released": [0.0] + [0.002] * 7,
        "no-overlap": [0.0] + [0.002] * 7,
        "one-tower": [0.002, 0.002] + [0.02] * 6,
    }
    for recipe, expected in ends.items():
        optim = load_recipe(recipe).optim
        assert list(rates_at(optim, names, 10**6).values()) == pytest.approx(expected), recipe
    assert list(rates_at(load_recipe("one-tower").optim, names, 0).values()) == pytest.approx([0.02] * 8)


def test_released_rates_are_those_of_the_log() -> None:
    optim = load_recipe("released").optim
    log = [(0, 1e-2, 1e-2), (22, 1e-2, 1e-2), (23, 1e-3, 1e-3), (51, 1e-4, 1e-4), (68, 1e-5, 1e-4)]
    log += [(72, 0.0, 1e-4), (78, 0.0, 1e-5), (92, 0.0, 1e-5)]
    for epochs_done, conv1, others in log:
        found = rates_at(optim, ["conv1.weight", "conv5.weight", "fc8.weight", "fc8.bias"], epochs_done)
        assert list(found.values())[:3] == pytest.approx([conv1, others, others]), epochs_done
        times = 2 if others >= 1e-3 else 20 if others == 1e-4 else 200
        assert found["fc8.bias"] == pytest.approx(times * others)
        assert phase_at(optim.phases, epochs_done).colour_noise == (epochs_done < 93 - 25)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ((phase(1, 1.0),), "the first 0"),
        ((phase(0, 1.0), phase(5, 0.1), phase(5, 0.01)), "ascending"),
        ((), "the first 0"),
    ],
)
def test_bad_phases_are_refused(phases: tuple[Phase, ...], message: str) -> None:
    with pytest.raises(AlexnetError, match=message):
        replace(config(), phases=phases)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", float("nan")),
        ("learning_rate", -0.1),
        ("momentum", 1.0),
        ("momentum", float("inf")),
        ("weight_decay", -1e-9),
        ("plateau_factor", 0.0),
        ("plateau_drops", -1),
        ("warmup_epochs", float("inf")),
    ],
)
def test_numbers_out_of_bounds_are_refused(key: str, value: float) -> None:
    with pytest.raises(AlexnetError, match=f"optim.{key} is {value}; expected"):
        replace(config(), **{key: value})  # type: ignore[arg-type]


def test_rates_of_a_phase_are_finite() -> None:
    with pytest.raises(AlexnetError, match=r"optim.phases.layers.conv1 is nan; expected 0 to 1000"):
        phase(0, 1.0, {"conv1": float("nan")})


def test_a_frozen_layer_does_not_coast_on_its_momentum() -> None:
    """Released code: at rate 0 the update is skipped, so that weights and velocities stay as they are."""
    model = net()
    optimizer = make_optimizer(model, config())
    names = [name for name, _ in model.named_parameters()]
    set_rates(optimizer, dict.fromkeys(names, 0.1))
    train(model, optimizer, 3, seed=1)
    before = copy.deepcopy(model.state_dict())
    velocity = copy.deepcopy(optimizer.state_dict()["state"])
    set_rates(optimizer, {name: 0.0 if name.startswith("0.") else 0.1 for name in names})
    train(model, optimizer, 3, seed=2)
    moved = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert moved == ["2.weight", "2.bias"]
    for number, state in optimizer.state_dict()["state"].items():
        assert torch.equal(state["velocity"], velocity[number]["velocity"]) == (number < 2)


def test_state_survives_a_checkpoint_bit_for_bit() -> None:
    straight, resumed = net(), net()
    optimizer = make_optimizer(straight, config())
    set_rates(optimizer, rates(straight, config(), 0))
    train(straight, optimizer, 6, seed=1)
    saved = copy.deepcopy((straight.state_dict(), optimizer.state_dict()))
    train(straight, optimizer, 6, seed=2)
    again: MomentumSGD = make_optimizer(resumed, config())
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    train(resumed, again, 6, seed=2)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_biases_decay_where_they_are_to() -> None:
    """Against torch.optim.SGD, which decays every parameter: at momentum 0 and one rate both are one rule."""
    model = nn.Linear(3, 2)
    theirs = copy.deepcopy(model)
    flat = replace(config(Phase(after_epochs=0, weights=1.0, biases=1.0, layers={}, colour_noise=True)), momentum=0.0)
    ours = make_optimizer(model, replace(flat, decay_biases=True))
    set_rates(ours, {"weight": 0.1, "bias": 0.1})
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, weight_decay=0.01)
    for network, optimizer in ((model, ours), (theirs, sgd)):
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    torch.testing.assert_close(model.bias, theirs.bias)
    torch.testing.assert_close(model.weight, theirs.weight)
    assert [group["weight_decay"] for group in make_optimizer(model, flat).param_groups] == [0.01, 0.0]


@pytest.mark.parametrize("decay_biases", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_rule_torch_is_torchs_at_any_rates(nesterov: bool, decay_biases: bool) -> None:
    """Rates that change at every step, which the two rules take differently."""
    ours, theirs = net(), net()
    optimizer = make_optimizer(ours, replace(config(), rule="torch", nesterov=nesterov, decay_biases=decay_biases))
    groups = [
        {"params": [p], "name": name, "weight_decay": 0.01 if name.endswith("weight") or decay_biases else 0.0}
        for name, p in theirs.named_parameters()
    ]
    reference = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=nesterov)
    for step in range(20):
        rate = 0.1 * (1 + math.cos(step))
        set_rates(optimizer, {name: rate for name, _ in ours.named_parameters()})
        for group in reference.param_groups:
            group["lr"] = rate
        train(ours, optimizer, 1, seed=step)
        train(theirs, reference, 1, seed=step)
    for mine, torchs in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-6, atol=1e-7)


def test_nesterov_of_the_papers_rule_is_torchs_at_a_constant_rate() -> None:
    ours, theirs, plain = net(), net(), net()
    optimizer = make_optimizer(ours, replace(config(), nesterov=True))
    groups = [
        {"params": [p], "weight_decay": 0.01 if name.endswith("weight") else 0.0}
        for name, p in theirs.named_parameters()
    ]
    reference = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    without = make_optimizer(plain, config())
    for one in (optimizer, without):
        set_rates(one, {name: 0.1 for name, _ in ours.named_parameters()})
    train(ours, optimizer, 20, seed=1)
    train(theirs, reference, 20, seed=1)
    train(plain, without, 20, seed=1)
    for mine, torchs, other in zip(ours.parameters(), theirs.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-5, atol=1e-6)
        assert (mine - other).abs().max() > 1e-3


@pytest.mark.parametrize("norm", [0.05, 1e6])
def test_clipping_is_torchs_over_what_moves(norm: float) -> None:
    ours, theirs = net(), net()
    optimizer = make_optimizer(ours, config())
    set_rates(optimizer, {"0.weight": 0.1, "0.bias": 0.0, "2.weight": 0.1, "2.bias": 0.1})
    for model in (ours, theirs):
        model(torch.randn(5, 4, generator=torch.Generator().manual_seed(3))).square().mean().backward()
    frozen = ours.get_parameter("0.bias").grad
    assert frozen is not None
    before = frozen.clone()
    optimizer.clip(norm)
    torch.nn.utils.clip_grad_norm_([p for name, p in theirs.named_parameters() if name != "0.bias"], norm)
    for mine, torchs in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None and torchs.grad is not None
        assert torch.equal(mine.grad, torchs.grad)
    assert torch.equal(frozen, before)


def test_cosine_is_torchs_step_by_step() -> None:
    steps_per_epoch, epochs, warmup = 7, 5, 2
    optim = replace(config(), cosine_epochs=float(epochs), warmup_epochs=float(warmup), plateau_epochs=0)
    reference = torch.optim.SGD(net().parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, (epochs - warmup) * steps_per_epoch)
    for step in range(epochs * steps_per_epoch + 3):
        progress = step / steps_per_epoch
        (rate,) = rates_at(optim, ["fc8.weight"], step // steps_per_epoch, progress_epochs=progress).values()
        if step < warmup * steps_per_epoch:
            assert rate == pytest.approx(0.1 * progress / warmup)
            continue
        if step <= epochs * steps_per_epoch:
            assert rate == pytest.approx(schedule.get_last_lr()[0], rel=1e-9, abs=1e-15)
            reference.step()
            schedule.step()
        else:
            assert rate == 0.0


def test_polynomial_is_algorithm_1_step_by_step() -> None:
    """(1 - t / T) ** power of arXiv:1708.03888 after each step t of T, under the line of the warm-up; then nothing."""
    steps_per_epoch, epochs, warmup = 7, 5, 2
    for power in (1.0, 2.0, 0.5):
        optim = replace(
            config(), polynomial_epochs=float(epochs), polynomial_power=power, warmup_epochs=2.0, plateau_epochs=0
        )
        for step in range(epochs * steps_per_epoch + 3):
            progress = step / steps_per_epoch
            found = rates_at(optim, ["fc8.weight", "fc8.bias"], step // steps_per_epoch, progress_epochs=progress)
            left = max(0.0, 1 - step / (epochs * steps_per_epoch))
            expected = 0.1 * min(1.0, step / (warmup * steps_per_epoch)) * left**power
            assert list(found.values()) == pytest.approx([expected, 2 * expected], rel=1e-12, abs=1e-15)


def test_rates_of_the_large_batch() -> None:
    recipe = load_recipe("large-batch")
    names, epoch = ["conv1.weight", "fc8.bias"], 1_261_406 // recipe.train.batch_size
    assert epoch == 153
    assert recipe.optim.rule == "lars"
    halfway = rates_at(recipe.optim, names, 50, progress_epochs=50.0)
    assert list(halfway.values()) == pytest.approx([14.0 / 4, 0.14 / 4])
    first = rates_at(recipe.optim, names, 0, progress_epochs=1 / epoch)
    assert first["conv1.weight"] == pytest.approx(14 / 5 / epoch * (1 - 1 / epoch / 100) ** 2)
    assert set(rates_at(recipe.optim, names, 100, progress_epochs=100.0).values()) == {0.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"polynomial_epochs": 3.0}, "polynomial_epochs is 3 and optim.plateau_epochs 2"),
        ({"polynomial_epochs": 3.0, "cosine_epochs": 3.0}, "cosine_epochs and optim.polynomial_epochs; expected one"),
        ({"trust_coefficient": 0.0}, "optim.trust_coefficient is 0.0; expected a number above 0"),
        ({"cosine_epochs": 3.0}, "cosine_epochs is 3 and optim.plateau_epochs 2"),
        ({"cosine_epochs": 3.0, "warmup_epochs": 3.0}, "expected more than optim.warmup_epochs, here 3"),
        (
            {"cosine_epochs": 3.0, "plateau_epochs": 0, "phases": (phase(0, 1.0), phase(2, 0.1))},
            "phases change the rates too",
        ),
        ({"rule": "adam"}, "optim.rule: 'adam'; expected one of paper, torch, lars"),
        ({"clip_norm": -1.0}, "optim.clip_norm is -1.0"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(AlexnetError, match=message):
        replace(config(), **changes)  # type: ignore[arg-type]
