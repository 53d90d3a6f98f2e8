"""What an evaluation's answers come to: intervals, classes, confusions, calibration, views, and what no view gets right.

Plain figures for JSON and for the page (evalpage.py), which shows no others.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_shards.manifest import ClassFact
from alexnet_train.answers import Answers
from alexnet_train.results import TOP

Z95 = 1.959963984540054  # of a normal draw 95% are within so many deviations of its mean
CLASSES_SHOWN = 10  # of the best and of the worst
PAIRS_SHOWN = 10
PHOTOS_SHOWN = 24
BINS = 15  # of confidence, as Guo et al. 2017 have them
VIEW_NAMES = ("top left", "top right", "bottom left", "bottom right", "centre")


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """(low, high) of the 95% Wilson score interval of a fraction of which `count` of `total` was seen; (0, 1) of none."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = count / total, Z95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    reach = Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def eval_figures(answers: Answers, classes: Sequence[ClassFact], has_top5: bool) -> dict[str, Any]:
    """The figures of N answers about `classes`; top-5 errors only where they say something (EvalResult.top5_wrong)."""
    names = [_name(classes, label) for label in range(max(len(classes), int(answers.said.max()) + 1))]
    tops = (1, TOP) if has_top5 else (1,)
    always = answers.always_wrong
    return {
        "errors": [{"top": top, **_error(answers.ranks >= top)} for top in tops],
        "classes": class_errors(answers, names),
        "pairs": confused_pairs(answers, names),
        "calibration": calibration(answers.confidences, answers.ranks == 0),
        "views": [
            {
                "view": view_name(place, answers.view_ranks.shape[1]),
                **{f"top{top}_error": float((answers.view_ranks[:, place] >= top).mean()) for top in tops},
            }
            for place in range(answers.view_ranks.shape[1])
        ],
        "always_wrong": {"images": int(always.sum()), "share": float(always.mean()), "photos": _surest(answers, names)},
    }


def _error(wrong: npt.NDArray[np.bool_]) -> dict[str, Any]:
    low, high = wilson_interval(int(wrong.sum()), len(wrong))
    return {"wrong": int(wrong.sum()), "images": len(wrong), "error": float(wrong.mean()), "low": low, "high": high}


def class_errors(answers: Answers, names: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """{"worst", "best"}: up to CLASSES_SHOWN classes each by top-1 error, of equals the first; none is in both."""
    images = np.bincount(answers.labels, minlength=len(names))
    wrong = np.bincount(answers.labels[answers.ranks > 0], minlength=len(names))
    known = np.flatnonzero(images)
    by_error = known[np.argsort(-(wrong[known] / images[known]), kind="stable")].tolist()
    shown = min(CLASSES_SHOWN, len(by_error) // 2) or len(by_error)

    def fact(label: int) -> dict[str, Any]:
        low, high = wilson_interval(int(wrong[label]), int(images[label]))
        error = float(wrong[label] / images[label])
        counts = {"images": int(images[label]), "wrong": int(wrong[label])}
        return {**names[label], **counts, "top1_error": error, "low": low, "high": high}

    best = by_error[shown:][::-1][:shown]
    return {"worst": [fact(label) for label in by_error[:shown]], "best": [fact(label) for label in best]}


def confused_pairs(answers: Answers, names: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The two classes that are taken for each other most often, then the next; with a photo of each where it was so.

    `rows` are index rows: the photo of the first class that was taken for the second with most confidence, and the
    other way round; None where that never was.
    """
    wrong = np.flatnonzero(answers.labels != answers.said)
    if len(wrong) == 0:
        return []
    low = np.minimum(answers.labels[wrong], answers.said[wrong]).astype(np.int64)
    high = np.maximum(answers.labels[wrong], answers.said[wrong]).astype(np.int64)
    pairs, place, images = np.unique(low * len(names) + high, return_inverse=True, return_counts=True)
    found = []
    for number in np.argsort(-images, kind="stable")[:PAIRS_SHOWN].tolist():
        one, other = divmod(int(pairs[number]), len(names))
        members = wrong[place.reshape(-1) == number]
        ways = [members[answers.labels[members] == label] for label in (one, other)]
        found.append(
            {
                "classes": [names[one], names[other]],
                "taken": [len(way) for way in ways],
                "images": len(members),
                "rows": [
                    int(answers.rows[way[np.argmax(answers.confidences[way])]]) if len(way) else None for way in ways
                ],
            }
        )
    return found


def calibration(confidences: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """How often the first guess is right where the network is so sure of it, in BINS even bins that hold images.

    "expected_error": the mean distance of the two over images (expected calibration error).
    """
    places = np.clip((confidences * BINS).astype(np.int64), 0, BINS - 1)
    bins, total = [], 0.0
    for place in np.unique(places).tolist():
        inside = places == place
        mean, share = float(confidences[inside].astype(np.float64).mean()), float(right[inside].mean())
        bins.append({"from": place / BINS, "to": (place + 1) / BINS, "images": int(inside.sum())})
        bins[-1] |= {"confidence": mean, "right": share}
        total += int(inside.sum()) * abs(mean - share)
    return {"expected_error": total / len(confidences), "bins": bins}


def view_name(place: int, views: int) -> str:
    """The words of a view by its place among one or ten."""
    if views == 1:
        return "centre"
    return VIEW_NAMES[place % len(VIEW_NAMES)] + (", mirrored" if place >= len(VIEW_NAMES) else "")


def _surest(answers: Answers, names: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Photos that every view gets wrong, those first of which the network is surest."""
    wrong = np.flatnonzero(answers.always_wrong)
    chosen = wrong[np.argsort(-answers.confidences[wrong], kind="stable")][:PHOTOS_SHOWN]
    return [
        {
            "row": int(answers.rows[place]),
            "is": names[int(answers.labels[place])],
            "said": names[int(answers.said[place])],
            "confidence": float(answers.confidences[place]),
            "agreeing_views": int((answers.view_said[place] == answers.said[place]).sum()),
        }
        for place in chosen.tolist()
    ]


def _name(classes: Sequence[ClassFact], label: int) -> dict[str, Any]:
    """A class of the list, or by its number where the network has more outputs than the list has classes."""
    fact = classes[label] if label < len(classes) else ClassFact(wnid=str(label))
    return {"class": label, "wnid": fact.wnid, "words": fact.words}
