"""Evaluation against a plain loop over decoded images, views and networks."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg
import torch

from alexnet_network.classifier import Classifier
from alexnet_network.input import DeviceStats
from alexnet_network.model import AlexNet
from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet, open_shards
from alexnet_shards.stats import load_stats
from alexnet_train.distributed import World
from alexnet_train.evaluate import EvalConfig, evaluate, output_orders
from alexnet_train.recipe import load_recipe


def config(views: int) -> EvalConfig:
    return EvalConfig(views=views, batch_size=4, world=World(device=torch.device("cpu")))


def classifier(directory: Path, shards: ShardSet, seed: int) -> Classifier:
    # Logits that differ between images and between views, so that a wrong view or mean shows.
    stds, biases = "init_std=[0.02, 0.15, 0.15, 0.2, 0.2, 0.1, 0.3, 0.02]", "init_bias=[0, 0, 0, 0, 0, 0, 0, 0]"
    recipe = load_recipe("released", ["width=0.0625", "num_classes=7", stds, biases])
    model = AlexNet(recipe.model, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        blocks = torch.randint(-120, 120, (32, 3, 28, 28), generator=torch.Generator().manual_seed(0)).float()
        model.fc8.bias.sub_(model.eval()(torch.kron(blocks, torch.ones(8, 8))).mean(0))
    stats = DeviceStats.from_stats(load_stats(directory / "stats.npz"))
    return Classifier(model=model, stats=stats, input=recipe.input, classes=shards.classes)


def plain_counts(directory: Path, shards: ShardSet, networks: list[Classifier], views: int) -> tuple[int, int]:
    """(top-1 wrong, top-5 wrong), one image and one view at a time."""
    top1 = top5 = 0
    for label, logits in plain_logits(directory, shards, networks, views):
        order = np.argsort(-np.exp(log_softmax(logits)).sum(0)).tolist()
        top1 += order[0] != label
        top5 += label not in order[:5]
    return top1, top5


def plain_logits(
    directory: Path, shards: ShardSet, networks: list[Classifier], views: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The label and the (networks x views, 7) logits of each image, one image and one view at a time."""
    mean_hwc = load_stats(directory / "stats.npz").mean_image_hwc[16:240, 16:240]
    crops = [(16, 16)] if views == 1 else [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    for row in shards.rows:
        with Path(shards.paths[row["shard"]]).open("rb") as file:
            file.seek(int(row["offset"]))
            image_hwc = simplejpeg.decode_jpeg(file.read(int(row["size"])))
        logits = []
        for network in networks:
            network.model.eval()
            for top, left in crops:
                crop_hwc = image_hwc[top : top + 224, left : left + 224].astype(np.float32)
                for one_hwc in [crop_hwc] if views == 1 else [crop_hwc, crop_hwc[:, ::-1]]:
                    x = torch.from_numpy((one_hwc - mean_hwc).transpose(2, 0, 1).copy())[None]
                    with torch.no_grad():
                        logits.append(network.model(x)[0].double().numpy())
        yield int(row["label"]), np.stack(logits)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))


@pytest.mark.parametrize("networks", [1, 2])
def test_logits_averaged_equal_a_plain_loop(networks: int, make_run: Callable[..., str], tmp_path: Path) -> None:
    """What some replications do instead of the paper's average of probabilities."""
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    classifiers = [classifier(tmp_path, shards, seed) for seed in range(networks)]
    found = evaluate(classifiers, shards, replace(config(10), average="logits"))
    wrong, losses = 0, []
    for label, logits in plain_logits(tmp_path, shards, classifiers, 10):
        mean = log_softmax(logits.mean(0))
        wrong += int(mean.argmax() != label)
        losses.append(-mean[label])
    assert (found.average, found.top1_wrong) == ("logits", wrong)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert abs(evaluate(classifiers, shards, config(10)).loss / found.loss - 1) > 1e-3


@pytest.mark.parametrize("views", [1, 10])
@pytest.mark.parametrize("networks", [1, 2])
def test_counts_equal_a_plain_loop(views: int, networks: int, make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    classifiers = [classifier(tmp_path, shards, seed) for seed in range(networks)]
    seen: list[int] = []
    result = evaluate(classifiers, shards, replace(config(views), confusions=True), seen.append)
    assert (result.top1_wrong, result.top5_wrong) == plain_counts(tmp_path, shards, classifiers, views)
    assert (result.images, result.views, sum(seen)) == (11, views, 11)
    labels, said, counted = result.confusions.T
    assert np.bincount(labels, counted, 7).tolist() == np.bincount(shards.labels, minlength=7).tolist()
    assert counted[labels == said].sum() == 11 - result.top1_wrong
    assert len(evaluate(classifiers, shards, config(views)).confusions) == 0
    assert result.top1_wrong > 0


def test_probabilities_are_the_mean_of_softmaxes(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    one = classifier(tmp_path, open_shards([f"{tmp_path}/val-*.tar"]), 0)
    images_nhwc = torch.randint(0, 256, (3, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    probabilities = one.probabilities(images_nhwc, 10)
    assert probabilities.sum(1).tolist() == pytest.approx([1.0, 1.0, 1.0], rel=1e-5)
    single = one.probabilities(images_nhwc, 1)
    assert (probabilities - single).abs().max() > 1e-3
    torch.testing.assert_close(one.probabilities(images_nhwc.flip(2), 10), probabilities, rtol=1e-3, atol=1e-5)


def test_a_network_without_finite_outputs_is_an_error(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    one = classifier(tmp_path, shards, 0)
    with torch.no_grad():
        one.model.get_parameter("fc8.bias").fill_(float("nan"))
    with pytest.raises(AlexnetError, match="77 of the network's probabilities on it are no numbers"):
        evaluate([one], shards, config(1))


def test_other_classes_and_private_labels_are_refused(
    make_run: Callable[..., str], shard_tools: SimpleNamespace, tmp_path: Path
) -> None:
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    one = classifier(tmp_path, shards, 0)
    with pytest.raises(AlexnetError, match="not the checkpoint's 2"):
        evaluate([replace(one, classes=one.classes[:2])], shards, config(1))
    (tmp_path / "val-001.tar").unlink()
    shard_tools.write_tar(tmp_path / "val-000.tar", [("a.jpg", b"1"), ("b.jpg", b"2")])
    shard_tools.write_index(tmp_path, "val")
    with pytest.raises(AlexnetError, match="private"):
        evaluate([one], open_shards([f"{tmp_path}/val-*.tar"]), config(1))


def test_images_in_quarantine_are_counted_apart(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    one = classifier(tmp_path, shards, 0)
    row = shards.rows[3]
    path = Path(shards.paths[row["shard"]])
    content = bytearray(path.read_bytes())
    content[int(row["offset"]) + 700] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(AlexnetError, match="crc32"):
        evaluate([one], shards, config(1))
    result = evaluate([one], shards, replace(config(1), quarantine=1))
    assert (result.images, result.quarantined) == (10, 1)
    good = replace(shards, rows=np.delete(shards.rows, 3))
    assert (result.top1_wrong, result.top5_wrong) == plain_counts(tmp_path, good, [one], 1)
    assert result.top1_error == result.top1_wrong / 10


def scaled(one: Classifier, factor: float) -> Classifier:
    """The same network, so many times surer."""
    with torch.no_grad():
        for part in ("weight", "bias"):
            one.model.get_parameter(f"fc8.{part}").mul_(factor)
    return one


@pytest.mark.parametrize("views", [1, 10])
def test_a_sure_network_has_the_errors_of_the_same_unsure_one(
    views: int, make_run: Callable[..., str], tmp_path: Path
) -> None:
    """Its probabilities were zero for all classes but one or two, and the order of the others was lost."""
    make_run(tmp_path, val_sizes=(30, 30))
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    # One view's order is the logits' own; ten views' is that of their best views where all are very sure.
    factors = (1.0, 1e3, 1e6) if views == 1 else (1e4, 1e6)
    counts = set()
    for factor in factors:
        found = evaluate([scaled(classifier(tmp_path, shards, 0), factor)], shards, config(views))
        counts.add((found.top1_wrong, found.top5_wrong))
        assert np.isfinite(found.loss)
    assert len(counts) == 1
    assert 0 < (counts.pop()[1] or 0) < 60


def test_loss_is_the_mean_cross_entropy(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    one = classifier(tmp_path, shards, 0)
    losses = []
    for row in shards.rows:
        with Path(shards.paths[row["shard"]]).open("rb") as file:
            file.seek(int(row["offset"]))
            image_hwc = simplejpeg.decode_jpeg(file.read(int(row["size"])))
        probability = one.probabilities(torch.from_numpy(image_hwc)[None], 1)[0, int(row["label"])]
        losses.append(-probability.double().log().item())
    for batch_size in (1, 4, 11):
        found = evaluate([one], shards, replace(config(1), batch_size=batch_size))
        assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)


def test_five_classes_have_no_top5_error(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    few = replace(shards, rows=shards.rows[shards.rows["label"] < 5])

    class Five(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.arange(5.0).expand(len(x), 5)

    found = evaluate([replace(classifier(tmp_path, shards, 0), model=Five())], few, config(1))
    assert found.top5_wrong is None
    assert found.top1_wrong == int((few.labels != 4).sum())


def test_classes_in_another_order_are_put_into_the_shards(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    one = classifier(tmp_path, shards, 0)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    other = classifier(tmp_path, shards, 0)
    with torch.no_grad():
        for part in ("weight", "bias"):
            other.model.get_parameter(f"fc8.{part}").copy_(one.model.get_parameter(f"fc8.{part}")[order])
    moved = replace(other, classes=tuple(one.classes[label] for label in order.tolist()))
    assert output_orders([one, moved], shards) == [None, order.argsort().tolist()]
    want = evaluate([one, one], shards, replace(config(1), confusions=True))
    found = evaluate([one, moved], shards, replace(config(1), confusions=True))
    assert (found.top1_wrong, found.top5_wrong) == (want.top1_wrong, want.top5_wrong)
    assert found.confusions.tolist() == want.confusions.tolist()


def test_shards_without_a_class_list_say_how_to_give_one(make_run: Callable[..., str], tmp_path: Path) -> None:
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])
    one = classifier(tmp_path, shards, 0)
    bare = replace(shards, manifest=replace(shards.manifest, classes=()))
    with pytest.raises(AlexnetError, match="lists no classes but 0 numbers, the checkpoint 7 .* --classes FILE"):
        evaluate([one], bare, config(1))
    with pytest.raises(AlexnetError, match=r"7 classes that are not the checkpoint's 2 \(2 are\)"):
        evaluate([replace(one, classes=one.classes[:2])], shards, config(1))


def test_many_classes_take_little_memory(make_run: Callable[..., str], tmp_path: Path) -> None:
    """21,841 classes took 3.8 GB for each of two matrices of all pairs."""
    make_run(tmp_path)
    shards = open_shards([f"{tmp_path}/val-*.tar"])

    class Many(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.arange(21_841.0).expand(len(x), -1)

    one = replace(classifier(tmp_path, shards, 0), model=Many())
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_bytes()
    found = evaluate([one], shards, replace(config(10), confusions=True))
    assert peak_bytes() - before < 500 << 20
    assert {tuple(pair) for pair in found.confusions[:, 1:2].tolist()} == {(21_840,)}


def peak_bytes() -> int:
    """The most memory that this process has had."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10
