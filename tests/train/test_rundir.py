"""The run directory: one owner at a time, and each kind of checkpoint gone on from, passed over or refused."""

import errno
import fcntl
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_train.checkpoint import STATE_KEYS, checkpoint_path, save_checkpoint
from alexnet_train.rundir import RunDirectory, RunDirectoryError, chosen_checkpoint, restarted

SPAWN = multiprocessing.get_context("spawn")


def whole(step: int) -> dict[str, Any]:
    plain: dict[str, Any] = {"recipe": {}, "model": {"w": torch.ones(5000)}, "stats": {}, "classes": [], "words": []}
    return {**plain, "epoch": 0, **dict.fromkeys(STATE_KEYS), "step": step}


def owner_of(path: Path, environment: dict[str, str] | None = None, said: list[str] | None = None) -> RunDirectory:
    return RunDirectory(path, (said if said is not None else []).append, environment or {})


def saved(out: Path, *steps: int) -> list[Path]:
    paths = [checkpoint_path(out / "checkpoints", step) for step in steps]
    for path, step in zip(paths, steps, strict=True):
        save_checkpoint(path, whole(step))
    return paths


def listing(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.pt*") if path.is_file()}


def refusal(out: Path) -> str:
    """The line of a refusal, which touches nothing."""
    before = listing(out)
    with owner_of(out) as owner, pytest.raises(RunDirectoryError) as caught:
        owner.decide()
    assert listing(out) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_newest_whole_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    with owner_of(tmp_path / "new") as owner:
        assert owner.decide().found is None
    paths = saved(tmp_path, 1, 2, 3)
    with owner_of(tmp_path) as owner:
        decision = owner.decide()
        assert decision.found is not None
        assert (decision.found.path, decision.damaged) == (paths[2], ())


@pytest.mark.parametrize("kept_bytes", [0, 1, 5000])
def test_damaged_bytes_fall_back_and_are_kept(kept_bytes: int, tmp_path: Path) -> None:
    paths = saved(tmp_path, 4, 8, 12)
    content = paths[2].read_bytes()[:kept_bytes]
    paths[2].write_bytes(content)
    (tmp_path / "checkpoints" / "step-00000016.pt.tmp").touch()
    said: list[str] = []
    with owner_of(tmp_path, said=said) as owner:
        decision = owner.decide()
        assert decision.found is not None
        assert decision.found.path == paths[1]
        owner.settle(decision)
    assert (tmp_path / "checkpoints" / "step-00000012.pt.bad").read_bytes() == content
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000004.pt", "step-00000008.pt", "step-00000012.pt.bad",
    ]  # fmt: skip
    assert said[0].startswith(f"warning: {paths[2]}: damaged")


def test_best_serves_where_it_is_the_newest_whole_one(tmp_path: Path) -> None:
    paths = saved(tmp_path, 4, 12)
    (tmp_path / "checkpoints" / "best.pt").write_bytes(paths[1].read_bytes())
    paths[1].write_bytes(b"")
    with owner_of(tmp_path) as owner:
        decision = owner.decide()
        assert decision.found is not None
        assert decision.found.path.name == "best.pt"
        owner.settle(decision)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "step-00000004.pt", "step-00000012.pt", "step-00000012.pt.bad", "best.pt",
    }  # fmt: skip
    for path in paths:
        path.unlink()
    with owner_of(tmp_path) as owner:
        found = owner.decide().found
        assert found is not None
        assert found.content is not None
        assert found.content["step"] == 12


def test_all_damaged_is_refused(tmp_path: Path) -> None:
    for path in saved(tmp_path, 4, 8):
        path.write_bytes(b"no zip")
    line = refusal(tmp_path)
    assert "step-00000008.pt (damaged" in line
    assert "step-00000004.pt (damaged" in line
    assert "--fresh" in line


def test_another_version_is_refused(tmp_path: Path) -> None:
    paths = saved(tmp_path, 4, 8)
    torch.save({"format": "alexnet-checkpoint", "version": 99, **whole(8)} | {"version": 99}, paths[1])
    line = refusal(tmp_path)
    assert "step-00000008.pt (checkpoint of version 99, expected 2 or 3), step-00000004.pt (whole)" in line
    assert "move step-00000008.pt elsewhere" in line


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_cannot_be_read_is_refused(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = saved(tmp_path, 4, 8)

    def fail(path: Path) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *words, **named: fail(path) if path == paths[1] else opened(path, *words, **named)
    )
    with owner_of(tmp_path) as owner, pytest.raises(RunDirectoryError, match="cannot be read") as caught:
        owner.decide()
    assert f"step-00000008.pt (cannot be read ({os.strerror(number)}))" in str(caught.value)
    monkeypatch.undo()
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {path.name for path in paths}


def test_a_link_to_nothing_is_no_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-00000004.pt").symlink_to(tmp_path / "unmounted" / "step-00000004.pt")
    assert "step-00000004.pt (no such checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["step-00000000.pt", "best.pt", "alexnet.pt"])
def test_weights_only_name_a_way(name: str, tmp_path: Path) -> None:
    content = {key: value for key, value in whole(0).items() if key not in STATE_KEYS}
    save_checkpoint(tmp_path / "checkpoints" / name, content)
    line = refusal(tmp_path)
    assert f"{name} (weights only" in line
    assert f"--init {tmp_path}/checkpoints/{name}" in line


def test_a_whole_checkpoint_under_another_name_is_not_begun_over(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 4)
    path.rename(path.with_name("copy.pt"))
    assert "rename it to step-00000004.pt" in refusal(tmp_path)


def hold(path: Path, ready: Any, end: Any) -> None:
    with owner_of(path):
        ready.set()
        end.wait(60)


def test_two_owners_are_one_too_many(tmp_path: Path) -> None:
    ready, end = SPAWN.Event(), SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(tmp_path, ready, end))
    process.start()
    assert ready.wait(60)
    with pytest.raises(RunDirectoryError, match=f"in use by process {process.pid} on ") as caught, owner_of(tmp_path):
        pass
    assert "\n" not in str(caught.value)
    process.kill()  # what it leaves is no obstacle
    process.join()
    with owner_of(tmp_path):
        pass


def test_a_planted_lock_is_not_written_through(tmp_path: Path) -> None:
    """A link named .lock in a folder that was unpacked made a run empty what it points to."""
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(victim)
    with pytest.raises(AlexnetError, match=r"\.lock: "), owner_of(tmp_path / "run"):
        pass
    assert victim.read_text() == "kept"


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with owner_of(tmp_path) as owner:
        assert owner.decide().found is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: this file system has no locks; let no two commands write here at once"
    ]


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunDirectoryError, match="cannot be written"), owner_of(tmp_path / "run"):
        pass


def test_a_restarted_worker_knows_of_a_divergence(tmp_path: Path) -> None:
    with owner_of(tmp_path) as owner:
        owner.note_divergence("the loss is nan")
    restart = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1"}
    with pytest.raises(RunDirectoryError, match=r"the loss is nan \(not tried again\)"), owner_of(tmp_path, restart):
        pass
    with owner_of(tmp_path, restart | {"TORCHELASTIC_RESTART_COUNT": "0"}):
        pass  # a new launch, with another recipe perhaps
    with owner_of(tmp_path, restart):
        pass


def test_who_was_started_again() -> None:
    assert restarted({}) is None
    assert restarted({"TORCHELASTIC_RESTART_COUNT": "0", "SLURM_RESTART_COUNT": "0"}) is None
    assert restarted({"TORCHELASTIC_RESTART_COUNT": "2"}) == "TORCHELASTIC_RESTART_COUNT=2"
    assert restarted({"TORCHELASTIC_RESTART_COUNT": "0", "SLURM_RESTART_COUNT": "1"}) == "SLURM_RESTART_COUNT=1"


def test_a_log_without_its_checkpoints_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"kind": "step", "step": 1}\n')
    with owner_of(tmp_path) as owner:
        owner.keep_old_log()
        assert log.exists()
        log.write_text('{"kind": "epoch", "step": 1}\n')
        owner.keep_old_log()
    assert (tmp_path / "metrics.jsonl.old").read_text() == '{"kind": "epoch", "step": 1}\n'


def test_a_run_is_a_checkpoint_too(tmp_path: Path) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    assert chosen_checkpoint(tmp_path / "none.pt") == tmp_path / "none.pt"
    with pytest.raises(FormatError, match="no checkpoint in it; expected a file of RUN/checkpoints, or RUN itself"):
        chosen_checkpoint(tmp_path / "run")
    for name in ("step-00000002.pt", "step-00000010.pt"):
        (checkpoints / name).touch()
    for place in (tmp_path / "run", checkpoints):
        assert chosen_checkpoint(place) == checkpoints / "step-00000010.pt"
    (checkpoints / "best.pt").touch()
    assert chosen_checkpoint(tmp_path / "run") == checkpoints / "best.pt"
