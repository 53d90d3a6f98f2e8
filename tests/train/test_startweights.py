"""A run that starts from given weights: they are where it starts, other classes get a new layer, misfits are refused."""

import json
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from alexnet_command.progress import Progress
from alexnet_network import DeviceStats
from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact, load_manifest, manifest_path, save_manifest
from alexnet_shards.shardset import open_shards
from alexnet_shards.stats import load_stats, save_stats
from alexnet_stream import Stream, StreamConfig
from alexnet_train import dryrun, overfit, requests
from alexnet_train.checkpoint import load_checkpoint
from alexnet_train.distributed import World
from alexnet_train.evaluate import load_classifier
from alexnet_train.loop import fit
from alexnet_train.metrics import read_metrics
from alexnet_train.recipe import load_recipe
from alexnet_train.records import Records
from alexnet_train.runconfig import RunConfig
from alexnet_train.startweights import start_state
from alexnet_train.stepper import Schedule, Stepper

SMALL = ("width=0.0625", "batch_size=5", "epochs=1", "num_classes=7")
CLASSES = [ClassFact(wnid=f"n{label:08d}") for label in range(7)]


def config(pattern: str, out: Path, *settings: str, init: Path | None = None) -> RunConfig:
    recipe, world = load_recipe("demo", (*SMALL, *settings)), World(device=torch.device("cpu"))
    return RunConfig(recipe=recipe, shards=[pattern], val_shards=(), stats=None, out_dir=out, world=world, init=init)


def train(run: RunConfig) -> Path:
    with Progress("train", "steps", quiet=True) as progress:
        return Path(fit(run, progress)["checkpoint"])


def test_a_run_starts_where_the_weights_are(make_run: Callable[..., str], tmp_path: Path) -> None:
    pattern = make_run(tmp_path / "shards")
    first = train(config(pattern, tmp_path / "first"))
    # At a rate of nothing the weights stay where they were; the averaged ones too.
    settings = ("learning_rate=1e-30", "seed=5", "average_decay=0.5")
    path = train(config(pattern, tmp_path / "second", *settings, init=first))
    for name, tensor in load_checkpoint(first)["model"].items():
        assert torch.equal(load_checkpoint(path)["model"][name], tensor), name
        assert torch.equal(load_checkpoint(path)["average"][name], tensor), name
    # Started again it goes on, and does not begin with those weights anew.
    longer = config(pattern, tmp_path / "second", *settings, "epochs=2", init=tmp_path / "gone.pt")
    assert load_checkpoint(train(longer))["epoch"] == 2


def test_a_run_that_goes_on_began_with_those_weights(
    make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--init was of no effect where the run's directory held another run, and nothing was said."""
    pattern = make_run(tmp_path / "shards")
    first = train(config(pattern, tmp_path / "first"))
    second = train(config(pattern, tmp_path / "second", "seed=5", init=first))
    longer = config(pattern, tmp_path / "second", "seed=5", "epochs=2")
    with pytest.raises(AlexnetError, match=rf"--init {second}: the run of {second} began with others"):
        train(replace(longer, init=second))
    with pytest.raises(AlexnetError, match="began with drawn weights; leave --init out"):
        train(config(pattern, tmp_path / "first", "epochs=2", init=second))
    with monkeypatch.context() as patch:  # a job that is queued again goes on, whatever the file has become
        patch.setenv("SLURM_RESTART_COUNT", "1")
        train(replace(longer, init=second))
    train(replace(longer, recipe=replace(longer.recipe, train=replace(longer.recipe.train, epochs=3)), init=first))
    assert (
        load_checkpoint(tmp_path / "second" / "checkpoints" / "step-00000009.pt")["init"]
        == sha256(first.read_bytes()).hexdigest()
    )


def test_trials_start_with_them_too(
    make_run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = make_run(tmp_path / "shards")
    first = train(config(pattern, tmp_path / "first"))
    run = config(pattern, tmp_path / "trial", "learning_rate=1e-30", "seed=5", init=first)
    steppers: list[Stepper] = []

    def stepper(*arguments: Any, **named: Any) -> Stepper:
        steppers.append(Stepper(*arguments, **named))
        return steppers[-1]

    monkeypatch.setattr(dryrun, "Stepper", stepper)
    monkeypatch.setattr(overfit, "Stepper", stepper)
    monkeypatch.setattr(requests.Requests, "leave", SIGTERM, raising=False)
    monkeypatch.setattr(requests.Requests, "__init__", lambda self: self.__dict__.update(_before={}))
    with Progress("train", "steps", quiet=True) as progress:
        dryrun.dry_run(run, progress)
        overfit.overfit(run, progress, 1)
    given = load_checkpoint(first)["model"]
    for one in steppers:
        assert all(torch.equal(tensor, given[name]) for name, tensor in one.evaluated.state_dict().items())
    with Progress("train", "steps", quiet=True) as progress, pytest.raises(AlexnetError, match="no such checkpoint"):
        dryrun.dry_run(replace(run, init=tmp_path / "gone.pt"), progress)


def test_other_classes_get_a_new_last_layer(make_run: Callable[..., str], tmp_path: Path) -> None:
    first = train(config(make_run(tmp_path / "shards"), tmp_path / "first"))
    stats = load_stats(tmp_path / "shards" / "stats.npz")
    said: list[str] = []
    recipe = load_recipe("demo", (*SMALL, "num_classes=3"))
    weights = start_state(first, recipe, CLASSES[:3], stats, said.append)["model"]
    given = load_checkpoint(first)["model"]
    assert weights["fc8.weight"].shape[0] == 3
    assert all(torch.equal(weights[name], given[name]) for name in given if not name.startswith("fc8."))
    assert said == [f"starting from the weights and the mean of {first}, fc8 drawn anew for other classes"]
    renamed = [*CLASSES[:6], ClassFact(wnid="n99999999")]
    weights = start_state(first, load_recipe("demo", SMALL), renamed, stats, said.append)["model"]
    assert not torch.equal(weights["fc8.weight"], given["fc8.weight"])


def test_a_run_on_other_shards_and_another_scale_starts_where_the_weights_say(
    make_run: Callable[..., str], tmp_path: Path
) -> None:
    """Its inputs had the mean of its own shards, and another scale was refused."""
    first = train(config(make_run(tmp_path / "shards"), tmp_path / "first"))
    other = make_run(tmp_path / "other", (8, 7))
    stats = load_stats(tmp_path / "other" / "stats.npz")
    save_stats(tmp_path / "other" / "stats.npz", replace(stats, mean_image_hwc=stats.mean_image_hwc * 0.5))
    scale = ("view_divide_by=57.4", "divide_by=57.4")
    path = train(config(other, tmp_path / "second", *scale, "learning_rate=1e-30", init=first))
    longer = config(other, tmp_path / "second", *scale, "learning_rate=1e-30", "epochs=2", init=first)
    images_nhwc = torch.randint(0, 256, (3, 256, 256, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    want = load_classifier(first, torch.device("cpu")).log_probabilities(images_nhwc, 10)
    for one in (path, train(longer)):  # and where it goes on
        found = load_classifier(one, torch.device("cpu")).log_probabilities(images_nhwc, 10)
        torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-6)
    axes = load_checkpoint(path)["stats"]["axes_released"]
    assert torch.equal(axes, DeviceStats.from_stats(stats).axes_released)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("width=0.125", "model.width is 0.0625 there, 0.125 in recipe demo"),
        ("lrn_k=1.0", "model.lrn_k is 2.0 there, 1.0 in recipe demo"),
        (
            "input.mean=channel",
            "have input.mean = 'image', those of recipe demo 'channel'; give --set input.mean=image",
        ),
    ],
)
def test_misfits_are_refused(setting: str, line: str, make_run: Callable[..., str], tmp_path: Path) -> None:
    first = train(config(make_run(tmp_path / "shards"), tmp_path / "first"))
    stats = load_stats(tmp_path / "shards" / "stats.npz")
    with pytest.raises(AlexnetError) as caught:
        start_state(first, load_recipe("demo", (*SMALL, setting)), CLASSES, stats, print)
    assert line in str(caught.value)


def test_published_weights_of_torchvision_are_where_a_run_starts_and_learns(
    run: Any,
    make_run: Callable[..., str],
    torchvisions_alexnet: Callable[[int], nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its first loss is that of torchvision's own network on its own input, in torchvision's order of classes."""
    pattern = make_run(tmp_path / "shards", (3,), ())
    wnids = [f"n{number:08d}" for number in (*range(1, 1000), 0)]  # not the sorted order
    monkeypatch.setattr(
        "alexnet_train.importer.ILSVRC2012_SHA256", sha256("\n".join(sorted(wnids)).encode()).hexdigest()
    )
    path = manifest_path(tmp_path / "shards", "train")
    manifest = replace(load_manifest(path), classes=tuple(ClassFact(wnid=wnid) for wnid in wnids))
    save_manifest(path, manifest)
    torch.manual_seed(0)
    network = torchvisions_alexnet(1000)
    torch.save(network.state_dict(), tmp_path / "random.pth")
    words = ["--weights", tmp_path / "random.pth", "--shards", pattern, "--out", tmp_path / "imported.pt"]
    assert run("import", "--from", "torchvision", *words).exit_code == 0

    settings = ("batch_size=3", "num_classes=1000", "crop=centre", "flip=false", "dropout=0.0", "learning_rate=0.05")
    recipe, world = load_recipe("torchvision", settings), World(device=torch.device("cpu"))
    shards, stats = open_shards([pattern]), load_stats(tmp_path / "shards" / "stats.npz")
    state = start_state(tmp_path / "imported.pt", recipe, shards.classes, stats, print)
    schedule = Schedule(optim=recipe.optim, steps_per_epoch=1, records=Records(None))
    stepper = Stepper(recipe, stats, world, schedule, state=state)
    with Stream(shards, StreamConfig(batch_size=3, seed=0, crop="centre", flip=False)) as stream:
        batch = next(stream.epoch("cpu"))
        stepper.begin(epoch=0)
        losses = []
        for _ in range(4):
            stepper.take(batch, epoch=0)
            losses.append(stepper.log_record(epoch=0)["train_loss"])
    mean, std = (torch.tensor(x).reshape(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        logits = network((batch.images_nhwc.permute(0, 3, 1, 2) / 255 - mean) / std)
    theirs = torch.tensor([sorted(wnids).index(wnids[label]) for label in batch.labels.tolist()])
    assert losses[0] == pytest.approx(functional.cross_entropy(logits, theirs).item(), rel=1e-5)
    assert losses[-1] < losses[0] - 0.02


FROZEN = """
base = "torchvision"
[[optim.phases]]
after_epochs = 0
weights = 1.0
biases = 1.0
layers = {conv1 = 0.0}
colour_noise = false
"""


def few_photos(data_dir: Path, source: Path, counts: dict[str, int]) -> None:
    """The first photos of each of tiny10's classes as a folder source."""
    with tarfile.open(data_dir / "tiny10.tar") as archive:
        taken: Counter[tuple[str, str]] = Counter()
        for member in archive:
            _, split, wnid, name = (*member.name.split("/"), "", "", "")[:4]
            if member.isfile() and taken[split, wnid] < counts.get(split, 0):
                taken[split, wnid] += 1
                path = source / split / wnid / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]


@pytest.mark.long
def test_torchvisions_weights_are_tuned_to_ten_classes_by_the_commands(
    run: Any,
    data_dir: Path,
    make_run: Callable[..., str],
    torchvisions_alexnet: Callable[[int], nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 1000 classes, random but such that signals pass: fc8 is drawn anew, conv1 stays, the others learn."""
    torch.manual_seed(0)
    network = torchvisions_alexnet(1000)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    torch.save(network.state_dict(), tmp_path / "random.pth")
    wnids = sorted(f"n{number:08d}" for number in range(1000))
    monkeypatch.setattr("alexnet_train.importer.ILSVRC2012_SHA256", sha256("\n".join(wnids).encode()).hexdigest())
    thousand = make_run(tmp_path / "thousand", (3,), ())
    path = manifest_path(tmp_path / "thousand", "train")
    classes = tuple(ClassFact(wnid=wnid) for wnid in wnids)
    save_manifest(path, replace(load_manifest(path), classes=classes))
    words = ["--weights", tmp_path / "random.pth", "--shards", thousand, "--out", tmp_path / "tv.pt"]
    assert run("import", "--from", "torchvision", *words).exit_code == 0

    few_photos(data_dir, tmp_path / "source", {"train": 12, "val": 4})
    shards = tmp_path / "shards"
    for command in (
        ["shards", "--source", tmp_path / "source", "--out", shards],
        ["compute-stats", "--shards", shards],
    ):
        subprocess.run([sys.executable, "-m", "alexnet_prep.cli", *map(str, command)], check=True, capture_output=True)
    (tmp_path / "frozen.toml").write_text(FROZEN)
    settings = ["batch_size=12", "learning_rate=0.0003", "epochs=5", "validation_batch_size=20"]
    sets = [word for setting in settings for word in ("--set", setting)]
    words = ["--shards", shards, "--recipe", tmp_path / "frozen.toml", "--init", tmp_path / "tv.pt", *sets]
    trained = run("train", *words, "--out", tmp_path / "run", "--json")
    assert trained.exit_code == 0, trained.output
    assert "starting from the weights and the mean of" in trained.stderr
    assert "fc8 drawn anew for other classes" in trained.stderr
    losses = [
        record["train_loss"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl") if record["kind"] == "epoch"
    ]
    assert len(losses) == 5
    assert losses[-1] < 0.7 * losses[0]
    recipe = load_recipe(str(tmp_path / "frozen.toml"), [*settings, "num_classes=10"])
    opened = open_shards([str(shards)], split="train")
    start = start_state(tmp_path / "tv.pt", recipe, opened.classes, load_stats(shards / "stats.npz"), print)["model"]
    end = load_checkpoint(Path(json.loads(trained.stdout)["checkpoint"]))["model"]
    assert torch.equal(end["conv1.weight"], start["conv1.weight"])
    assert all(
        not torch.equal(end[f"{name}.weight"], start[f"{name}.weight"]) for name in ("conv2", "conv5", "fc6", "fc8")
    )
