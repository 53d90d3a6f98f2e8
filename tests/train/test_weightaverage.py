"""The average against torch's own, update by update."""

import copy

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from alexnet_network import AlexNet
from alexnet_train.recipe import load_recipe
from alexnet_train.weightaverage import WeightAverage


def test_the_average_is_torchs() -> None:
    model = AlexNet(load_recipe("demo", ("width=0.0625", "num_classes=3")).model, torch.Generator().manual_seed(0))
    ours = WeightAverage(AlexNet(model.config, torch.Generator().manual_seed(1)), 0.9)
    theirs = AveragedModel(
        copy.deepcopy(model),
        multi_avg_fn=get_ema_multi_avg_fn(0.9),  # type: ignore[no-untyped-call]
    )
    generator = torch.Generator().manual_seed(2)
    for update in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        ours.update(model)
        theirs.update_parameters(model)
        assert ours.updates == update + 1
        for mine, torchs in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
            assert torch.equal(mine, torchs)
        if update == 0:
            assert all(map(torch.equal, ours.module.parameters(), model.parameters()))
    assert not any(map(torch.equal, ours.module.parameters(), model.parameters()))
