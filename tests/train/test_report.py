"""Results as lines to read."""

from alexnet_command.tables import bar_text
from alexnet_train.report import result_lines

RECORD = {
    "epoch": 3,
    "step": 12345,
    "train_loss": 2.34567,
    "val_top1_error": 0.375,
    "val_top5_error": None,
    "images_per_second": 1234.5,
    "data_wait_fraction": 0.025,
    "memory_bytes": 81_234_567,
    "seconds_per_epoch": 3725.2,
    "hours_in_all": 50.5,
    "batch_shape": [128, 3, 224, 224],
    "loss": float("nan"),
    "checkpoint": "runs/a[/b]/best.pt",
}


def test_errors_are_percent_and_sizes_have_units() -> None:
    found = dict(line.split("  ", 1) for line in result_lines(RECORD))
    assert {name: value.strip() for name, value in found.items()} == {
        "epoch": "3",
        "step": "12,345",
        "training loss": "2.346",
        "validation top-1 error": "37.5%",
        "images per second": "1,234",
        "waited for data": "2.5%",
        "memory": "81.2 MB",
        "time an epoch": "1 h 02 min",
        "time in all": "2 d 02 h",
        "batch shape": "128 x 3 x 224 x 224",
        "loss": "no number",
        "checkpoint": "runs/a[/b]/best.pt",
    }


def test_predictions_are_a_table_an_image() -> None:
    predictions = [
        {"class": 3, "wnid": "n01", "words": "a\ndog", "probability": 0.9},
        {"class": 14, "wnid": "n2", "words": "cat", "probability": 0.05},
    ]
    images = [{"image": "p.jpg", "predictions": predictions}, {"image": "q.jpg", "predictions": predictions[:1]}]
    lines = result_lines({"images": images})
    assert result_lines({"images": []}) == []
    assert lines[:4] == [
        "p.jpg",
        "class  WNID  words   probability",
        f"    3  n01   a\\ndog        90.0%  {bar_text(0.9)}",
        f"   14  n2    cat            5.0%  {bar_text(0.05)}",
    ]
    assert lines[4:6] == ["", "q.jpg"]


def test_lists_of_objects_stand_below_the_pairs() -> None:
    worst = [{"wnid": "n1", "words": "", "top1_error": 1.0, "taken_for": {"wnid": "n2", "words": "cat", "images": 4}}]
    assert result_lines({"images": 4, "worst": worst}) == [
        "images  4",
        "",
        "worst",
        "WNID  top-1 error  taken for",
        "n1         100.0%  n2  cat  4",
    ]
