"""Activations of fixed images against a network taken apart, dead units, files, and starts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from alexnet_network import AlexNet
from alexnet_shards import open_shards
from alexnet_stream import ShardDataset
from alexnet_train.activity import (
    fixed_images,
    load_activities,
    load_resumes,
    measure_activity,
    note_start,
    save_activity,
)
from alexnet_train.recipe import load_recipe


def network() -> AlexNet:
    recipe = load_recipe("caffe", ["width=0.125", "num_classes=3"])
    return AlexNet(recipe.model, torch.Generator().manual_seed(0))


def test_norms_and_dead_units_are_those_of_the_layers_outputs() -> None:
    """conv1 and fc7 by hand; one map and two units are made dead."""
    model, x = network(), torch.randn(5, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 60
    with torch.no_grad():
        model.get_parameter("conv1.bias")[3] = -1e6
        model.get_parameter("fc7.bias")[[5, 9]] = -1e6
    model.train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seed = torch.get_rng_state()
    found = measure_activity(model, x)
    assert torch.equal(seed, torch.get_rng_state()), "no mask of the next step changes"
    assert model.training
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert found.names == ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    assert found.units.tolist()[:1] + found.units.tolist()[-1:] == [12, 512]
    before, after = model.config.conv1_padding_px
    with torch.no_grad():
        first = functional.relu(model.conv1(functional.pad(x, (before, after, before, after))))
        last = model.eval().hidden(x)
    assert np.isclose(found.norms[0], np.mean([one.norm().item() for one in first]), rtol=1e-4)
    assert found.dead[0] == sum(not bool(first[:, place].any()) for place in range(12)) >= 1
    assert found.dead[-1] == int((last == 0).all(0).sum()) >= 2


def test_the_images_are_fixed_and_spread(make_shards: Callable[..., str], tmp_path: Path) -> None:
    shards = open_shards([make_shards(tmp_path / "few", (7, 5, 9))])
    assert fixed_images(shards).shape == (21, 256, 256, 3)
    many = open_shards([make_shards(tmp_path / "many", (60, 70))])
    images = fixed_images(many)
    assert len(images) == 64
    with ShardDataset(many) as dataset:
        assert np.array_equal(images[0], dataset[0][0])
        assert np.array_equal(images[-1], dataset[129][0])


def test_what_is_kept_comes_back_and_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    found = measure_activity(network(), torch.randn(2, 3, 224, 224))
    for epoch in (1, 2, 11):
        save_activity(tmp_path, epoch, found)
    assert [epoch for epoch, _ in load_activities(tmp_path)] == [1, 2, 11]
    kept = dict(load_activities(tmp_path))[2]
    assert kept.names == found.names
    assert all(np.array_equal(getattr(kept, name), getattr(found, name)) for name in ("norms", "dead", "units"))
    path = tmp_path / "looks" / "activity-0002.npz"
    path.write_bytes(path.read_bytes()[:300])
    (tmp_path / "looks" / "activity-x.npz").write_bytes(b"")
    assert [epoch for epoch, _ in load_activities(tmp_path)] == [1, 11]


def test_starts_are_noted(tmp_path: Path) -> None:
    assert load_resumes(tmp_path) == []
    for step in (0, 40, 12, 40):
        note_start(tmp_path, step)
    assert load_resumes(tmp_path) == [12, 40]
    (tmp_path / "looks" / "starts.txt").write_bytes(b"3\nx\n-1 \xff 9")
    assert load_resumes(tmp_path) == [3, 9]
