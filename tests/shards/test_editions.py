"""Which archive of an edition is taken."""

from pathlib import Path

from alexnet_shards.editions import EDITIONS


def test_the_newer_name_of_the_test_archive_comes_first(tmp_path: Path) -> None:
    edition = EDITIONS["2012"]
    assert edition.archive(tmp_path, "test") is None
    old, new = tmp_path / "ILSVRC2012_img_test.tar", tmp_path / "ILSVRC2012_img_test_v10102019.tar"
    old.touch()
    assert edition.archive(tmp_path, "test") == old
    new.touch()
    assert edition.archive(tmp_path, "test") == new
    assert edition.name_of("test") == new.name


def test_each_edition_names_its_own_year() -> None:
    for year, edition in EDITIONS.items():
        assert all(year in name for name in (edition.train, edition.val, *edition.tests, edition.devkit))
