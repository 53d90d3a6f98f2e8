"""The plan of a drawn source: complete, without collisions, and the same for the same sizes."""

from collections import Counter

import pytest

from alexnet_drawn.shots import plan_sample, render_shot

SIZES = {"edition": "2010", "classes": 4, "train_per_class": 30, "val_per_class": 5, "test_per_class": 3, "seed": 1}


@pytest.mark.parametrize("edition", ["2010", "2012"])
def test_every_class_has_its_photos(edition: str) -> None:
    plan = plan_sample({**SIZES, "edition": edition})
    assert Counter(shot.class_number for shots in plan.train for shot in shots) == dict.fromkeys(range(4), 30)
    assert Counter(plan.val_ids) == dict.fromkeys(range(1, 5), 5)
    for shot in (*plan.val, *plan.test):
        ids = plan.val_ids if "_val_" in shot.name else plan.test_ids
        assert ids[int(shot.name[-13:-5]) - 1] == shot.class_number + 1
    names = [shot.name for shots in plan.train for shot in shots] + [shot.name for shot in (*plan.val, *plan.test)]
    assert len(set(names)) == len(names)
    assert len({shot.key for shot in plan.shots()}) == len(plan.shots())


def test_archives_are_not_in_name_order() -> None:
    plan = plan_sample(SIZES)
    for names in ([shots[0].name for shots in plan.train], [shot.name for shot in plan.val]):
        assert names != sorted(names)


def test_only_the_patched_edition_has_images_that_need_a_patch() -> None:
    kinds = {
        edition: Counter(shot.kind for shot in plan_sample({**SIZES, "edition": edition}).shots())
        for edition in ("2010", "2012")
    }
    patches = plan_sample(SIZES).patches
    assert {split: len(shots) for split, shots in patches.items()} == {"train": 3, "val": 1, "test": 1}
    assert kinds["2010"]["unavailable"] == 5
    assert kinds["2012"]["unavailable"] == 0
    assert kinds["2012"]["gzip"] == kinds["2012"]["truncated"] - 1 == 1


def test_plan_and_photos_follow_from_sizes_and_seed() -> None:
    assert plan_sample(SIZES) == plan_sample(SIZES)
    assert plan_sample(SIZES) != plan_sample({**SIZES, "seed": 2})
    shot = plan_sample(SIZES).val[0]
    assert render_shot(1, shot) == render_shot(1, shot)
    assert render_shot(1, shot) != render_shot(2, shot)
