"""Times of stages: noted a line a job, summed over runs, and nothing but a word where there are none or they are damaged."""

from pathlib import Path
from typing import Any

import pytest

from alexnet_prep.job import Seconds
from alexnet_prep.stagetimes import TIMES_NAME, load_times, note_times


def seconds_of(wall_s: float, cpu_s: float, **stages: float) -> Seconds:
    seconds = Seconds(wall_s=wall_s, cpu_s=cpu_s)
    seconds.stages.update(stages)
    return seconds


def test_jobs_of_all_runs_are_summed(tmp_path: Path) -> None:
    path = tmp_path / TIMES_NAME
    assert load_times(path) is None
    note_times(path, "train-000.tar", seconds_of(10.0, 7.0, decode=6.0, read=3.0))
    note_times(path, "train-001.tar", seconds_of(10.0, 9.0, decode=7.0, write=1.5))
    times = load_times(path)
    assert times is not None
    assert (times.jobs, times.wall_s, times.cpu_s, times.bound) == (2, 20.0, 16.0, "decode")
    assert times.stages == {"read": 3.0, "decode": 13.0, "resize": 0.0, "encode": 0.0, "write": 1.5}
    assert times.waiting == pytest.approx(0.2)


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b"\xff", b'{"read": "x"}', b'{"job": "a", "read": 1e400}', b"7"])
def test_a_damaged_line_is_passed_over(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / TIMES_NAME
    path.write_bytes(line + b"\n")
    assert load_times(path) is None
    note_times(path, "a", seconds_of(1.0, 2.0, read=1.0))
    times = load_times(path)
    assert times is not None
    assert (times.jobs, times.waiting) == (1, 0.0)


def test_that_it_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / TIMES_NAME).mkdir()
    note_times(tmp_path / TIMES_NAME, "a", seconds_of(1.0, 1.0))
    note_times(tmp_path / "no folder" / TIMES_NAME, "a", seconds_of(1.0, 1.0))


@pytest.mark.parametrize("read", ["in-place", "once"])
def test_a_run_notes_its_jobs_and_the_next_none(small_source: Any, tmp_path: Path, prep: Any, read: str) -> None:
    words = ("shards", "--source", small_source.directory, "--out", tmp_path / "out", "--split", "train")
    prep(*words, "--num-shards", 3, "--read", read)
    path = tmp_path / "out" / ".build" / "train" / TIMES_NAME
    times = load_times(path)
    assert times is not None
    assert times.jobs >= 3
    assert 0 < sum(times.stages.values()) <= times.wall_s
    assert times.cpu_s > 0
    before = path.read_bytes()
    prep(*words, "--num-shards", 3, "--read", read)
    assert path.read_bytes() == before
