"""alexnet-eval computes once: a second call prints what is kept, and reads no image; a page takes each image anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alexnet_shards.shardset import open_shards
from alexnet_train.kepteval import KEPT_NAME


def test_the_command_computes_once(run: Any, make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    small = ["--recipe", "demo", "--set", "width=0.0625", "--set", "batch_size=5", "--set", "epochs=1"]
    assert run("train", "--shards", pattern, *small, "--out", tmp_path / "run").exit_code == 0
    words = ["--checkpoint", tmp_path / "run", "--shards", f"{tmp_path}/shards/val-*.tar", "--worst", "2"]
    first = run("eval", *words)
    assert "holds the result" not in first.stderr
    assert "top-1 error" in first.stdout
    sample = open_shards([f"{tmp_path}/shards/val-*.tar"]).rows[3]
    shard = tmp_path / "shards" / "val-000.tar"
    content = bytearray(shard.read_bytes())
    content[int(sample["offset"]) + 700] ^= 255
    shard.write_bytes(content)
    second = run("eval", *words)
    assert (second.exit_code, second.stdout) == (0, first.stdout)  # no image was read
    assert f"{KEPT_NAME}: holds the result of just this evaluation (--again computes it anew)" in second.stderr
    for changed in (["--again"], ["--views", "1"], ["--worst", "3"], ["--average", "logits"]):
        assert "crc32" in run("eval", *words, *changed).stderr
    few = run("eval", *words, "--again", "--quarantine", "1", "--json")
    assert json.loads(few.stdout)["quarantined"] == 1
    assert run("eval", *words).stdout == first.stdout, "the errors without a bad image are not kept"
