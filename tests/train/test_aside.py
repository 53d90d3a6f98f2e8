"""Files moved aside are all there, and what is no run's stays; best.pt without hard links."""

import os
from pathlib import Path

import pytest

from alexnet_train.aside import move_run_aside, point_to, set_aside


def test_damaged_files_are_kept_under_free_names(tmp_path: Path) -> None:
    for number, expected in enumerate(["a.pt.bad", "a.pt.bad-2", "a.pt.bad-3"]):
        (tmp_path / "a.pt").write_text(str(number))
        assert set_aside(tmp_path / "a.pt").name == expected
        assert (tmp_path / expected).read_text() == str(number)


@pytest.mark.parametrize("links", [True, False])
def test_another_name(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    for name in ("one", "two", "two"):
        point_to(tmp_path / name, tmp_path / "best.pt")
    (tmp_path / "two").unlink()
    assert (tmp_path / "best.pt").read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "one"]


def test_a_run_is_moved_whole_and_strangers_stay(tmp_path: Path) -> None:
    out = tmp_path / "run"
    files = [
        "checkpoints/step-00000001.pt",
        "checkpoints/best.pt",
        "metrics.jsonl",
        "tensorboard/events.out.tfevents.1",
        "epochs.csv",
        "wandb-id.txt",
        "wandb/offline-run-1/run.wandb",
    ]
    for turn in (1, 2):
        for name in [*files, "notes.txt"]:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(f"{turn} {name}")
        assert move_run_aside(out) == tmp_path / f"run.old-{turn}"
        assert [path.name for path in out.rglob("*") if path.is_file()] == ["notes.txt"]
    for turn in (1, 2):
        for name in files:
            assert (tmp_path / f"run.old-{turn}" / name).read_text() == f"{turn} {name}"
    assert move_run_aside(out) is None
    assert not (tmp_path / "run.old-3").exists()
