"""Locks in a store: one owner at a time, taken over from the dead, noticed when lost."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import fsspec
import pytest

from alexnet_remote import storelock
from alexnet_remote.outcome import LocalTroubleError
from alexnet_remote.stop import Stop
from alexnet_remote.storelock import Owner, StoreLock, StoreLockHeldError, store_lock
from alexnet_remote.tries import Patience

PATIENCE = Patience(retries=2, first_wait_seconds=0.01, silence_seconds=3)


@pytest.fixture(params=["s3", "gcs", "memory"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param != "memory":
        yield f"{request.getfixturevalue(request.param).url}/set/.lock"
    else:
        yield "memory://locks/.lock"
        fsspec.filesystem("memory").rm("/locks", recursive=True)


def there(url: str) -> bool:
    files, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return bool(files.exists(path))


def test_one_at_a_time_and_gone_afterwards(url: str) -> None:
    fsspec.filesystem("memory").makedirs("/locks", exist_ok=True)
    with store_lock(url, PATIENCE, Stop()) as lock:
        assert there(url)
        lock.check()
        with pytest.raises(StoreLockHeldError, match=rf"\.lock: process {os.getpid()} on .* works there; wait until"):
            StoreLock(url, PATIENCE, Stop()).take()
    assert not there(url)


@pytest.fixture(params=["s3", "gcs"])
def store(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_of_many_at_once_one_gets_it(store: Any) -> None:
    outcomes: list[StoreLock | None] = []

    def work() -> None:
        lock = StoreLock(f"{store.url}/.lock", PATIENCE, Stop())
        try:
            lock.take()
            outcomes.append(lock)
        except StoreLockHeldError:
            outcomes.append(None)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 6
    (owner,) = [lock for lock in outcomes if lock is not None]
    owner.give_back()


def test_a_killed_owner_of_this_machine_is_known_to_be_dead(store: Any) -> None:
    script = (
        "import os, signal, sys\nfrom alexnet_remote.storelock import StoreLock\nfrom alexnet_remote.stop import Stop\n"
        "from alexnet_remote.tries import Patience\nStoreLock(sys.argv[1], Patience(), Stop()).take()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, f"{store.url}/.lock"], env=environment, check=False)
    assert there(f"{store.url}/.lock")
    with store_lock(f"{store.url}/.lock", PATIENCE, Stop()):
        pass


def test_an_owner_elsewhere_is_waited_for_until_its_lock_is_old(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = StoreLock(f"{store.url}/.lock", PATIENCE, Stop())
    elsewhere._owner = replace(Owner.this_process(), host="another", pid=1)
    elsewhere.take()
    with pytest.raises(StoreLockHeldError, match=r"process 1 on another works there; .*, or, if it was killed, \d+ s"):
        StoreLock(f"{store.url}/.lock", PATIENCE, Stop()).take()
    monkeypatch.setattr(storelock, "LIFE_SECONDS", 0.5)
    elsewhere._ended.set()
    time.sleep(1.5)  # a store counts whole seconds
    with store_lock(f"{store.url}/.lock", PATIENCE, Stop()) as lock:
        lock.check()


@pytest.mark.parametrize("ahead_seconds", [-1000.0, 0.0, 1000.0])
def test_a_clock_that_is_wrong_takes_nobody_for_dead(store: Any, ahead_seconds: float) -> None:
    elsewhere = StoreLock(f"{store.url}/.lock", PATIENCE, Stop())
    elsewhere._owner = replace(Owner.this_process(), host="another", pid=1)
    elsewhere.take()
    real = storelock._age_seconds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storelock, "_age_seconds", lambda info: max(0.0, real(info) + ahead_seconds))
        with pytest.raises(StoreLockHeldError, match="process 1 on another works there"):
            StoreLock(f"{store.url}/.lock", PATIENCE, Stop()).take()
    elsewhere._ended.set()
    assert [path.rpartition("/")[2] for path in store.files.find(store.bucket)] == [".lock"]


def test_a_process_of_another_container_is_not_known_to_be_dead() -> None:
    """Of one boot and, with the host's network, of one name, it counts processes for itself."""
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("no new namespaces for this user")
    code = (
        "import ast, sys\nfrom alexnet_remote.storelock import Owner\n"
        "print(Owner(**ast.literal_eval(sys.argv[1])).is_dead())"
    )
    words = [sys.executable, "-c", code, repr(asdict(Owner.this_process()))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for apart in ([], ["unshare", "--pid", "--fork", "--mount-proc"]):
        done = subprocess.run([*apart, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.stdout == "False\n", done.stderr


def test_a_machine_in_trouble_for_a_moment_keeps_its_lock_fresh(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storelock, "REFRESH_SECONDS", 0.05)
    lock, looks, fresh = StoreLock(f"{store.url}/.lock", PATIENCE, Stop()), list[int](), threading.Event()
    lock.take()
    real = lock._look

    def look() -> Any:
        looks.append(1)
        if len(looks) == 1:
            raise LocalTroubleError("too many open files")
        fresh.set()
        return real()

    monkeypatch.setattr(lock, "_look", look)
    assert fresh.wait(20)
    lock.check()
    lock.give_back()


def test_a_lost_lock_is_seen_at_once_where_it_counts(store: Any) -> None:
    """The owner slept, another came and went on: its next turn to look is half a minute away."""
    lock = StoreLock(f"{store.url}/.lock", PATIENCE, Stop())
    lock.take()
    lock.check()
    store.files.pipe_file(f"{store.bucket}/.lock", b"{}")
    with pytest.raises(StoreLockHeldError, match="taken by another process"):
        lock.check()
    lock.give_back()
    assert there(f"{store.url}/.lock")


def test_what_is_no_lock_stays(store: Any) -> None:
    store.files.pipe_file(f"{store.bucket}/.lock", b"somebody's notes")
    with pytest.raises(StoreLockHeldError, match="is no lock that this version knows; move it away"):
        StoreLock(f"{store.url}/.lock", PATIENCE, Stop()).take()
    assert store.files.cat_file(f"{store.bucket}/.lock") == b"somebody's notes"


def test_a_lost_lock_is_noticed(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storelock, "REFRESH_SECONDS", 0.05)
    lock = StoreLock(f"{store.url}/.lock", PATIENCE, Stop())
    lock.take()
    time.sleep(0.3)  # refreshed meanwhile
    lock.check()
    store.files.pipe_file(f"{store.bucket}/.lock", b"{}")
    deadline = time.monotonic() + 10
    with pytest.raises(StoreLockHeldError, match="taken by another process"):
        while time.monotonic() < deadline:
            lock.check()
            time.sleep(0.05)
    lock.give_back()
    assert there(f"{store.url}/.lock")  # it is not ours to remove


def test_a_lost_answer_is_no_other_owner(gcs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storelock, "REFRESH_SECONDS", 0.05)
    gcs.proxy.fail("POST /upload/*.lock*", "reset", 1)
    with store_lock(f"{gcs.url}/.lock", PATIENCE, Stop()) as lock:
        gcs.proxy.fail("POST /upload/*.lock*", "reset", 1)
        deadline = time.monotonic() + 30
        while sum(fault.times for fault in gcs.proxy.faults) > 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        refreshed = gcs.proxy.count("POST /upload/*.lock*")
        while gcs.proxy.count("POST /upload/*.lock*") < refreshed + 3 and time.monotonic() < deadline:
            lock.check()
            time.sleep(0.05)
    assert gcs.proxy.count("POST /upload/*.lock*") >= refreshed + 3


def test_a_store_without_conditions_is_said(caplog: pytest.LogCaptureFixture) -> None:
    fsspec.filesystem("memory").makedirs("/locks", exist_ok=True)
    with caplog.at_level(logging.WARNING), store_lock("memory://locks/.lock", PATIENCE, Stop()):
        assert "no conditional writes: let no two commands write there at once" in caplog.text
