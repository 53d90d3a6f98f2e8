"""Top-1 and top-5 errors: every image once, softmax probabilities averaged over views and networks (paper section 6)."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_network import AVERAGES, AlexNet, Average, Classifier, DeviceStats, whole_float32
from alexnet_shards.errors import AlexnetError
from alexnet_shards.index import NO_LABEL
from alexnet_shards.manifest import ClassFact
from alexnet_shards.shardset import ShardSet
from alexnet_stream import Stop, Stream, StreamConfig
from alexnet_train.answers import AnswerSheet
from alexnet_train.checkpoint import check_weights, load_checkpoint
from alexnet_train.classlist import list_sha256, order_of
from alexnet_train.distributed import World
from alexnet_train.recipe import recipe_from_dict
from alexnet_train.results import TOP, EvalResult, count_pairs, label_ranks, ranked


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """How to evaluate: 1 or 10 views, images at once over all processes, and the processes that share the work.

    Up to `quarantine` bad samples are left out of the errors and counted; one more, and the evaluation fails.
    `threads` decode, 0 a share of the cores. `stop` ends its waits. `confusions` and `answers` say whether the result has
    them, in the first process. `average` is what is averaged over views and networks: probabilities, or, as some
    replications have it, logits.
    """

    views: int
    batch_size: int
    world: World
    quarantine: int = 0
    threads: int = 0
    stop: Stop | None = None
    confusions: bool = False
    answers: bool = False
    average: Average = "probabilities"


def load_classifier(path: Path, device: torch.device) -> Classifier:
    """The network of the checkpoint at `path`; raises FormatError where it cannot be read."""
    return classifier_of(load_checkpoint(path, device), str(path), device)


def classifier_of(content: dict[str, Any], where: str, device: torch.device) -> Classifier:
    """The network that a loaded checkpoint holds, on `device`, whose float32 products are whole from then on."""
    whole_float32()
    recipe = recipe_from_dict(content["recipe"], where)
    check_weights(content, recipe.model, where)
    model = AlexNet(recipe.model).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.load_state_dict(content.get("average", content["model"]))
    stats = DeviceStats(**{name: tensor.to(device) for name, tensor in content["stats"].items()})
    classes = tuple(
        ClassFact(wnid=wnid, words=words) for wnid, words in zip(content["classes"], content["words"], strict=True)
    )
    return Classifier(model=model, stats=stats, input=recipe.input, classes=classes)


def check_processes_agree(classifiers: Sequence[Classifier], shards: ShardSet, world: World, where: str) -> None:
    """Raise AlexnetError, in the first process alone, where one has read other weights of `where`, or opened other shards.

    A run that goes on replaces its best.pt, between the readings of two processes too.
    """
    if world.size == 1:
        return
    digest = hashlib.sha256(f"{shards.fingerprint} {shards.rows_sha256}".encode())
    for classifier in classifiers:
        for tensor in classifier.model.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    mine = digest.hexdigest()
    if world.any([world.told(mine) != mine])[0]:
        world.on_main(functools.partial(_refuse_processes, where, str(shards.paths[0])))


def _refuse_processes(where: str, first: str) -> None:
    raise AlexnetError(
        f"{where}: was replaced while the processes read it, or they have opened different shards than {first} …; evaluate "
        "again, or name a file of RUN/checkpoints that stays, and let all see the same shards"
    )


def evaluate(
    classifiers: Sequence[Classifier],
    shards: ShardSet,
    config: EvalConfig,
    on_images: Callable[[int], None] = lambda images: None,
) -> EvalResult:
    """Errors of the classifiers' averaged probabilities on every image of `shards`, each counted once.

    Images in quarantine are not of them. Outputs are put into the shards' order of classes (`output_orders`).

    `on_images` hears of each batch how many images of all processes are done with it. Raises AlexnetError where the shards
    have no labels or other classes, all processes together have more bad samples than the quarantine allows, or a
    probability is no number.
    """
    world = config.world
    orders = [_index(order, world.device) for order in output_orders(classifiers, shards)]
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
        threads=config.threads,
    )
    counts = _Counts(world, confusions=config.confusions)
    answers = AnswerSheet(world) if config.answers else None
    mean = AVERAGES[config.average]
    left = shards.num_samples
    with Stream(shards, how, config.stop) as stream:
        for batch in stream.epoch(world.device):
            by_view = (one.view_log_probabilities(batch.images_nhwc, config.views) for one in classifiers)
            # The views of several networks would take their memory all at once, where only their mean is wanted.
            kept = (found if config.answers else mean(found)[None] for found in by_view)
            in_order = [_in_order(found, order) for found, order in zip(kept, orders, strict=True)]
            scores = mean(torch.stack([mean(found) for found in in_order]))
            counts.add(scores, batch.labels, batch.valid)
            if answers is not None:
                answers.add(batch, scores, mean(torch.stack(in_order)))
            done = min(how.batch_size, left)  # known without asking the device, as `valid` is not
            left -= done
            on_images(done)
    return replace(counts.result(shards, config), answers=answers.result() if answers is not None else None)


class _Counts:
    """What one evaluation counts; sums stay on the device until the result is asked for."""

    def __init__(self, world: World, *, confusions: bool) -> None:
        self._world = world
        self._sums = torch.zeros(5, dtype=torch.float64, device=world.device)  # exact: below 2 ** 53
        self._pairs: list[Tensor] | None = [] if confusions else None
        self._classes = 0

    def add(self, scores: Tensor, labels: Tensor, valid: Tensor) -> None:
        """Count the `valid` ones (B,) of images with log probabilities `scores` (B, classes) and `labels` (B,)."""
        self._classes = scores.shape[1]
        places = labels.clamp(min=0)  # padding has -1
        ranks = label_ranks(scores, places)
        losses = -scores.gather(1, places[:, None])[:, 0]
        columns = [valid, ranks > 0, ranks >= TOP, (~scores.isfinite()).sum(1), losses]
        self._sums += torch.stack([torch.where(valid, column.double(), 0.0).sum() for column in columns])
        if self._pairs is not None:
            pairs = torch.stack([labels, ranked(scores, 1)[:, 0]], dim=1)
            self._pairs.append(torch.where(valid[:, None], pairs, -1))

    def result(self, shards: ShardSet, config: EvalConfig) -> EvalResult:
        """The counts of all processes; raises AlexnetError where they say nothing of the network."""
        total, top1_wrong, top5_wrong, not_finite, loss = self._world.sum(self._sums).tolist()
        images = int(total)
        _check_counts(shards, images, int(not_finite), config.quarantine)
        pairs = torch.zeros(0, 2, dtype=torch.int64)
        if self._pairs is not None:
            mine = torch.cat([pairs.to(self._world.device), *self._pairs])
            pairs = torch.cat([part["pairs"] for part in self._world.gathered({"pairs": mine}) or [{"pairs": pairs}]])
        known = pairs[pairs[:, 0] >= 0].numpy()
        return EvalResult(
            images=images,
            quarantined=shards.num_samples - images,
            views=config.views,
            average=config.average,
            top1_wrong=int(top1_wrong),
            top5_wrong=int(top5_wrong) if self._classes > TOP else None,
            loss=loss / images,
            confusions=count_pairs(known[:, 0], known[:, 1]),
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


def output_orders(classifiers: Sequence[Classifier], shards: ShardSet) -> list[list[int] | None]:
    """For each classifier, the output of each of the shards' classes; None where both lists are in the same order.

    Raises AlexnetError unless `shards` have labels of the classes that all the classifiers know.
    """
    if shards.num_samples == 0:
        raise AlexnetError(f"{shards.paths[0]}: no samples to evaluate on; name other shards")
    orders = [order_of(classifier.classes, shards.classes, shards.paths[0]) for classifier in classifiers]
    if bool((shards.labels == NO_LABEL).any()):
        raise AlexnetError(f"{shards.paths[0]}: its labels are private; evaluate on shards with labels, as val-*.tar")
    return orders


def _index(order: list[int] | None, device: torch.device) -> Tensor | None:
    return None if order is None else torch.tensor(order, device=device)


def _in_order(scores: Tensor, order: Tensor | None) -> Tensor:
    """`scores` (views, B, outputs) by the shards' order of classes; outputs beyond the class list stay behind it."""
    if order is None:
        return scores
    return torch.cat([scores.index_select(-1, order), scores[..., len(order) :]], dim=-1)


def identity(checkpoints: Sequence[Path], patterns: Sequence[str], shards: ShardSet) -> dict[str, Any]:
    """What an evaluation was of, for printing: split, shards, checkpoints, and the class list by number and hash."""
    return {
        "checkpoints": [str(path) for path in checkpoints],
        "split": shards.manifest.split,
        "shards": list(patterns),
        "shards_fingerprint": shards.fingerprint,
        "classes": len(shards.classes),
        "class_list_sha256": list_sha256(shards.classes),
    }
