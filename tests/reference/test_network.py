"""Forward, normalisation, gradients and ten views in slow float64 NumPy, from the paper's text alone, against ours."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from alexnet_network import LAYERS, AlexNet, Classifier, DeviceStats
from alexnet_network.lrn import LocalResponseNorm
from alexnet_shards.manifest import ClassFact
from alexnet_shards.stats import Stats
from alexnet_train.recipe import load_recipe

Array = npt.NDArray[np.float64]
Parameters = list[tuple[Array, Array]]
STDS = (0.03, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2)  # every layer passes signal at this width


def convolved(x_chw: Array, weight: Array, bias: Array, stride: int, padding: tuple[int, int], towers: int) -> Array:
    """Section 3.2: each tower's filters see that tower's maps alone."""
    x_chw = np.pad(x_chw, ((0, 0), padding, padding))
    outputs, inputs, side = weight.shape[0], weight.shape[1], weight.shape[2]
    size = (x_chw.shape[1] - side) // stride + 1
    y = np.empty((outputs, size, size))
    for tower in range(towers):
        own = slice(tower * outputs // towers, (tower + 1) * outputs // towers)
        seen = x_chw[tower * inputs : (tower + 1) * inputs]
        for row in range(size):
            for column in range(size):
                top, left = row * stride, column * stride
                patch = seen[:, top : top + side, left : left + side]
                y[own, row, column] = np.tensordot(weight[own], patch, 3) + bias[own]
    return y


def pooled(x_chw: Array) -> Array:
    """Section 3.4: s = 2, z = 3."""
    size = (x_chw.shape[1] - 3) // 2 + 1
    windows = [x_chw[:, i : i + 2 * size - 1 : 2, j : j + 2 * size - 1 : 2] for i in range(3) for j in range(3)]
    largest: Array = np.max(windows, axis=0)
    return largest


def normed(x_chw: Array, towers: int) -> Array:
    """Section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75, over adjacent maps of the same tower."""
    y, maps = np.empty_like(x_chw), x_chw.shape[0] // towers
    for tower in range(towers):
        for i in range(maps):
            near = range(max(0, i - 2), min(maps - 1, i + 2) + 1)
            total = sum(x_chw[tower * maps + j] ** 2 for j in near)
            y[tower * maps + i] = x_chw[tower * maps + i] / (2 + 1e-4 * total) ** 0.75
    return y


def parameters(model: AlexNet) -> Parameters:
    """(weight, bias) of conv1 to conv5 and the three full layers."""

    def of(name: str) -> Array:
        return model.get_parameter(name).detach().double().numpy().copy()

    return [(of(f"{name}.weight"), of(f"{name}.bias")) for name in LAYERS]


def logits(weights: Parameters, x_chw: Array) -> Array:
    """Section 3.5 with recipe `paper`'s order, in test: dropout's outputs are halved (4.2)."""
    (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5), (w6, b6), (w7, b7), (w8, b8) = weights
    x = pooled(normed(np.maximum(convolved(x_chw, w1, b1, 4, (0, 3), 1), 0), 2))
    x = pooled(normed(np.maximum(convolved(x, w2, b2, 1, (2, 2), 2), 0), 2))
    x = np.maximum(convolved(x, w3, b3, 1, (1, 1), 1), 0)
    x = np.maximum(convolved(x, w4, b4, 1, (1, 1), 2), 0)
    x = pooled(np.maximum(convolved(x, w5, b5, 1, (1, 1), 2), 0)).reshape(-1)
    x = 0.5 * np.maximum(w6 @ x + b6, 0)
    x = 0.5 * np.maximum(w7 @ x + b7, 0)
    return w8 @ x + b8


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max())
    shares: Array = powers / powers.sum()
    return shares


def mean_loss(weights: Parameters, x_nchw: Array, labels: list[int]) -> float:
    """Section 3: the mean over the cases of the log-probability of the right label, here to be made small."""
    losses = [-np.log(softmax(logits(weights, x))[label]) for x, label in zip(x_nchw, labels, strict=True)]
    return float(np.mean(losses))


def ten_views(image_hwc: Array, mean_image_hwc: Array) -> list[Array]:
    """Section 4.1: four corner patches, the centre patch and their reflections, less the mean (2), as (3, 224, 224)."""
    corners = ((0, 0), (0, 32), (32, 0), (32, 32), (16, 16))
    patches = [image_hwc[top : top + 224, left : left + 224] for top, left in corners]
    centre_of_mean = mean_image_hwc[16:240, 16:240]
    return [(patch - centre_of_mean).transpose(2, 0, 1) for patch in (*patches, *(p[:, ::-1] for p in patches))]


def make_stats(rng: np.random.Generator) -> Stats:
    """A mean image; the rest is not used here."""
    return Stats(
        mean_image_hwc=rng.uniform(90, 140, (256, 256, 3)).astype(np.float32),
        rgb_mean=np.array([127.0, 119.0, 105.0]),
        covariance=np.diag([5500.0, 5200.0, 5900.0]),
        eigenvalues=np.array([5900.0, 5500.0, 5200.0]),
        eigenvectors=np.eye(3),
        images=1,
        fingerprint="0" * 64,
    )


def make_model() -> AlexNet:
    config = replace(load_recipe("paper").model, num_classes=10, width=1 / 16, init_std=STDS)
    return AlexNet(config, torch.Generator().manual_seed(0)).eval()


def test_forward() -> None:
    model = make_model()
    x_chw = np.random.default_rng(0).normal(0, 60, (3, 224, 224)).astype(np.float32)
    expected = logits(parameters(model), x_chw.astype(np.float64))
    found = model(torch.from_numpy(x_chw)[None])[0].detach().double().numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_local_response_normalisation() -> None:
    x_chw = np.random.default_rng(1).normal(0, 100, (16, 5, 5)).astype(np.float32)
    found = LocalResponseNorm(5, 5e-4, 0.75, 2.0, groups=2)(torch.from_numpy(x_chw)[None])[0]
    expected = normed(x_chw.astype(np.float64), 2)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_gradient_of_local_response_normalisation() -> None:
    """Of sum(y * g): central differences of the float64 formula, one value at a time."""
    rng = np.random.default_rng(3)
    x_chw, g_chw = (rng.normal(0, scale, (16, 2, 2)).astype(np.float32) for scale in (100, 1))
    expected = np.empty(x_chw.shape)
    for place in np.ndindex(x_chw.shape):
        step = np.zeros(x_chw.shape)
        step[place] = 1e-4
        above, below = (normed(x_chw.astype(np.float64) + sign * step, 2) for sign in (1, -1))
        expected[place] = ((above - below) * g_chw).sum() / 2e-4
    x = torch.from_numpy(x_chw)[None].requires_grad_()
    y: torch.Tensor = LocalResponseNorm(5, 5e-4, 0.75, 2.0, groups=2)(x)[0]
    torch.sum(y * torch.from_numpy(g_chw)).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    np.testing.assert_allclose(x.grad[0].numpy(), expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_gradients() -> None:
    """Central differences of the loss, each parameter along a direction between its gradient and a random one."""
    model, labels = make_model(), [3, 7]
    x_nchw = np.random.default_rng(4).normal(0, 60, (2, 3, 224, 224)).astype(np.float32)
    loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x_nchw)), torch.tensor(labels))
    loss.backward()  # type: ignore[no-untyped-call]
    weights, rng = parameters(model), np.random.default_rng(5)

    def slope(layer: int, kind: int, direction: Array) -> float:
        ends = []
        for sign in (1, -1):
            pair = list(weights[layer])
            pair[kind] = pair[kind] + sign * 1e-6 * direction
            moved = [*weights[:layer], (pair[0], pair[1]), *weights[layer + 1 :]]
            ends.append(mean_loss(moved, x_nchw.astype(np.float64), labels))
        return (ends[0] - ends[1]) / 2e-6

    for layer, name in enumerate(LAYERS):
        for kind, word in enumerate(("weight", "bias")):
            gradient = model.get_parameter(f"{name}.{word}").grad
            assert gradient is not None
            found = gradient.double().numpy()
            length = np.linalg.norm(found)
            assert length > 1e-6, name
            aside = rng.normal(size=found.shape)
            direction = found / length + aside / np.linalg.norm(aside)
            assert abs(slope(layer, kind, direction) - (found * direction).sum()) < 2e-6 * length, (name, word)


def test_ten_views() -> None:
    """Section 4.1: the softmax outputs of ten views averaged."""
    rng, model = np.random.default_rng(6), make_model()
    image_hwc = rng.integers(0, 256, (256, 256, 3), np.uint8)
    stats = make_stats(rng)
    views = ten_views(image_hwc.astype(np.float64), stats.mean_image_hwc.astype(np.float64))
    expected = np.mean([softmax(logits(parameters(model), view)) for view in views], axis=0)
    classes = tuple(ClassFact(wnid=f"n{number:08d}") for number in range(10))
    recipe = load_recipe("paper")
    classifier = Classifier(model=model, stats=DeviceStats.from_stats(stats), input=recipe.input, classes=classes)
    found = classifier.probabilities(torch.from_numpy(image_hwc)[None], 10)[0].double().numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * expected.max())
