"""The picture of studies: whose lines, how far, and nothing of what cannot be compared."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from alexnet_train.studyplan import load_plan
from benchmarks.chart import MOST_BYTES
from benchmarks.studychart import Row, main, rows_of

PLAN = """
title = "Parts, ten classes"
views = 1
seeds = [0, 1, 2]
[[networks]]
name = "small"
recipe = "small"
[[networks]]
name = "no-noise"
recipe = "small"
settings = ["noise=off"]
[[networks]]
name = "logits"
trained = "small"
"""


def keep(directory: Path, seed: int, error: float, settings: tuple[str, ...] = ()) -> None:
    directory.mkdir(parents=True)
    words = ["alexnet-train", "--recipe", "small", *(word for value in settings for word in ("--set", value))]
    trained = {"words": [*words, "--set", f"seed={seed}"], "result": {"checkpoint": "a"}}
    tested = {"words": [], "result": {"top1_error": error}}
    for name, content in (("trained", trained), ("seen", tested), ("views-1", tested)):
        (directory / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    for seed, (small, other) in enumerate([(0.2, 0.3), (0.25, 0.3), (0.3, 0.45)]):
        keep(tmp_path / "kept" / "small" / f"seed-{seed}", seed, small)
        keep(tmp_path / "kept" / "no-noise" / f"seed-{seed}", seed, other, ("noise=off",))
    keep(tmp_path / "kept" / "logits" / "seed-1", 1, 0.2)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path / "kept"


def test_differences_are_in_points_and_by_seed(kept: Path, tmp_path: Path) -> None:
    """Of 10, 5 and 15 points the mean is 10 and the deviation 5: 4.303 * 5 / sqrt(3) = 12.42 on either side."""
    assert list(rows_of(load_plan(tmp_path / "plan.toml"), kept)) == [
        Row(study="Parts", network="no noise", differences=(10.0, 5.0, 15.0), mean=10.0, low=-2.42, high=22.42)
    ]


def test_the_picture_names_each_and_is_small(kept: Path, tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "studies.svg"
    main(kept, [tmp_path / "plan.toml"], picture)
    root = ElementTree.fromstring(picture.read_text())
    texts = {"".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"no noise", "Parts"} <= texts
    assert "logits" not in texts
    assert "no noise +10.0 (-2.4 to +22.4)" in str(root.get("aria-label"))
    assert picture.stat().st_size < MOST_BYTES


def test_without_two_seeds_there_is_no_picture(kept: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        (kept / "no-noise" / f"seed-{seed}" / "seen.json").unlink()
    with pytest.raises(ValueError, match="no network of two seeds beside the reference"):
        main(kept, [tmp_path / "plan.toml"], tmp_path / "studies.svg")
    assert not (tmp_path / "studies.svg").exists()


def test_the_picture_of_the_page_is_of_the_kept_runs(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs"
    plans = [docs / "studies" / f"{name}.toml" for name in ("parts", "defects")]
    main(docs / "studies" / "kept", plans, tmp_path / "studies.svg")
    drawn, kept = (
        ElementTree.fromstring(path.read_text()).get("aria-label")
        for path in (tmp_path / "studies.svg", docs / "pictures" / "studies.svg")
    )
    assert drawn is not None
    assert drawn == kept
