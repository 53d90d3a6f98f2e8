"""An epoch that goes on at another kind of place: every sample once, in the order that it was begun in."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet_remote.cacheconfig import CacheConfig
from alexnet_remote.remoteset import open_shards
from alexnet_shards.errors import AlexnetError
from alexnet_shards.shardset import ShardSet
from alexnet_stream.stream import Stream, StreamConfig

NUM_SHARDS, SAMPLES = 18, 36  # more shards than the default window has
CONFIG = StreamConfig(batch_size=4, seed=2, threads=1)


@pytest.fixture
def places(
    tmp_path: Path, make_shards: Callable[..., str], fault_server: Callable[..., Any]
) -> dict[str, Callable[[int], ShardSet]]:
    """The same shards on this disk and at a server, by the bytes that the cache may have."""
    pattern = make_shards(tmp_path / "set", (2,) * NUM_SHARDS)
    url = f"{fault_server(tmp_path / 'set').url}/train-{{000..{NUM_SHARDS - 1:03d}}}.tar"
    return {
        "local": lambda max_bytes: open_shards([pattern]),
        "remote": lambda max_bytes: open_shards([url], CacheConfig(home=tmp_path / "cache", max_bytes=max_bytes)),
    }


def rows(stream: Stream) -> list[int]:
    return [row for batch in stream.epoch() for row in batch.rows.tolist()]


@pytest.mark.parametrize(("begun", "moved"), [("local", "remote"), ("remote", "local")])
def test_the_rest_of_an_epoch_is_read_in_the_order_of_its_beginning(
    places: dict[str, Callable[[int], ShardSet]], begun: str, moved: str
) -> None:
    with Stream(places[begun](1 << 30), CONFIG) as stream:
        batches = stream.epoch()
        seen = [row for _ in range(3) for row in next(batches).rows.tolist()]
        state = stream.state_dict()
        undisturbed = seen + [row for batch in batches for row in batch.rows.tolist()]
    with Stream(places[moved](1 << 30), CONFIG) as stream:
        usual = stream.state_dict()["order"]
        assert usual != state["order"]
        stream.load_state_dict(state)
        assert stream.state_dict() == state
        assert seen + rows(stream) == undisturbed
        assert sorted(undisturbed) == list(range(SAMPLES))
        rows(stream)
        stream.load_state_dict({"epoch": 2, "position": 4, "order": usual})  # the next epochs are in this place's order
        assert stream.state_dict() == {"epoch": 2, "position": 4, "order": usual}


def test_a_cache_that_cannot_hold_a_global_order_is_told(places: dict[str, Callable[[int], ShardSet]]) -> None:
    with Stream(places["local"](0), CONFIG) as stream:
        next(stream.epoch())
        state = stream.state_dict()
    needed = sum(fact.bytes for fact in places["local"](0).manifest.shards)
    with (
        Stream(places["remote"](1 << 30), CONFIG) as stream,
        pytest.raises(AlexnetError, match="not a place|another order"),
    ):
        stream.load_state_dict(state | {"order": state["order"] ^ 1})
    config = StreamConfig(batch_size=4, seed=2, threads=1, window_shards=8)
    with Stream(places["remote"](needed - 1), config) as stream:
        usual = stream.state_dict()
        with pytest.raises(
            AlexnetError, match="begun with local shards, in a global order: .* raise ALEXNET_CACHE_GIB"
        ):
            stream.load_state_dict(state)
        assert stream.state_dict() == usual
        assert sorted(rows(stream)) == list(range(SAMPLES))


def test_an_iterator_that_begins_in_the_middle_says_so(
    places: dict[str, Callable[[int], ShardSet]], caplog: pytest.LogCaptureFixture
) -> None:
    """Lightning's sanity check looks at some batches of a validation, which then would lack them without a word."""
    caplog.set_level(logging.WARNING)
    with Stream(places["local"](0), CONFIG) as stream:
        next(iter(stream))
        state = stream.state_dict()
        assert len(list(stream)) == SAMPLES // 4 - 1
        assert [record.getMessage()[:48] for record in caplog.records] == [
            "iterated anew in the middle of epoch 0: begins w"
        ]
        caplog.clear()
        stream.load_state_dict(state)
        list(stream), list(stream)
    assert not caplog.records
