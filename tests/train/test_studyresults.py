"""What is whole of a study, read from the files of its runs."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from alexnet_shards.errors import AlexnetError
from alexnet_train.chain import Step
from alexnet_train.studyresults import kept_results
from alexnet_train.studyruns import StudyRequest, run_study

Printed = Callable[[tuple[str, ...]], Step]
Request = Callable[..., StudyRequest]


def test_what_is_not_whole_is_not_there(study_request: Request, printed: Printed) -> None:
    request = study_request()
    assert run_study(request, printed).networks.keys() == {"first", "second"}
    for name in ("seen.json", "views-1.json", "trained.json"):
        path = request.out / "second" / "seed-3" / name
        content = path.read_bytes()
        for damaged in (None, b"", b"{", b"[]"):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            assert kept_results(request.plan, request.out).networks.keys() == {"first"}
        path.write_bytes(content)
    assert kept_results(request.plan, request.out).networks.keys() == {"first", "second"}


@pytest.mark.parametrize(
    "change",
    [
        ("epochs=1", "epochs=2"),
        ('"epochs=1", ', ""),
        ('"dropout=0.0"]', '"dropout=0.0", "batch_size=8"]'),
        ("[3]", "[4]"),
        ('"small"', '"fast"'),
    ],
)
def test_runs_of_another_plan_are_not_whole(change: tuple[str, str], study_request: Request, printed: Printed) -> None:
    run_study(study_request(), printed)
    other = study_request(change)
    assert not kept_results(other.plan, other.out).networks


def test_results_that_are_none_are_one_line(study_request: Request, printed: Printed) -> None:
    request = study_request()
    run_study(request, printed)
    path = request.out / "first" / "seed-3" / "views-1.json"
    kept = json.loads(path.read_text())
    damaged: list[Any] = [[], 3, {"top1_error": "0.25"}, {"top5_error": 0.1}, {"top1_error": True}]
    for result in damaged:
        path.write_text(json.dumps(kept | {"result": result}))
        with pytest.raises(AlexnetError, match="damaged results"):
            kept_results(request.plan, request.out)


def test_networks_tested_on_different_images_are_not_set_side_by_side(study_request: Request, printed: Printed) -> None:
    request = study_request()
    run_study(request, printed)
    path = request.out / "second" / "seed-3" / "views-1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"content": "of before"}))
    with pytest.raises(AlexnetError, match=r"second/seed-3: tested on other images than .*first/seed-3"):
        kept_results(request.plan, request.out)
    run_study(request, printed)
    assert kept_results(request.plan, request.out).networks.keys() == {"first", "second"}
