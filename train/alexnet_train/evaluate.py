"""Top-1 and top-5 errors: every image once, softmax probabilities averaged over views and networks (paper section 6)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_network import AlexNet, Classifier, DeviceStats
from alexnet_shards.errors import AlexnetError
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import ClassFact
from alexnet_shards.shardset import ShardSet
from alexnet_stream import Stop, Stream, StreamConfig
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.distributed import World
from alexnet_train.metrics import EvalResult, label_ranks
from alexnet_train.recipe import recipe_from_dict


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """How to evaluate: 1 or 10 views, images at once over all processes, and the processes that share the work.

    Up to `quarantine` bad samples are left out of the errors and counted; one more, and the evaluation fails.
    `stop` ends its waits.
    """

    views: int
    batch_size: int
    world: World
    quarantine: int = 0
    stop: Stop | None = None


def load_classifier(path: Path, device: torch.device) -> Classifier:
    """The network of the checkpoint at `path`; raises FormatError where it cannot be read."""
    return classifier_of(load_checkpoint(path, device), str(path), device)


def classifier_of(content: dict[str, Any], where: str, device: torch.device) -> Classifier:
    """The network that a loaded checkpoint holds, on `device`."""
    recipe = recipe_from_dict(content["recipe"], where)
    model = AlexNet(recipe.model).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.load_state_dict(content.get("average", content["model"]))
    stats = DeviceStats(**{name: tensor.to(device) for name, tensor in content["stats"].items()})
    classes = tuple(
        ClassFact(wnid=wnid, words=words) for wnid, words in zip(content["classes"], content["words"], strict=True)
    )
    return Classifier(model=model, stats=stats, input=recipe.input, classes=classes)


def evaluate(
    classifiers: Sequence[Classifier],
    shards: ShardSet,
    config: EvalConfig,
    on_images: Callable[[int], None] = lambda images: None,
) -> EvalResult:
    """Errors of the classifiers' averaged probabilities on every image of `shards`, each counted once.

    Images in quarantine are not of them.

    `on_images` hears how many images are done. Raises AlexnetError where the shards have no labels or other
    classes, all processes together have more bad samples than the quarantine allows, or a probability is no number.
    """
    check_classes(classifiers, shards)
    world = config.world
    how = StreamConfig(
        batch_size=max(config.batch_size, world.size),
        seed=0,
        rank=world.rank,
        world_size=world.size,
        shuffle=False,
        crop="none",
        last="pad",
        pin_memory=world.device.type == "cuda",
        quarantine=config.quarantine,
    )
    wrong = torch.zeros(3, dtype=torch.int64, device=world.device)
    confusion: Tensor | None = None
    with Stream(shards, how, config.stop) as stream:
        for batch in stream.epoch(world.device):
            scores = torch.stack([one.probabilities(batch.images_nhwc, config.views) for one in classifiers]).mean(0)
            scores, labels = scores[batch.valid], batch.labels[batch.valid]
            ranks = label_ranks(scores, labels)
            wrong += torch.stack([(ranks > 0).sum(), (ranks >= 5).sum(), (~scores.isfinite()).sum()])
            num_classes = scores.shape[1]
            pairs = torch.bincount(labels * num_classes + scores.argmax(1), minlength=num_classes**2)
            confusion = pairs if confusion is None else confusion + pairs
            on_images(len(labels))
    top1_wrong, top5_wrong, not_finite = world.sum(wrong).tolist()
    counts = torch.zeros(0) if confusion is None else world.sum(confusion)
    side, images = math.isqrt(len(counts)), int(counts.sum())
    _check_counts(shards, images, not_finite, config.quarantine)
    return EvalResult(
        images=images,
        quarantined=shards.num_samples - images,
        views=config.views,
        top1_wrong=top1_wrong,
        top5_wrong=top5_wrong,
        confusion=counts.reshape(side, side).cpu().numpy(),
    )


def _check_counts(shards: ShardSet, images: int, not_finite: int, quarantine: int) -> None:
    """Raise AlexnetError where the counts say nothing of the network."""
    bad = shards.num_samples - images
    if images == 0 or bad > quarantine:
        few = f"all {bad} samples are" if images == 0 else f"{bad} samples, more than the {quarantine} allowed, are"
        raise AlexnetError(f"{shards.paths[0]}: {few} in quarantine; see all damage with alexnet-prep verify")
    if not_finite:
        raise AlexnetError(
            f"{shards.paths[0]}: {not_finite} of the network's probabilities on it are no numbers: its training has "
            "diverged; use an older checkpoint, or train anew with a lower learning_rate"
        )


def check_classes(classifiers: Sequence[Classifier], shards: ShardSet) -> None:
    """Raise AlexnetError unless `shards` have labels of the classes that all the classifiers know."""
    wnids = tuple(fact.wnid for fact in shards.classes)
    for classifier in classifiers:
        known = tuple(fact.wnid for fact in classifier.classes)
        if known != wnids:
            raise AlexnetError(
                f"{shards.paths[0]}: {len(wnids)} classes that are not the checkpoint's {len(known)}; "
                "evaluate on shards of the class list that it was trained on"
            )
    if bool((shards.labels == NO_LABEL).any()):
        raise AlexnetError(f"{shards.paths[0]}: its labels are private; evaluate on shards with labels, as val-*.tar")
