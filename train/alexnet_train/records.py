"""The epochs that have ended, as checkpoints hold them, and which of their validation errors may be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from alexnet_network import OptimConfig, drops_of_plateau

# Of a record in a checkpoint alone: the fingerprint of the validation shards, and that their result is still missing.
SET, PENDING = "validation_set", "validation_pending"
NO_RESULT: dict[str, float | None] = {"val_loss": None, "val_top1_error": None, "val_top5_error": None}


class Records:
    """A record an ended epoch, in order; errors of one validation set are a row, and rows are never mixed."""

    def __init__(self, validation_set: str | None, records: Sequence[Mapping[str, Any]] = ()) -> None:
        """Go on from `records`; `validation_set` is the fingerprint of the present validation shards, None without."""
        self._set = validation_set
        # Earlier versions named the shards alone.
        older = {validation_set.partition(" ")[0]: validation_set} if validation_set is not None else {}
        self._records = [
            {**record, SET: older.get(record[SET], record[SET])} if SET in record else dict(record)
            for record in records
        ]

    def __iter__(self) -> Any:
        return iter(self.plain(record) for record in self._records if PENDING not in record)

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint holds of it."""
        return [dict(record) for record in self._records]

    def add(self, record: Mapping[str, Any]) -> None:
        """An epoch has ended; its validation is pending where there are validation shards."""
        pending = {PENDING: True} if self._set is not None else {}
        self._records.append({**record, **NO_RESULT, SET: None, **pending})

    @property
    def pending(self) -> bool:
        """Whether the last epoch's result is missing."""
        return bool(self._records) and PENDING in self._records[-1]

    def add_result(self, result: Mapping[str, float | None]) -> None:
        """The pending result has come, or there is none where the validation shards are gone."""
        record = self._records[-1]
        record.pop(PENDING, None)
        record |= {**NO_RESULT, **result, SET: self._set}

    @property
    def last(self) -> dict[str, Any] | None:
        """The last epoch's record without what only checkpoints hold; None before the first epoch has ended."""
        return self.plain(self._records[-1]) if self._records else None

    @property
    def best(self) -> dict[str, Any] | None:
        """The last of the epochs with the lowest error on the present validation set; None where it has no result."""
        row = self._row(self._set)
        lowest = min((record["val_top1_error"] for record in row), default=None)
        return next((self.plain(record) for record in reversed(row) if record["val_top1_error"] == lowest), None)

    def begins_new_row(self) -> bool:
        """Whether there are results, and none of them is of the present validation set."""
        others = any(record.get(SET) is not None for record in self._records)
        return self._set is not None and others and not self._row(self._set)

    def plateau(self, config: OptimConfig, epochs_done: int) -> tuple[OptimConfig, list[float]]:
        """The rates' numbers and the errors to look at once `epochs_done` epochs have ended.

        The present row says when the next drop comes; those that earlier rows brought about are kept.
        """
        past = [record for record in self._records if record["epoch"] <= epochs_done and record.get(SET) is not None]
        present = [record["val_top1_error"] for record in past if record[SET] == self._set]
        drops = 0
        for other in dict.fromkeys(record[SET] for record in past if record[SET] != self._set):
            errors = [record["val_top1_error"] for record in past if record[SET] == other]
            drops += drops_of_plateau(replace(config, plateau_drops=config.plateau_drops - drops), errors)
        if not drops:
            return config, present
        rate = config.learning_rate * config.plateau_factor**drops
        return replace(config, learning_rate=rate, plateau_drops=config.plateau_drops - drops), present

    @staticmethod
    def plain(record: Mapping[str, Any]) -> dict[str, Any]:
        """A record as metrics.jsonl has it."""
        return {key: value for key, value in record.items() if key not in (SET, PENDING)}

    def _row(self, validation_set: str | None) -> list[dict[str, Any]]:
        return [r for r in self._records if r.get(SET) == validation_set and r["val_top1_error"] is not None]


def records_of_version_2(
    val_errors: Sequence[float], validation_set: str | None, lines: Sequence[Mapping[str, Any]], steps_per_epoch: int
) -> list[dict[str, Any]]:
    """The records of a checkpoint that held errors alone, from the epochs' `lines` of metrics.jsonl where they are there.

    It did not say on which shards the errors were measured: they count as the present ones.
    """
    known = {line["epoch"]: dict(line) for line in lines if line.get("kind") == "epoch"}
    # A run that began without validation shards has fewer errors than epochs, and only its log says which.
    if len(val_errors) >= len(known):
        for epoch, error in enumerate(val_errors, 1):
            measured = {"val_top5_error": None, "val_top1_error": error}
            begun = {"kind": "epoch", "step": epoch * steps_per_epoch, "epoch": epoch, **measured}
            known[epoch] = begun | known.get(epoch, {}) | {"val_top1_error": error}
    return [
        NO_RESULT | record | {SET: validation_set if record.get("val_top1_error") is not None else None}
        for _, record in sorted(known.items())
    ]
