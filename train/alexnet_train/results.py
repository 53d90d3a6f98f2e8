"""How a ranked list is right or wrong: one order for errors, confusions and predictions, and an evaluation's counts.

Classes stand by score, the highest first, and equal scores by class number: the first is what the network says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet_network import Average
from alexnet_shards.manifest import ClassFact

if TYPE_CHECKING:
    from alexnet_train.answers import Answers

TOP = 5


def ranked(scores: Tensor, count: int) -> Tensor:
    """(N, count) int64 classes of each row of `scores` (N, classes), the first ones in the order of this module."""
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def label_ranks(scores: Tensor, labels: Tensor) -> Tensor:
    """(N,) int64 place of each label in its row of `scores` (N, classes), 0 the first.

    NaN counts against the label: a network that says nothing is never right.
    """
    own = scores.gather(1, labels[:, None])
    numbers = torch.arange(scores.shape[1], device=scores.device)
    before = ~(scores <= own) | ((scores == own) & (numbers < labels[:, None]))
    return (before & (numbers != labels[:, None])).sum(1)


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """Exact counts of one evaluation; errors are fractions of `images`, beside which `quarantined` ones were bad.

    `average` over `views` and networks is of probabilities or logits. `top5_wrong` is None for networks of five classes or
    fewer, whose labels are always among five. `loss` is the mean of -log of the label's probability. `confusions`
    (pairs, 3) int64 are (label, class that the network says, images) of every such pair that there is, ascending: many
    classes take no more memory than their images. `answers` are there where they were asked for (answers.py).
    """

    images: int
    views: int
    average: Average = "probabilities"
    top1_wrong: int
    top5_wrong: int | None
    quarantined: int
    loss: float
    confusions: npt.NDArray[np.int64]
    answers: "Answers | None" = None

    @property
    def top1_error(self) -> float:
        """Fraction of images whose label is not what the network says."""
        return self.top1_wrong / self.images

    @property
    def top5_error(self) -> float | None:
        """Fraction of images whose label is not among the first five classes; None as `top5_wrong`."""
        return None if self.top5_wrong is None else self.top5_wrong / self.images

    def as_dict(self) -> dict[str, Any]:
        """Counts, loss and errors for JSON; those of five classes only where they say something."""
        counts = {name: value for name, value in vars(self).items() if name not in ("confusions", "answers")}
        figures = counts | {"top1_error": self.top1_error, "top5_error": self.top5_error}
        return {name: value for name, value in figures.items() if value is not None}


def count_pairs(labels: npt.NDArray[np.int64], said: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(pairs, 3) int64: (label, class said, images) of every pair among (N,) labels and (N,) classes, ascending."""
    pairs, images = np.unique(np.stack([labels, said], axis=1), axis=0, return_counts=True)
    return np.concatenate([pairs, images[:, None]], axis=1)


def worst_classes(result: EvalResult, classes: Sequence[ClassFact], count: int) -> list[dict[str, Any]]:
    """The `count` classes with the highest top-1 error, of equal ones the first, and what each is taken for most often.

    Classes that are never wrong, or have no images, are none of them.
    """
    labels, said, images = result.confusions.T
    in_all = np.bincount(labels, weights=images).astype(np.int64)
    is_wrong = labels != said
    wrong = np.bincount(labels[is_wrong], weights=images[is_wrong], minlength=len(in_all)).astype(np.int64)
    errors = wrong / np.maximum(in_all, 1)
    worst = []
    for label in np.argsort(-errors, kind="stable")[:count]:
        if wrong[label]:
            mistaken = is_wrong & (labels == label)
            most = int(images[mistaken].argmax())
            fact, taken = _class_of(classes, int(label)), _class_of(classes, int(said[mistaken][most]))
            worst.append(
                {
                    "wnid": fact.wnid,
                    "words": fact.words,
                    "images": int(in_all[label]),
                    "top1_error": float(errors[label]),
                    "taken_for": {"wnid": taken.wnid, "words": taken.words, "images": int(images[mistaken][most])},
                }
            )
    return worst


def _class_of(classes: Sequence[ClassFact], label: int) -> ClassFact:
    """A class of the list, or by its number where the network has more outputs than the list has classes."""
    return classes[label] if label < len(classes) else ClassFact(wnid=str(label))
