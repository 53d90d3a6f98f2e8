"""Ranks against sorting, sums across a checkpoint, and the log of a run that was killed."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet_shards.manifest import ClassFact
from alexnet_train.distributed import World
from alexnet_train.metrics import (
    Clock,
    EvalResult,
    MetricsLog,
    Tally,
    bound_by,
    label_ranks,
    memory_bytes,
    read_metrics,
    worst_classes,
)


def test_label_ranks_equal_sorting() -> None:
    scores = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 20
    want = [row.sort(descending=True).indices.tolist().index(label) for row, label in zip(scores, labels, strict=True)]
    assert label_ranks(scores, labels).tolist() == want


def test_ties_and_nan_are_never_right() -> None:
    assert label_ranks(torch.zeros(1, 10), torch.tensor([0])).tolist() == [9]
    assert label_ranks(torch.full((1, 10), math.nan), torch.tensor([0])).tolist() == [9]
    assert label_ranks(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0])).tolist() == [1]


def test_tally_means_and_state() -> None:
    world = World(device=torch.device("cpu"))
    tally, again = Tally(world), Tally(world)
    assert math.isnan(tally.means()["train_loss"])
    tally.add(torch.tensor([1.0, 2.0]), torch.tensor([0, 3]))
    again.load_state(tally.state())
    for one in (tally, again):
        one.add(torch.tensor([6.0]), torch.tensor([1]))
        assert one.means() == {"train_loss": 3.0, "train_top1_error": pytest.approx(2 / 3)}
    tally.reset()
    assert math.isnan(tally.means()["train_loss"])


def test_eval_result() -> None:
    result = EvalResult(
        images=200, views=10, top1_wrong=50, top5_wrong=3, quarantined=0, confusion=np.zeros((2, 2), np.int64)
    )
    assert (result.top1_error, result.top5_error) == (0.25, 0.015)
    assert result.as_dict().keys() == {
        "images",
        "views",
        "top1_wrong",
        "top5_wrong",
        "quarantined",
        "top1_error",
        "top5_error",
    }
    json.dumps(result.as_dict())


def test_worst_classes() -> None:
    confusion = np.array([[5, 0, 0, 0], [2, 1, 7, 0], [1, 0, 3, 0], [0, 0, 0, 0]])
    result = EvalResult(images=19, views=1, top1_wrong=10, top5_wrong=0, quarantined=0, confusion=confusion)
    classes = [ClassFact(wnid=f"n{label}", words=f"thing {label}") for label in range(4)]
    worst = worst_classes(result, classes, 10)
    assert [one["wnid"] for one in worst] == ["n1", "n2"]  # n0 is never wrong, n3 has no images
    assert worst[0] == {
        "wnid": "n1",
        "words": "thing 1",
        "images": 10,
        "top1_error": 0.9,
        "taken_for": {"wnid": "n2", "words": "thing 2", "images": 7},
    }
    assert worst_classes(result, classes, 1) == worst[:1]
    few = worst_classes(result, classes[:1], 1)[0]  # the network has more outputs than the list has classes
    assert (few["wnid"], few["words"], few["taken_for"]["wnid"]) == ("1", "", "2")


def test_a_continued_log_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (10, 20, 30):
        log.write("step", step, {"train_loss": step / 7})
    with path.open("a") as file:
        file.write('{"kind": "step", "step": 40, "tra')  # killed while writing
    again = MetricsLog(path)
    again.go_on(20)
    again.write("step", 30, {"train_loss": 0.5})
    assert [(record["step"], record["train_loss"]) for record in read_metrics(path)] == [
        (10, 10 / 7),
        (20, 20 / 7),
        (30, 0.5),
    ]
    lines = path.read_text().splitlines()
    assert lines[2] == '{"kind": "step", "step": 40, "tra'  # what is no record is kept, on a line of its own


def test_a_damaged_log_loses_no_good_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in range(1, 7):
        log.write("epoch", step, {"epoch": step})
    lines = path.read_bytes().split(b"\n")
    lines[1] = b"\xff\x00 no record"
    path.write_bytes(b"\n".join([*lines[:3], *lines[4:]]))
    MetricsLog(path).go_on(6, [{"kind": "epoch", "step": step, "epoch": step} for step in range(1, 7)])
    assert sorted(record["step"] for record in read_metrics(path)) == [1, 2, 3, 4, 5, 6]
    assert b"\xff\x00 no record" in path.read_bytes().split(b"\n")
    before = path.read_bytes()
    MetricsLog(path).go_on(6, [{"kind": "epoch", "step": step, "epoch": step} for step in range(1, 7)])
    assert path.read_bytes() == before


def test_the_record_of_a_pending_epoch_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write("step", 2, {})
    log.write("epoch", 2, {"epoch": 1})
    log.go_on(2, pending=True)
    assert [record["kind"] for record in read_metrics(path)] == ["step"]


def test_a_new_run_begins_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).write("step", 5, {})
    MetricsLog(path).go_on(0)
    assert path.read_text() == ""
    assert read_metrics(tmp_path / "absent.jsonl") == []


def test_only_an_enabled_log_writes(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", enabled=False)
    log.go_on(0)
    log.write("step", 1, {})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_clock() -> None:
    clock = Clock()
    clock.add(10, 0.0)
    time.sleep(0.05)
    figures = clock.figures()
    assert 0 < figures["images_per_second"] <= 200
    assert figures["data_wait_fraction"] == 0.0


def test_memory_is_what_this_process_has() -> None:
    before = memory_bytes(torch.device("cpu"))
    kept = torch.ones(50_000_000)
    assert memory_bytes(torch.device("cpu")) - before == pytest.approx(kept.nbytes, rel=0.05)


def test_what_a_run_is_bound_by() -> None:
    meters = {"read_seconds": 1.0, "decode_seconds": 9.0}
    assert bound_by(0.02, meters) == "compute"
    assert bound_by(0.5, meters) == "decode"
    assert bound_by(0.5, {"read_seconds": 9.0, "decode_seconds": 1.0}) == "disk"
