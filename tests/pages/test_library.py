"""The charts' library: kept, whole or made again, and no cache is needed."""

from pathlib import Path

import pytest

from alexnet_pages.library import chart_library


@pytest.fixture(autouse=True)
def forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chart_library.cache_clear()


def test_it_is_kept_and_a_damaged_copy_is_made_again(tmp_path: Path) -> None:
    made = chart_library()
    assert "vegaEmbed" in made
    (kept,) = (tmp_path / "cache" / "alexnet-replication" / "pages").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    chart_library.cache_clear()
    assert chart_library() == made
    kept.write_text(kept.read_text()[:-10] + "alert(1) x")
    chart_library.cache_clear()
    assert chart_library() == made
    assert kept.read_text().endswith(made[-10:])


def test_without_a_cache_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder would")
    assert "vegaEmbed" in chart_library()
