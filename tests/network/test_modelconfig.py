"""What a network's numbers must be, by arithmetic alone: sides of maps against torch, and what is refused."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from alexnet_network.modelconfig import ModelConfig, check_map_sides, layer_names, map_sides_px
from alexnet_shards.errors import AlexnetError
from alexnet_train.recipe import load_recipe


def built(**changes: object) -> ModelConfig:
    """A config with `changes` that no check has seen."""
    config = object.__new__(ModelConfig)
    vars(config).update(vars(load_recipe("released").model) | changes)
    return config


def sides_by_torch(config: ModelConfig, input_px: int) -> list[int]:
    """The sides of the maps of one channel, by running torch's own convolutions and pools."""

    def convolved(x: torch.Tensor, kernel: int, stride: int, padding: int) -> torch.Tensor:
        return functional.conv2d(x, torch.zeros(1, 1, kernel, kernel), stride=stride, padding=padding)

    def pooled(x: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(x, config.pool_px, config.pool_stride_px, ceil_mode=config.pool_ceil)

    before, after = config.conv1_padding_px
    x = convolved(functional.pad(torch.zeros(1, 1, input_px, input_px), (before, after) * 2), 11, 4, 0)
    maps = [x, x := pooled(x), x := convolved(x, 5, 1, config.conv2_padding_px), x := pooled(x)]
    maps += [x := convolved(x, 3, 1, 1), x := convolved(x, 3, 1, 1)]
    maps += [x := convolved(x, 3, 1, config.conv5_padding_px), pooled(x)]
    return [item.shape[-1] for item in maps]


@pytest.mark.parametrize("pool_px", [1, 2, 3, 4])
@pytest.mark.parametrize("stride_px", [1, 2, 3, 5])
@pytest.mark.parametrize("ceil", [False, True])
def test_sides_are_torchs(pool_px: int, stride_px: int, ceil: bool) -> None:
    for input_px, paddings in ((224, (0, 3)), (227, (0, 0)), (200, (2, 2))):
        config = built(pool_px=pool_px, pool_stride_px=stride_px, pool_ceil=ceil, conv1_padding_px=paddings)
        found = list(map_sides_px(config, input_px).values())
        if min(found) >= 1:
            assert found == sides_by_torch(config, input_px), (input_px, paddings)
            continue
        with pytest.raises(RuntimeError):
            sides_by_torch(config, input_px)


def test_layers_of_the_recipes() -> None:
    assert "conv4" not in layer_names(load_recipe("without-conv4").model)
    assert layer_names(load_recipe("six-conv").model)[4:7] == ("conv5", "conv6", "fc6")
    with pytest.raises(AlexnetError, match="channels has 7 numbers"):
        replace(load_recipe("released").model, channels=(1,) * 7)
    with pytest.raises(AlexnetError, match="init_std has 8 numbers; expected 9: of 6 convolutions"):
        replace(load_recipe("released").model, channels=(1,) * 6)


def test_a_view_of_another_side_is_refused_where_the_maps_do_not_come_out() -> None:
    check_map_sides(load_recipe("caffe").model, 227)
    with pytest.raises(AlexnetError, match="an input of 100x100 gives maps of conv1 24"):
        check_map_sides(load_recipe("caffe").model, 100)
