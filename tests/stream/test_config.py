"""What a stream's configuration refuses, and how many threads it takes by itself."""

from typing import Any

import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_stream.config import StreamConfig, default_threads


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"rank": 2, "world_size": 2}, "rank 2"),
        ({"batch_size": 2, "world_size": 3}, "batch_size 2"),
        ({"last": "wrap"}, "last 'wrap'"),
        ({"order": "random"}, "order 'random'"),
        ({"quarantine": -1}, "quarantine -1"),
        ({"seed": 2**64}, "seed 18446744073709551616: expected below"),
    ],
)
def test_wrong_configurations(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AlexnetError, match=message):
        StreamConfig(**{"batch_size": 4, "seed": 0, **change})


def test_threads_are_a_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)))
    for sharing, threads in (("", 12), ("1", 12), ("5", 2), ("100", 1), ("0", 12), ("many", 12)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", sharing)
        assert default_threads() == threads
