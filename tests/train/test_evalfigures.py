"""Figures of an evaluation: intervals as published, everything else against plain loops."""

import json
from collections import Counter

import numpy as np
import pytest

from alexnet_shards.manifest import ClassFact
from alexnet_train.answers import Answers
from alexnet_train.evalfigures import PAIRS_SHOWN, PHOTOS_SHOWN, calibration, eval_figures, view_name, wilson_interval

CLASSES = tuple(ClassFact(wnid=f"n{label}", words=f"thing {label}, other word") for label in range(30))


def drawn(count: int = 900, views: int = 10) -> Answers:
    """Answers of a network that is right about half of the time; classes 28 and 29 have no image."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 28, count).astype(np.int32)
    view_ranks = rng.integers(0, 12, (count, views)).astype(np.int32) // rng.integers(2, 9, (count, 1)).astype(np.int32)
    ranks = view_ranks[:, 0]
    view_said = np.where(view_ranks == 0, labels[:, None], (labels[:, None] + view_ranks * 3) % 28).astype(np.int32)
    said = view_said[:, 0]
    confidences = rng.uniform(0.05, 1, count).astype(np.float32)
    return Answers(
        rows=np.arange(count) * 2,
        labels=labels,
        said=said,
        confidences=confidences,
        ranks=ranks,
        view_said=view_said,
        view_ranks=view_ranks,
    )


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_of_newcombe_1998(count: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(total - count, total) == pytest.approx((1 - high, 1 - low), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_errors_classes_and_views_equal_plain_loops() -> None:
    answers = drawn()
    figures = eval_figures(answers, CLASSES, True)
    json.dumps(figures, allow_nan=False)
    assert [fact["wrong"] for fact in figures["errors"]] == [sum(answers.ranks > 0), sum(answers.ranks >= 5)]
    errors = {}
    for label in range(28):
        ranks = [rank for rank, own in zip(answers.ranks, answers.labels, strict=True) if own == label]
        errors[label] = sum(rank > 0 for rank in ranks) / len(ranks)
    worst = sorted(errors, key=lambda label: (-errors[label], label))
    assert [fact["class"] for fact in figures["classes"]["worst"]] == worst[:10]
    assert [fact["class"] for fact in figures["classes"]["best"]] == worst[10:][::-1][:10]
    assert all(
        fact["top1_error"] == errors[fact["class"]] for kind in ("worst", "best") for fact in figures["classes"][kind]
    )
    for place, one in enumerate(figures["views"]):
        assert one["top1_error"] == sum(answers.view_ranks[:, place] > 0) / 900
        assert one["top5_error"] == sum(answers.view_ranks[:, place] >= 5) / 900
    assert [view_name(place, 10) for place in (0, 4, 9)] == ["top left", "centre", "centre, mirrored"]
    assert "top5_error" not in eval_figures(answers, CLASSES, False)["views"][0]


def test_pairs_equal_a_count_over_both_ways() -> None:
    answers = drawn()
    pairs = eval_figures(answers, CLASSES, True)["pairs"]
    both = [tuple(sorted((int(a), int(b)))) for a, b in zip(answers.labels, answers.said, strict=True) if a != b]
    counts = Counter(both)
    assert len(pairs) == PAIRS_SHOWN
    assert [pair["images"] for pair in pairs] == sorted(counts.values(), reverse=True)[:PAIRS_SHOWN]
    for pair in pairs:
        one, other = (name["class"] for name in pair["classes"])
        assert pair["images"] == counts[(one, other)] == sum(pair["taken"])
        for row, label, said in zip(pair["rows"], (one, other), (other, one), strict=True):
            if row is None:
                continue
            same = (answers.labels == label) & (answers.said == said)
            place = row // 2
            assert same[place]
            assert answers.confidences[place] == answers.confidences[same].max()


def test_calibration_equals_a_plain_loop() -> None:
    answers = drawn()
    right = answers.ranks == 0
    found = calibration(answers.confidences, right)
    total = 0.0
    for low in range(15):
        inside = [i for i, c in enumerate(answers.confidences) if low / 15 <= float(c) < (low + 1) / 15 + (low == 14)]
        if inside:
            mean = sum(float(answers.confidences[i]) for i in inside) / len(inside)
            total += abs(mean - sum(bool(right[i]) for i in inside) / len(inside)) * len(inside) / 900
    assert found["expected_error"] == pytest.approx(total, abs=1e-6)
    assert sum(one["images"] for one in found["bins"]) == 900
    sure = calibration(np.ones(4, np.float32), np.array([True, True, True, False]))
    assert sure == {
        "expected_error": 0.25,
        "bins": [{"from": 14 / 15, "to": 1.0, "images": 4, "confidence": 1.0, "right": 0.75}],
    }


def test_photos_that_no_view_gets_right() -> None:
    answers = drawn()
    facts = eval_figures(answers, CLASSES, True)["always_wrong"]
    never = [place for place in range(900) if all(rank > 0 for rank in answers.view_ranks[place])]
    assert (facts["images"], facts["share"]) == (len(never), len(never) / 900)
    surest = sorted(never, key=lambda place: -answers.confidences[place])[:PHOTOS_SHOWN]
    assert [photo["row"] for photo in facts["photos"]] == [2 * place for place in surest]
    assert len(surest) == PHOTOS_SHOWN
    assert facts["photos"][0]["is"]["words"] == f"thing {answers.labels[surest[0]]}, other word"


def test_a_network_without_a_mistake_and_classes_beyond_the_list() -> None:
    answers = drawn(20)
    right = Answers(
        **{**vars(answers), "said": answers.labels, "ranks": answers.ranks * 0, "view_ranks": answers.view_ranks * 0}
    )
    figures = eval_figures(right, CLASSES[:2], False)
    assert (figures["pairs"], figures["always_wrong"]["photos"]) == ([], [])
    assert {fact["words"] for fact in figures["classes"]["best"]} == {""}
