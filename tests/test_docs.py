"""README and docs as a stranger takes them: every command, target, recipe and script is there, the snippet runs, and the
numbers that our code prints are those of the page."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from alexnet_command.units import size_text
from alexnet_network import AlexNet
from alexnet_network.onnxgraph import IR_VERSION, OPSET
from alexnet_prep.commands import commands as prep_commands
from alexnet_remote import CacheConfig
from alexnet_train.commands import commands as train_commands
from alexnet_train.dryrun import BYTES_OF_FLOAT32, CHECKPOINT_COPIES
from alexnet_train.recipe import load_recipe

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
OURS = re.compile(r"alexnet-(prep|train|eval|predict|export|import)\b")
TRAINED = "alexnet_train.cli"


def text_of(path: Path) -> str:
    """A page without line breaks inside sentences."""
    return " ".join(path.read_text().split())


def typed_lines(path: Path) -> Iterator[list[str]]:
    """The words of each command line in the blocks of a page, comments left out."""
    block = r"^```(\w*)\n(.*?)^```$|((?:^    [^\n]*\n)+)"  # of a language: no command lines
    for language, fenced, indented in re.findall(block, path.read_text(), re.DOTALL | re.MULTILINE):
        for line in ("" if language else fenced or indented).replace("\\\n", " ").splitlines():
            words = shlex.split(line.replace("$(", "("), comments=True)
            if words:
                yield words


def parse(words: list[str]) -> None:
    """Have click read the words of one of our commands; raises UsageError for what it does not know."""
    name, rest = words[0].removeprefix("alexnet-"), words[1:]
    if name == "prep":
        name, rest = rest[0], rest[1:]
    command = (prep_commands if words[0] == "alexnet-prep" else train_commands).commands[name]
    command.make_context(name, list(rest))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in typed_lines(page):
        if TRAINED in words:  # by torchrun
            place = words.index(TRAINED)
            parse([f"alexnet-{words[place + 1]}", *words[place + 2 :]])
        elif OURS.fullmatch(words[0]):
            parse(words)
        elif words[0] == "make":
            assert words[1] in targets, words
    for span in re.findall(r"`([^`\n]+)`", page.read_text()):
        if span.startswith("make ") and " " in span:
            assert span.split()[1] in targets, span
        elif OURS.match(span):
            _check_options(span)


def _check_options(span: str) -> None:
    """The options that a span of prose or a table names are the command's."""
    words = span.split()
    name = words[0].removeprefix("alexnet-")
    group = prep_commands if name == "prep" else train_commands
    name = words[1] if name == "prep" and len(words) > 1 else name
    if name not in group.commands:
        assert name == "prep", span
        return
    known = {spelling for parameter in group.commands[name].params for spelling in parameter.opts} | {"--help", "-h"}
    named = {word.rstrip(".,;)") for word in words if word.startswith("--")}
    assert named <= known, span


def test_every_option_is_explained() -> None:
    """In the row of its command, or among those that mean the same everywhere; and no row names another's."""
    page = (ROOT / "docs" / "commands.md").read_text()
    everywhere = spelled(page.partition("## Options that mean the same everywhere")[2].partition("\n## ")[0])
    everywhere |= {"--help", "--version", "--json"}
    rows = dict(re.findall(r"^\| `(alexnet-[a-z -]+)` \| (.*) \|$", page, re.MULTILINE))
    commands = {
        "alexnet-train report" if name == "report" else f"alexnet-{name}": command
        for name, command in train_commands.commands.items()
    } | {f"alexnet-prep {name}": command for name, command in prep_commands.commands.items()}
    assert rows.keys() == commands.keys()
    for name, command in commands.items():
        # Of an option with old names the first is the one that is shown.
        own = {parameter.opts[0] for parameter in command.params if parameter.opts[0].startswith("--")}
        assert own - everywhere <= spelled(rows[name]) <= own, name


def spelled(text: str) -> set[str]:
    """The options that stand in a text as code."""
    return {word for span in re.findall(r"`([^`\n]+)`", text) for word in span.split() if word.startswith("--")}


def test_the_first_commands_of_the_readme_are_those_lines() -> None:
    lines = [words[0] for words in typed_lines(README)]
    assert lines.count("make") >= 2
    assert sum(OURS.fullmatch(word) is not None for word in lines) >= 7
    assert lines.index("source") < lines.index("alexnet-prep")


def test_the_readme_is_short_and_in_order() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    parts = [
        "# AlexNet", "**Status.**", "**What you need.**", "## Try it", "**What you should see.**", "## Your own photos",
        "## ImageNet", "**Watching", "**Where results are.**", "## Commands", "Exit status", "**Recipes**", "## The loader",
        "**Measured**", "**When something fails**", "**More.**", "**Ten words.**", "**Tests**", "**Licence**",
        "**Citation**",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert "://" in target or (ROOT / target).exists(), target


def test_every_recipe_is_named() -> None:
    text = README.read_text()
    names = {path.stem for path in (ROOT / "train" / "alexnet_train" / "recipes").glob("*.toml")}
    assert len(names) > 10
    missing = {name for name in names if f"`{name}`" not in text and f"`{name.removeprefix('without')}`" not in text}
    assert not missing


def test_the_snippet_runs_as_it_stands(tmp_path: Path, make_shards: Callable[..., str]) -> None:
    """Without a GPU, in a folder with shards/."""
    make_shards(tmp_path / "shards", (130, 130))
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    rooms = [str(ROOT / folder) for folder in ("prep", "shards", "train")]
    code = f"import sys\nsys.path[:0] = {rooms!r}\n{snippet}\nprint(batch.images_nhwc.shape, sorted(state))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([4, 224, 224, 3]) ['epoch', 'order', 'position']\n"


@pytest.mark.parametrize("number", range(3))
def test_the_lines_of_the_clients_page_run_as_they_stand(
    tmp_path: Path, make_shards: Callable[..., str], number: int
) -> None:
    """Those that need no reader of tars, whose examples `make clients` runs; in a folder with shards/."""
    make_shards(tmp_path / "shards", (130, 130))
    snippet = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "clients.md").read_text(), re.DOTALL)[number]
    last = "loader" if "loader = " in snippet else "pipeline"
    rooms = [str(ROOT / folder) for folder in ("prep", "shards", "train")]
    setup = f"import sys\nsys.path[:0] = {rooms!r}\n"
    code = setup + snippet.replace("num_workers=8", "num_workers=0") + f"\nnext(iter({last}))\nprint('had one')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "had one\n"


def parameters_of(recipe: str, *settings: str) -> int:
    """Parameters of a recipe's network, none of them drawn."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in AlexNet(load_recipe(recipe, settings).model).parameters())


def test_the_numbers_of_the_training_page() -> None:
    text = text_of(ROOT / "docs" / "training.md")
    released, newer = load_recipe("released", ()), load_recipe("released-2012", ())
    assert f"`released`, {released.train.epochs} | `released-2012`, {newer.train.epochs}" in text
    batch_size = released.train.batch_size
    assert f"steps an epoch at batch {batch_size} | about 9,850 | {1_281_167 // batch_size:,} |" in text
    floats = parameters_of("released", "num_classes=1000") * BYTES_OF_FLOAT32
    assert (
        f"| {size_text(floats * CHECKPOINT_COPIES)}; the newest {released.train.keep_checkpoints} and the best" in text
    )
    assert f"gradients | {3 * floats / 1e9:.1f} GB" in text
    assert f"{released.train.epochs} epochs" in text_of(README)


def test_the_readmes_hours_follow_from_what_a_photo_costs() -> None:
    readme, scale = text_of(README), (ROOT / "docs" / "scale.md").read_text()
    cost = {
        name: [float(number) for number in re.findall(r"[\d.]+", row)]
        for name, row in re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", scale, re.MULTILINE)
    }
    (photos,) = re.findall(r"^\| photos \| ([\d.]+) million \|", scale, re.MULTILINE)
    in_all, training = float(photos) * 1e6, 1_261_406
    cpu_ms, shard_kb = cost["shards"]
    gigabytes = in_all * shard_kb / 1e6
    assert f"| shards | {gigabytes:.0f} GB |" in scale
    assert f"{gigabytes:.0f} GB for the shards" in readme
    assert f"{gigabytes:.0f} GB written; {in_all * cpu_ms / 3.6e6:.1f} hours of one core*" in readme
    assert f"{training * cost['compute-stats'][0] / 6e4:.0f} minutes of one core*" in readme


def test_the_numbers_of_the_other_pages() -> None:
    ten_classes, networks = text_of(ROOT / "docs" / "ten-classes.md"), text_of(ROOT / "docs" / "networks.md")
    millions = round(parameters_of("small", "num_classes=10") / 1e6)
    assert f"{millions} million parameters with 10 classes" in ten_classes
    small = load_recipe("small", ()).train
    assert f"Ten epochs of {5000 // small.batch_size} updates of {small.batch_size} photos" in ten_classes
    assert small.epochs == 10
    assert f"IR {IR_VERSION}, opset {OPSET}" in networks
    assert f"how many GiB of them ({CacheConfig.from_environment().max_bytes >> 30})" in text_of(
        ROOT / "docs/commands.md"
    )


def test_the_table_of_ten_classes_is_of_its_logs() -> None:
    page = (ROOT / "docs" / "ten-classes.md").read_text()
    logs = [
        [json.loads(line) for line in (ROOT / "docs" / "ten-classes" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("small", "no-lrn", "no-augmentation", "no-colour")
    ]
    for epoch in range(1, 11):
        records = [next(record for record in log if record["epoch"] == epoch) for log in logs]
        errors = " | ".join(f"{100 * record['val_top1_error']:.1f}" for record in records)
        assert f"| {epoch} | {errors} |" in page
    last = [log[-1] for log in logs]
    losses = " | ".join(f"{record['train_loss']:.3f}" for record in last)
    errors = " | ".join(f"{100 * record['train_top1_error']:.1f}" for record in last)
    assert f"| training error in epoch 10 | {errors} |\n| training loss in epoch 10 | {losses} |" in page


@pytest.mark.parametrize("name", ["parts", "defects"])
def test_the_pages_tables_are_what_the_command_above_them_prints(name: str) -> None:
    page = (ROOT / "docs" / "ten-classes.md").read_text()
    words = f"python -m alexnet_train.study docs/studies/{name}.toml --out docs/studies/kept --table"
    command = [sys.executable, *words.split()[1:]]
    wide = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(command, cwd=ROOT, env=wide, capture_output=True, text=True, check=True)
    assert f"    {words}\n\n```\n{done.stdout}```\n" in page


def test_each_measured_figure_names_what_prints_it() -> None:
    bullets = (ROOT / "docs" / "measured.md").read_text().split("\n* ")[1:]
    assert len(bullets) >= 5
    for bullet in bullets:
        named = re.findall(r"`(make [a-z-]+|(?:benchmarks|tests|docs)/[\w./-]+)", bullet)
        assert named, bullet
        for name in named:
            assert name.startswith("make ") or (ROOT / name).exists(), name
