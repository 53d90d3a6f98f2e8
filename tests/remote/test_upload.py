"""Uploads: whole or not at all, compared with what the store has, through failing servers and kills."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from alexnet_remote import upload as module
from alexnet_remote.stop import Stop
from alexnet_remote.tries import Patience, RemoteFileDeniedError, RemoteFileMissingError, RemoteFileTroubleError
from alexnet_remote.upload import ReadOnlyError, local_facts, remove_file, upload_file

CONTENT = np.random.default_rng(0).bytes(3_000_000)
PATIENCE = Patience(retries=2, first_wait_seconds=0.01, silence_seconds=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    return tmp_path / "a.tar"


def test_facts(path: Path) -> None:
    facts = local_facts(path)
    assert (facts.size, facts.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert facts.md5 == hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def test_s3_through_503s_and_resets(s3: Any, path: Path) -> None:
    s3.proxy.fail("PUT */a.tar*", "503", 2)
    s3.proxy.fail("PUT */a.tar*", "reset", 1)
    s3.proxy.fail("HEAD */a.tar*", "503", 1)
    head = upload_file(path, f"{s3.url}/set/a.tar", PATIENCE, Stop())
    assert (head.size, dict(head.checksums)["md5"]) == (len(CONTENT), local_facts(path).md5)
    assert s3.files.cat_file(f"{s3.bucket}/set/a.tar") == CONTENT


def test_in_parts_where_it_is_large(s3: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 8 << 20)
    path.write_bytes(CONTENT * 7)
    head = upload_file(path, f"{s3.url}/a.tar", PATIENCE, Stop())
    assert head.version.startswith(local_facts(path).parts_tag)
    assert head.version.partition(" ")[0].endswith('-3"')
    assert s3.files.cat_file(f"{s3.bucket}/a.tar") == CONTENT * 7


def test_what_the_store_has_is_compared(s3: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = local_facts(path)
    path.write_bytes(CONTENT[:-1] + b"!")  # as though it changed on its way
    monkeypatch.setattr(module, "local_facts", lambda _: whole)
    with pytest.raises(RemoteFileTroubleError, match=r"a\.tar: .*(digest|Content-MD5|md5).* after 3 tries"):
        upload_file(path, f"{s3.url}/a.tar", PATIENCE, Stop())


def test_where_it_cannot_be(s3: Any, path: Path) -> None:
    with pytest.raises(RemoteFileMissingError, match="not there"):
        upload_file(path, "s3://no-such-bucket-anywhere/a.tar", PATIENCE, Stop())
    with pytest.raises(ReadOnlyError, match="a web server is read only; write to a folder"):
        upload_file(path, "https://host/a.tar", PATIENCE, Stop())
    s3.proxy.fail("PUT */a.tar*", "403")
    with pytest.raises(RemoteFileDeniedError, match="who may write there"):
        upload_file(path, f"{s3.url}/a.tar", PATIENCE, Stop())


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs does
def test_googles_store(gcs: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (CONTENT, CONTENT * 2):  # in one request, and in one that is gone on with
        path.write_bytes(content)
        gcs.proxy.fail("POST /upload/*", "reset", 1)
        head = upload_file(path, f"{gcs.url}/set/a.tar", PATIENCE, Stop())
        assert (head.size, dict(head.checksums)) == (len(content), {"md5": local_facts(path).md5})
        assert head.version == f"{gcs.files.info(f'{gcs.bucket}/set/a.tar')['generation']} {len(content)}"
        assert gcs.files.cat_file(f"{gcs.bucket}/set/a.tar") == content
        assert gcs.proxy.faults.pop().times == 0
    remove_file(f"{gcs.url}/set/a.tar", PATIENCE, Stop())
    remove_file(f"{gcs.url}/set/a.tar", PATIENCE, Stop())
    with pytest.raises(RemoteFileMissingError, match="not there"):
        upload_file(path, "gs://no-such-bucket-anywhere/a.tar", PATIENCE, Stop())
    gcs.proxy.fail("POST /upload/*", "403", 1)
    with pytest.raises(RemoteFileDeniedError, match="who may write there"):
        upload_file(path, f"{gcs.url}/a.tar", PATIENCE, Stop())
    whole = local_facts(path)
    path.write_bytes(CONTENT + CONTENT[:-1] + b"!")
    monkeypatch.setattr(module, "local_facts", lambda _: whole)
    with pytest.raises(RemoteFileTroubleError, match=r"a\.tar: .* after the upload of .*, after 3 tries"):
        upload_file(path, f"{gcs.url}/a.tar", PATIENCE, Stop())


def test_removed(s3: Any, path: Path) -> None:
    upload_file(path, f"{s3.url}/a.tar", PATIENCE, Stop())
    for _ in range(2):
        remove_file(f"{s3.url}/a.tar", PATIENCE, Stop())
        assert not s3.files.exists(f"{s3.bucket}/a.tar")


def test_any_other_store_is_read_back(path: Path) -> None:
    files = fsspec.filesystem("memory")
    upload_file(path, "memory://out/a.tar", PATIENCE, Stop())
    assert files.cat_file("/out/a.tar") == CONTENT
    assert files.find("/out") == ["/out/a.tar"]


def test_a_killed_upload_leaves_nothing(s3: Any, path: Path) -> None:
    path.write_bytes(CONTENT * 4)
    script = (
        "import sys\nfrom pathlib import Path\nfrom alexnet_remote.upload import upload_file\n"
        "from alexnet_remote.stop import Stop\nfrom alexnet_remote.tries import Patience\n"
        "upload_file(Path(sys.argv[1]), sys.argv[2], Patience(), Stop())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for wait_seconds in (0.0, 0.01, 0.05):
        child = subprocess.Popen([sys.executable, "-c", script, str(path), f"{s3.url}/a.tar"], env=environment)
        before = s3.proxy.count("PUT *")
        deadline = time.monotonic() + 60
        while s3.proxy.count("PUT *") == before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(wait_seconds)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if s3.files.exists(f"{s3.bucket}/a.tar"):
            assert s3.files.cat_file(f"{s3.bucket}/a.tar") == CONTENT * 4
            s3.files.rm_file(f"{s3.bucket}/a.tar")
    upload_file(path, f"{s3.url}/a.tar", PATIENCE, Stop())
    assert s3.files.cat_file(f"{s3.bucket}/a.tar") == CONTENT * 4
