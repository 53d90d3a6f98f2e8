"""Validation as a step of a run: after the epoch's checkpoint, and again where a run ended before its result."""

from collections.abc import Callable

from torch import nn

from alexnet_network import Classifier, DeviceStats
from alexnet_shards.shardset import ShardSet
from alexnet_stream import Stop
from alexnet_train.distributed import World
from alexnet_train.evaluate import EvalConfig, evaluate
from alexnet_train.recipe import Recipe


class Validation:
    """One-view errors and loss on the validation shards; `quarantine` bad samples are left out, `stop` ends its waits."""

    def __init__(self, shards: ShardSet, recipe: Recipe, world: World, quarantine: int, stop: Stop) -> None:
        self._shards, self._input = shards, recipe.input
        size = recipe.train.validation_batch_size
        self._how = EvalConfig(views=1, batch_size=size, world=world, quarantine=quarantine, stop=stop)

    @property
    def fingerprint(self) -> str:
        """What names the content of the validation shards, and behind it what names their labels."""
        return f"{self._shards.fingerprint} {self._shards.rows_sha256}"

    def errors(self, network: nn.Module, stats: DeviceStats, between: Callable[[], None]) -> dict[str, float | None]:
        """{"val_loss", "val_top1_error", "val_top5_error"} of `network`; no top-5 error of five classes or fewer.

        `between` is called after each batch, in all processes.
        """
        classifier = Classifier(model=network, stats=stats, input=self._input, classes=self._shards.classes)
        result = evaluate([classifier], self._shards, self._how, lambda images: between())
        return {"val_loss": result.loss, "val_top1_error": result.top1_error, "val_top5_error": result.top5_error}
