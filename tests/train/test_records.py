"""Records of epochs: rows of one validation set each, the best of a row, and drops that survive a new row."""

from dataclasses import replace
from typing import Any

import pytest

from alexnet_network import drops_of_plateau
from alexnet_network.optim import Phase
from alexnet_train.recipe import load_recipe
from alexnet_train.records import Records, records_of_version_2

PHASE = Phase(after_epochs=0, weights=1.0, biases=2.0, layers={}, colour_noise=True)
OPTIM = replace(
    load_recipe("released", ()).optim, plateau_epochs=2, plateau_factor=0.1, plateau_drops=3, phases=(PHASE,)
)


def ran(validation_set: str | None, errors: list[float], before: list[dict[str, Any]] | None = None) -> Records:
    """Records of epochs with these errors on one set, after those of `before`."""
    records = Records(validation_set, before or [])
    first = len(before or []) + 1
    for epoch, error in enumerate(errors, first):
        records.add({"kind": "epoch", "epoch": epoch, "step": 10 * epoch, "train_loss": 1.0})
        if validation_set is not None:
            assert records.pending
            records.add_result({"val_top1_error": error, "val_top5_error": error / 2})
    return records


def test_the_best_is_the_last_of_the_lowest() -> None:
    records = ran("a" * 64, [0.5, 0.3, 0.3, 0.4])
    assert records.best is not None
    assert records.best["epoch"] == 3
    assert not records.pending
    assert records.last == {
        "kind": "epoch", "epoch": 4, "step": 40, "train_loss": 1.0, "val_loss": None, "val_top1_error": 0.4,
        "val_top5_error": 0.2,
    }  # fmt: skip


def test_a_run_that_began_without_validation_knows_its_best_epoch() -> None:
    """Errors in a list without epochs named the wrong one."""
    blind = ran(None, [0.0, 0.0])
    assert blind.best is None
    assert not blind.pending
    records = ran("a" * 64, [0.5, 0.2, 0.4], blind.state())
    assert records.best is not None
    assert (records.best["epoch"], records.best["step"]) == (4, 40)
    assert records.plateau(OPTIM, 5)[1] == [0.5, 0.2, 0.4]
    assert records.plateau(OPTIM, 3)[1] == [0.5]


def test_labels_are_of_the_set_and_records_without_them_count_as_the_present_ones() -> None:
    older = ran("a" * 64, [0.5, 0.3]).state()
    now = Records(f"{'a' * 64} {'1' * 64}", older)
    assert not now.begins_new_row()
    assert now.best is not None
    assert Records(f"{'a' * 64} {'2' * 64}", now.state()).begins_new_row()
    assert Records(None, now.state()).state() == now.state()


def test_another_set_begins_a_row_and_keeps_the_drops() -> None:
    first = ran("a" * 64, [0.3, 0.4, 0.4])
    assert drops_of_plateau(OPTIM, [0.3, 0.4, 0.4]) == 1
    assert Records("b" * 64, first.state()).begins_new_row()
    assert not Records("a" * 64, first.state()).begins_new_row()
    second = ran("b" * 64, [0.9, 0.8], first.state())
    assert second.best is not None
    assert second.best["epoch"] == 5  # 0.3 was of other images
    optim, errors = second.plateau(OPTIM, 5)
    assert errors == [0.9, 0.8]
    assert optim.learning_rate == pytest.approx(0.001)
    assert optim.plateau_drops == 2
    assert second.plateau(OPTIM, 2) == (OPTIM, [])


def test_a_pending_result_survives_a_checkpoint() -> None:
    records = Records("a" * 64)
    records.add({"kind": "epoch", "epoch": 1, "step": 10})
    again = Records("a" * 64, records.state())
    assert again.pending
    assert list(again) == []
    blind = Records(None, records.state())
    blind.add_result({})
    assert not blind.pending
    assert blind.best is None
    again.add_result({"val_top1_error": 0.5, "val_top5_error": 0.1})
    assert [record["val_top1_error"] for record in again] == [0.5]


def test_version_2_had_errors_alone() -> None:
    lines = [{"kind": "step", "step": 3, "epoch": 0}, {"kind": "epoch", "step": 10, "epoch": 1, "train_loss": 2.0}]
    records = Records("a" * 64, records_of_version_2([0.5, 0.4], "a" * 64, lines, 10))
    assert [(r["epoch"], r["step"], r["val_top1_error"]) for r in records] == [(1, 10, 0.5), (2, 20, 0.4)]
    assert next(iter(records))["train_loss"] == 2.0
    lines = [
        {"kind": "epoch", "step": 10 * epoch, "epoch": epoch, "val_top1_error": error}
        for epoch, error in enumerate([None, 0.5, 0.4], 1)
    ]
    records = Records("a" * 64, records_of_version_2([0.5, 0.4], "a" * 64, lines, 10))
    assert records.best is not None
    assert records.best["epoch"] == 3
