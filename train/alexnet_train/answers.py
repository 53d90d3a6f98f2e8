"""What a network says of each image, over all views and in each: kept small, so that a full set's are some megabytes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alexnet_stream import Batch
from alexnet_train.distributed import World
from alexnet_train.results import label_ranks, ranked


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """N images in the order of the index: `rows`, `labels`, and what is said of them, (N,) each or (N, views).

    `said` is the likeliest class, `confidences` its probability, `ranks` the label's place, 0 the first; `view_said` and
    `view_ranks` are those of each view alone, in the order of `view_inputs`.
    """

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    said: npt.NDArray[np.int32]
    confidences: npt.NDArray[np.float32]
    ranks: npt.NDArray[np.int32]
    view_said: npt.NDArray[np.int32]
    view_ranks: npt.NDArray[np.int32]

    @property
    def always_wrong(self) -> npt.NDArray[np.bool_]:
        """(N,) whether every view is wrong at its first guess."""
        return np.asarray((self.view_ranks > 0).all(axis=1))


class AnswerSheet:
    """Takes down what is said, batch by batch, where it is said: the device is asked once, at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._parts: list[dict[str, Tensor]] = []

    def add(self, batch: Batch, scores: Tensor, view_scores: Tensor) -> None:
        """The valid images of a batch: log probabilities (B, classes), and (views, B, classes) of each view."""
        labels = batch.labels.clamp(min=0)  # padding has -1
        said = ranked(scores, 1)[:, 0]
        part = {
            "rows": batch.rows,
            "labels": labels.int(),
            "said": said.int(),
            "confidences": scores.gather(1, said[:, None])[:, 0].exp().float(),
            "ranks": label_ranks(scores, labels).int(),
            "view_said": torch.stack([ranked(one, 1)[:, 0] for one in view_scores], dim=1).int(),
            "view_ranks": torch.stack([label_ranks(one, labels) for one in view_scores], dim=1).int(),
        }
        self._parts.append({**part, "valid": batch.valid})

    def result(self) -> Answers | None:
        """The answers of all processes, in the first; None in the others."""
        parts = self._world.gathered({name: torch.cat([part[name] for part in self._parts]) for name in self._parts[0]})
        if parts is None:
            return None
        both = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        valid = both.pop("valid")
        whole = {name: tensor[valid] for name, tensor in both.items()}
        order = whole["rows"].argsort()
        return Answers(**{name: tensor[order].numpy() for name, tensor in whole.items()})
