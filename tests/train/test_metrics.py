"""Sums across a checkpoint, and the log of a run that was killed."""

import gc
import math
import time
from pathlib import Path

import pytest
import torch

from alexnet_train.distributed import World
from alexnet_train.metrics import (
    Clock,
    MetricsLog,
    Tally,
    bound_by,
    memory_bytes,
    read_metrics,
)


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
    gc.collect()  # what other tests have left is not let go of in between
    before = memory_bytes(torch.device("cpu"))
    kept = torch.ones(50_000_000)
    assert memory_bytes(torch.device("cpu")) - before == pytest.approx(kept.nbytes, rel=0.05)


def test_what_a_run_is_bound_by() -> None:
    meters = {"read_seconds": 1.0, "decode_seconds": 9.0}
    assert bound_by(0.02, meters) == "compute"
    assert bound_by(0.5, meters) == "decode"
    assert bound_by(0.5, {"read_seconds": 9.0, "decode_seconds": 1.0}) == "disk"


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).write("step", 1, {"train_loss": math.nan, "rates": {"conv1.weight": math.inf}, "epoch": 0})
    assert (
        path.read_text()
        == '{"kind": "step", "step": 1, "train_loss": null, "rates": {"conv1.weight": null}, "epoch": 0}\n'
    )
