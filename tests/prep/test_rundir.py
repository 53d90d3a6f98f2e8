"""The output directory: its lock, the plan it is bound to, its room, and what a killed run left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alexnet_pixels import PixelRecipe
from alexnet_prep.errors import RunError
from alexnet_prep.rundir import bind_plan, check_space, first_difference, locked_directory, remove_temporaries
from alexnet_prep.share import Share
from alexnet_shards.errors import AlexnetError, FileError

OWNER = """
import sys, time
from pathlib import Path
from alexnet_prep.rundir import locked_directory
with locked_directory(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_lock_names_its_owner_and_dies_with_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=f"process {owner.pid} on .* is at work there"), locked_directory(tmp_path):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with locked_directory(tmp_path):
            pass


def test_parts_of_two_cuts_are_not_made_at_once(tmp_path: Path) -> None:
    with locked_directory(tmp_path, Share(1, 2)):
        with locked_directory(tmp_path, Share(2, 2)):
            pass
        with pytest.raises(RunError, match="part 3/3 has to wait"), locked_directory(tmp_path, Share(3, 3)):
            pass
    with locked_directory(tmp_path, Share(3, 3)):
        pass


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(FileError, match="cannot be written"), locked_directory(tmp_path / "out"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; test_pipeline mounts a read-only directory")
def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(FileError, match="cannot be written"), locked_directory(tmp_path / "out"):
        pass


FACTS: dict[str, Any] = {"seed": 1, "recipe": {"quality": 95, "filter": "area"}, "source": {"a.tar": [10, 20]}}


def test_a_stranger_s_links_lead_nowhere(tmp_path: Path) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_bytes(b"precious")
    (out / ".lock").symlink_to(victim)
    with pytest.raises(FileError, match=r"\.lock: cannot be locked \(a link stands there"), locked_directory(out):
        pass
    (out / ".lock").unlink()
    (out / ".lock").hardlink_to(victim)
    with pytest.raises(FileError, match=r"\.lock: is no file, or has other names elsewhere"), locked_directory(out):
        pass
    assert victim.read_bytes() == b"precious"
    (tmp_path / "elsewhere").mkdir()
    (out / ".build").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match=r"\.build: is a link to .*elsewhere"):
        bind_plan(out, "train", FACTS)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_plan_binds_its_directory(tmp_path: Path) -> None:
    assert bind_plan(tmp_path, "train", FACTS) == bind_plan(tmp_path, "train", FACTS)
    for changed, words in (
        ({**FACTS, "seed": 2}, r"another seed \(there 1, wanted 2\)"),
        ({**FACTS, "recipe": {"quality": 90, "filter": "area"}}, r"recipe.quality \(there 95, wanted 90\)"),
        ({**FACTS, "source": {"a.tar": [10, 21]}}, r"source.a.tar \(there \[10, 20\], wanted \[10, 21\]\)"),
        ({**FACTS, "source": {}}, r"source.a.tar \(there \[10, 20\], wanted null\)"),
    ):
        with pytest.raises(RunError, match=words):
            bind_plan(tmp_path, "train", changed)
    bind_plan(tmp_path, "val", {**FACTS, "seed": 2})


def test_shards_of_strangers_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "train-000.tar").write_bytes(b"precious")
    with pytest.raises(RunError, match=r"train-000.tar: is there, but not from a run"):
        bind_plan(tmp_path, "train", FACTS)
    assert (tmp_path / "train-000.tar").read_bytes() == b"precious"


def test_a_damaged_plan_is_one_line(tmp_path: Path) -> None:
    directory = bind_plan(tmp_path, "train", FACTS)
    (directory / "plan.json").write_text('{"seed": ')
    with pytest.raises(AlexnetError, match="plan.json: unreadable plan"):
        bind_plan(tmp_path, "train", FACTS)


def test_a_plan_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """It knew fewer options and libraries, told the source by times too, and worded the fixed rules otherwise."""
    now: dict[str, Any] = {
        "seed": 1,
        "recipe": PixelRecipe().as_dict(),
        "libraries": {"pillow": "12", "simplejpeg": "1"},
        "source": {"members": "ab", "content": "cd", "max_member_bytes": 5},
    }
    recipe = {key: value for key, value in now["recipe"].items() if key != "keep_truncated"}
    old = {
        "seed": 1,
        "recipe": recipe | {"colour": "in other words"},
        "libraries": {"pillow": "12"},
        "source": {"a.tar": [10, 1795624831472659062]},
        "members": "ab",
    }
    bind_plan(tmp_path, "train", old)
    bind_plan(tmp_path, "train", now)
    for name, value, message in (
        ("source", {**now["source"], "members": "ef"}, r"source.members \(there \"ab\", wanted \"ef\"\)"),
        ("libraries", {"pillow": "13", "simplejpeg": "1"}, r"libraries.pillow \(there \"12\", wanted \"13\"\)"),
        ("recipe", PixelRecipe(keep_truncated=True).as_dict(), r"recipe.keep_truncated \(there false, wanted true\)"),
    ):
        with pytest.raises(RunError, match=message):
            bind_plan(tmp_path, "train", {**now, name: value})


def test_first_difference() -> None:
    assert first_difference({"a": {"b": [1]}}, {"a": {"b": [1]}}) == ""
    assert first_difference({"a": 1, "b": 2}, {"a": 1}).startswith("b (there 2, wanted null")
    long = first_difference({"a": list(range(100))}, {"a": 1})
    assert len(long) < 120
    assert json.dumps(1) in long


def test_only_this_splits_temporaries_are_removed(tmp_path: Path) -> None:
    directory = bind_plan(tmp_path, "train", FACTS)
    left = [tmp_path / "train-003.tar.tmp", tmp_path / "train.index.npy.tmp", directory / "train-003.tar.json.tmp"]
    kept = [tmp_path / "val-003.tar.tmp", tmp_path / "train-003.tar", tmp_path / "notes.tmp", directory / "plan.json"]
    for path in left + kept:
        path.write_bytes(b"x")
    remove_temporaries(tmp_path, "train")
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_room_is_checked(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert check_space(tmp_path, 1000) is None
    warning = check_space(tmp_path, int(free * 1.3))
    assert warning is not None
    assert "may stop with a full disk" in warning
    with pytest.raises(RunError, match="GB are needed"):
        check_space(tmp_path, free * 3)
