"""A classifier's probabilities against its own network, view by view."""

import pytest
import torch
from torch import nn

from alexnet_network import Classifier, DeviceStats, InputConfig
from alexnet_network import classifier as classifier_module
from alexnet_network.classifier import views_at_once
from alexnet_shards import AlexnetError, ClassFact


class CornerNetwork(nn.Module):
    """Two logits: nothing, and the first pixel's red."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros(len(x)), x[:, 0, 0, 0]], 1)


def test_probabilities_are_averaged_after_the_softmax_and_logits_before_it() -> None:
    images_nhwc = torch.zeros((1, 256, 256, 3), dtype=torch.uint8)
    images_nhwc[0, 0, 0, 0] = 3  # the first pixel of one view of ten alone
    zeros = {name: torch.zeros(1, 3, 1, 1) for name in ("mean_nchw", "channel_mean_nchw")}
    axes = {name: torch.zeros(3, 3) for name in ("axes_released", "axes_paper")}
    classes = (ClassFact(wnid="dark"), ClassFact(wnid="red"))
    how = InputConfig(mean="none")
    classifier = Classifier(model=CornerNetwork(), stats=DeviceStats(**zeros, **axes), input=how, classes=classes)
    one = classifier.probabilities(images_nhwc, views=1)
    assert torch.equal(one, torch.tensor([[0.5, 0.5]]))
    lit = torch.tensor([0.0, 3.0]).softmax(0)
    torch.testing.assert_close(classifier.probabilities(images_nhwc, views=10), (one * 9 + lit) / 10)
    # As some replications have it: one view's 3.0 is 0.3 in the mean of ten.
    logits = classifier.log_probabilities(images_nhwc, 10, "logits")
    torch.testing.assert_close(
        logits, torch.tensor([[0.0, 0.3]], dtype=torch.float64).log_softmax(1), rtol=0, atol=1e-6
    )
    assert torch.equal(classifier.log_probabilities(images_nhwc, 1, "logits").exp().float(), one)
    views = classifier.view_log_probabilities(images_nhwc, views=10).exp()
    assert views.shape == (10, 1, 2)
    torch.testing.assert_close(views[:, 0, 1].float(), torch.tensor([lit[1], *[0.5] * 9]))
    with pytest.raises(AlexnetError, match="CornerNetwork"):
        classifier.features(images_nhwc)


def test_views_that_go_through_together_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """In lists of four, four and two, as an accelerator would take them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 32, 32), nn.Flatten(), nn.Linear(4 * 49, 6))
    stats = DeviceStats(
        mean_nchw=torch.full((1, 3, 224, 224), 100.0), channel_mean_nchw=torch.zeros(1, 3, 1, 1),
        axes_released=torch.eye(3), axes_paper=torch.eye(3),
    )  # fmt: skip
    classes = tuple(ClassFact(wnid=str(number)) for number in range(6))
    classifier = Classifier(model=network, stats=stats, input=InputConfig(), classes=classes)
    images_nhwc = torch.randint(0, 256, (3, 256, 256, 3), dtype=torch.uint8)
    one_by_one = classifier.log_probabilities(images_nhwc, views=10)
    seen: list[int] = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    monkeypatch.setattr(classifier_module, "views_at_once", lambda images, device: 4)
    torch.testing.assert_close(classifier.log_probabilities(images_nhwc, views=10), one_by_one, rtol=1e-6, atol=1e-6)
    assert seen == [12, 12, 6]


def test_how_many_go_together() -> None:
    cpu, other = torch.device("cpu"), torch.device("meta")
    assert views_at_once(1, cpu) == views_at_once(500, cpu) == 1
    assert [views_at_once(images, other) for images in (0, 1, 250, 409, 4096, 5000)] == [4096, 4096, 16, 10, 1, 1]
