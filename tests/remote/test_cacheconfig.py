"""Where the environment puts the cache, and values of it that cannot be."""

from pathlib import Path

import pytest

from alexnet_remote.cacheconfig import CacheConfig
from alexnet_shards.errors import AlexnetError


def test_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path))
    monkeypatch.setenv("ALEXNET_CACHE_GIB", "0.5")
    config = CacheConfig.from_environment()
    assert (config.home, config.max_bytes) == (tmp_path, 1 << 29)
    monkeypatch.setenv("ALEXNET_CACHE_GIB", "much")
    with pytest.raises(AlexnetError, match="ALEXNET_CACHE_GIB is 'much'"):
        CacheConfig.from_environment()


def test_where_the_environment_puts_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert CacheConfig.from_environment().shards == tmp_path / "xdg/alexnet-replication/remote/shards"
    monkeypatch.setenv("ALEXNET_CACHE", "~/kept")
    assert CacheConfig.from_environment().home == tmp_path / "kept"
    monkeypatch.setenv("ALEXNET_CACHE", "~nobody-of-that-name/kept")
    with pytest.raises(AlexnetError, match="^ALEXNET_CACHE is '~nobody[^\n]*$"):
        CacheConfig.from_environment()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "file"))
    with pytest.raises(AlexnetError, match="^ALEXNET_CACHE is .*, which is no folder[^\n]*$"):
        CacheConfig.from_environment()


@pytest.mark.parametrize("gib", ["inf", "nan", "-1", "0", "-inf", "1e300", "64GB"])
def test_senseless_sizes_are_one_line(monkeypatch: pytest.MonkeyPatch, gib: str) -> None:
    monkeypatch.setenv("ALEXNET_CACHE_GIB", gib)
    with pytest.raises(AlexnetError, match=f"^ALEXNET_CACHE_GIB is '{gib}'; [^\n]*$"):
        CacheConfig.from_environment()
