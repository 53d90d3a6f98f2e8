"""The shards of the contract package's tests hold random bytes for JPEGs: it never decodes one."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture(scope="session")
def make_shards(shard_tools: SimpleNamespace) -> Callable[..., str]:
    """Write shards of random bytes."""
    writer: Callable[..., str] = shard_tools.ShardWriter(lambda seed: np.random.default_rng(seed).bytes(500 + seed))
    return writer
