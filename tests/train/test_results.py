"""The one order of classes against sorting, and counts of an evaluation against dense matrices."""

import json
import math

import numpy as np
import pytest
import torch

from alexnet_shards.manifest import ClassFact
from alexnet_train.results import EvalResult, count_pairs, label_ranks, ranked, worst_classes


def result(confusions: np.ndarray, **changes: object) -> EvalResult:
    numbers = {"images": 200, "views": 10, "top1_wrong": 50, "top5_wrong": 3, "quarantined": 0, "loss": 1.5}
    return EvalResult(confusions=confusions, **(numbers | changes))  # type: ignore[arg-type]


def test_label_ranks_equal_sorting() -> None:
    scores = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 20
    want = [row.sort(descending=True).indices.tolist().index(label) for row, label in zip(scores, labels, strict=True)]
    assert label_ranks(scores, labels).tolist() == want


def test_errors_confusions_and_predictions_have_one_rule_for_ties() -> None:
    """A label that shared the highest score was wrong in the error, right in the confusion and in a prediction."""
    scores = torch.randint(0, 3, (300, 9), generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(300) % 9
    ranks = label_ranks(scores, labels)
    for row, label, rank in zip(scores.tolist(), labels.tolist(), ranks.tolist(), strict=True):
        assert sorted(range(9), key=lambda number: (-row[number], number))[rank] == label
    assert torch.equal(ranks == 0, ranked(scores, 1)[:, 0] == labels)
    assert torch.equal(ranks < 5, (ranked(scores, 5) == labels[:, None]).any(1))
    assert torch.equal(ranked(scores, 1)[:, 0], scores.argmax(1))
    assert bool((ranks == 0).any()) and bool(((scores == scores.max(1, keepdim=True).values).sum(1) > 1).any())


def test_what_says_nothing_is_guessing_and_nan_is_never_right() -> None:
    labels = torch.arange(10)
    assert label_ranks(torch.zeros(10, 10), labels).tolist() == list(range(10))
    assert label_ranks(torch.full((10, 10), math.nan), labels).tolist() == [9] * 10
    assert label_ranks(torch.tensor([[math.nan, 1.0, 0.0]]), torch.tensor([1])).tolist() == [1]


def test_result_for_json() -> None:
    found = result(np.zeros((0, 3), np.int64))
    assert (found.top1_error, found.top5_error) == (0.25, 0.015)
    assert found.as_dict().keys() == {
        "images",
        "views",
        "average",
        "top1_wrong",
        "top5_wrong",
        "quarantined",
        "loss",
        "top1_error",
        "top5_error",
    }
    json.dumps(found.as_dict(), allow_nan=False)
    assert result(np.zeros((0, 3), np.int64), top5_wrong=None).as_dict().keys() == found.as_dict().keys() - {
        "top5_wrong",
        "top5_error",
    }


def of_matrix(confusion: np.ndarray) -> np.ndarray:
    """The pairs of a dense matrix of labels (rows) and classes said (columns)."""
    labels, said = (np.repeat(part.ravel(), confusion.ravel()) for part in np.indices(confusion.shape))
    return count_pairs(labels, said)


def test_pairs_are_the_entries_of_the_matrix() -> None:
    confusion = np.random.default_rng(0).poisson(0.5, (12, 12))
    pairs = of_matrix(confusion)
    assert pairs.tolist() == [[i, j, confusion[i, j]] for i in range(12) for j in range(12) if confusion[i, j]]
    assert count_pairs(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0, 3)


def test_worst_classes() -> None:
    confusion = np.array([[5, 0, 0, 0], [2, 1, 7, 0], [1, 0, 3, 0], [0, 0, 0, 0]])
    found = result(of_matrix(confusion))
    classes = [ClassFact(wnid=f"n{label}", words=f"thing {label}") for label in range(4)]
    worst = worst_classes(found, classes, 10)
    assert [one["wnid"] for one in worst] == ["n1", "n2"]  # n0 is never wrong, n3 has no images
    assert worst[0] == {
        "wnid": "n1",
        "words": "thing 1",
        "images": 10,
        "top1_error": 0.9,
        "taken_for": {"wnid": "n2", "words": "thing 2", "images": 7},
    }
    assert worst_classes(found, classes, 1) == worst[:1]
    few = worst_classes(found, classes[:1], 1)[0]  # the network has more outputs than the list has classes
    assert (few["wnid"], few["words"], few["taken_for"]["wnid"]) == ("1", "", "2")
    assert worst_classes(result(np.zeros((0, 3), np.int64)), classes, 3) == []


@pytest.mark.parametrize("count", [1, 40])
def test_worst_classes_equal_a_dense_matrix(count: int) -> None:
    confusion = np.random.default_rng(1).poisson(0.4, (40, 40))
    images, wrong = confusion.sum(1), confusion.sum(1) - confusion.diagonal()
    errors = wrong / np.maximum(images, 1)
    want = [label for label in sorted(range(40), key=lambda label: (-errors[label], label)) if wrong[label]][:count]
    found = worst_classes(result(of_matrix(confusion)), [ClassFact(wnid=str(n)) for n in range(40)], count)
    assert [int(one["wnid"]) for one in found] == want
    for one in found:
        others = confusion[int(one["wnid"])].copy()
        others[int(one["wnid"])] = 0
        assert (int(one["taken_for"]["wnid"]), one["taken_for"]["images"]) == (others.argmax(), others.max())
