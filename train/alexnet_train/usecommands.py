"""The commands that use a run: its report, predictions, exports, and imports of other people's weights.

What a command works with, torch above all, is imported when it runs, so that help is printed at once.
"""

from pathlib import Path
from typing import Any

import click

from alexnet_command.options import DEVICE, JSON, PATH, Command, takes_shards
from alexnet_command.printing import say, show
from alexnet_command.signals import loading
from alexnet_train.commandoptions import CHECKPOINT, FORMATS, HTML, INPUT_SIDES, ORDERS, SOURCES, VIEWS, show_result


@click.command(
    "report",
    cls=Command,
    examples=["alexnet-train report runs/released", "alexnet-train report runs/* --out side-by-side.html"],
)
@click.option("--out", metavar="FILE", type=PATH, help="The page to write.  [default: report.html in the run, or here]")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=PATH)
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Draw a run's page again, or one of several runs side by side, from the files in their directories."""
    with loading():
        from alexnet_pages import write_page
        from alexnet_train.runfiles import read_run
        from alexnet_train.runpage import PAGE_NAME, runs_page
    page = runs_page([read_run(run) for run in runs])
    path = out or (runs[0] / PAGE_NAME if len(runs) == 1 else Path(PAGE_NAME))
    write_page(path, page)
    show([f"page: {path}"])


@click.command(
    "predict",
    cls=Command,
    examples=[
        "alexnet-predict --checkpoint runs/released photo.jpg",
        "alexnet-predict --checkpoint runs/mine --nearest my-shards photos/*.jpg --html seen.html",
    ],
)
@CHECKPOINT
@VIEWS
@click.option("--top", metavar="N", type=click.IntRange(1), default=5, help="Classes to name for each image.")
@HTML
@click.option("--nearest", metavar="SHARDS", help="Also the six training photos nearest by the last hidden layer.")
@click.option(
    "--nearest-classes", metavar="N", type=click.IntRange(1), help="Look for them in the pictures' N likeliest classes."
)
@click.option("--features", metavar="DIR", type=PATH, help="Where features are kept.  [default: beside those shards]")
@DEVICE
@JSON
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=PATH)
def predict(**options: Any) -> None:
    """What a checkpoint sees in each IMAGE; a bad one is a line, the others are seen, and the status is 1."""
    with loading():
        from alexnet_pixels import PixelRecipe
        from alexnet_train.checkpoint import load_checkpoint
        from alexnet_train.distributed import choose_device
        from alexnet_train.evaluate import classifier_of
        from alexnet_train.kepteval import file_of
        from alexnet_train.predict import BadFile, predict
        from alexnet_train.rundir import chosen_checkpoint
    if (options["nearest_classes"] or 0) > options["top"]:
        raise click.UsageError("--nearest-classes N is of the classes that --top names; raise that too")
    bad: list[BadFile] = []

    def on_bad(error: BadFile) -> None:
        bad.append(error)
        say(f"error: {error}")

    page = None
    if options["html"] is not None:
        from alexnet_train.predictpage import predictions_path, write_predict_page  # which need an extra

        page = predictions_path(options["html"])
    checkpoint = chosen_checkpoint(options["checkpoint"])
    read = file_of(checkpoint)
    content = load_checkpoint(checkpoint)
    classifier = classifier_of(content, str(checkpoint), choose_device(options["device"]))
    pixels = PixelRecipe.from_dict(content.get("pixels", {}))
    how = {"views": int(options["views"]), "top": options["top"], "on_bad": on_bad}
    found = predict(classifier, options["images"], pixels, **how)
    neighbours = None
    if options["nearest"] and found:
        neighbours = _add_nearest(found, classifier, (checkpoint, read), pixels, options)
    show_result(options, {"images": found})
    if page is not None:
        write_predict_page(page, found, classifier.classes, pixels, neighbours)
        say(f"page: {page}")
    click.get_current_context().exit(1 if bad else 0)


def _add_nearest(
    found: list[dict[str, Any]], classifier: Any, source: tuple[Path, Any], pixels: Any, options: dict[str, Any]
) -> Any:
    """Add "nearest" to each picture that was found; where they were looked for.

    `source` is the checkpoint and what file it was (file_of) before it was read. Raises AlexnetError where it has been
    replaced: features of the one would be kept as those of the other.
    """
    from alexnet_command.progress import Progress
    from alexnet_shards.errors import AlexnetError
    from alexnet_stream import open_shards
    from alexnet_train.featurefile import FeatureFile, folder_of
    from alexnet_train.kepteval import file_of
    from alexnet_train.nearest import features_of, open_neighbours, rows_of_classes
    from alexnet_train.predict import likeliest, load_images

    shards = open_shards([options["nearest"]], split="train")
    features = features_of(classifier, load_images([Path(one["image"]) for one in found], pixels))
    count = options["nearest_classes"]
    rows = rows_of_classes(shards, likeliest(found, count) if count else None)
    file = FeatureFile.of(folder_of(shards, options["features"]), shards, source[0], features.shape[1])
    if file_of(source[0]) != source[1]:
        raise AlexnetError(f"{source[0]}: was replaced while it was read, as by a run that goes on; start again")
    with Progress("features", "images") as progress:
        neighbours = open_neighbours(classifier, shards, file, rows, progress)
    for one, nearest in zip(found, neighbours.of(features), strict=True):
        one["nearest"] = nearest
    return neighbours


@click.command(
    "export",
    cls=Command,
    examples=[
        "alexnet-export --checkpoint runs/released --to onnx --out alexnet.onnx --with-input",
        "alexnet-export --checkpoint best.pt --to safetensors --out alexnet.safetensors",
    ],
)
@CHECKPOINT
@click.option("--to", required=True, type=click.Choice(FORMATS), help="The format.")
@click.option("--out", metavar="FILE", required=True, type=PATH, help="The file to write.")
@click.option(
    "--with-input",
    metavar="[SIDE]",
    type=click.Choice(INPUT_SIDES),
    is_flag=False,
    flag_value=INPUT_SIDES[0],
    help="ONNX that takes uint8 RGB images (N, SIDE, SIDE, 3) to probabilities; SIDE is 256 where silent, or the crop's.",
)
@JSON
def export(**options: Any) -> None:
    """Write a checkpoint's network as ONNX, safetensors or torchvision's AlexNet, and how it is fed."""
    with loading():
        from alexnet_train.export import export
        from alexnet_train.rundir import chosen_checkpoint
    side_px = int(options["with_input"] or 0)
    checkpoint = chosen_checkpoint(options["checkpoint"])
    show_result(options, export(checkpoint, options["to"], options["out"], side_px))


@click.command(
    "import",
    cls=Command,
    examples=[
        "alexnet-import --from torchvision --weights alexnet-owt-7be5be79.pth --shards 'val-*.tar' --out tv.pt",
        "alexnet-import --from caffe --weights bvlc_alexnet.caffemodel --shards 'val-*.tar' --out caffe.pt",
    ],
)
@click.option("--from", "kind", required=True, type=click.Choice(SOURCES), help="Whose weights they are.")
@click.option(
    "--weights",
    metavar="FILE",
    required=True,
    type=PATH,
    help="A .pth, .caffemodel or .npy file.",
)
@takes_shards("Shards of ILSVRC-2012, whose class order the checkpoint gets")
@click.option("--out", metavar="FILE", required=True, type=PATH, help="The checkpoint to write.")
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    help="Of Caffe's weights, where the file does not say: lrn-pool is bvlc_alexnet, pool-lrn is CaffeNet.",
)
@JSON
def import_(**options: Any) -> None:
    """Write published weights of torchvision's AlexNet, Caffe's bvlc_alexnet or CaffeNet as a checkpoint."""
    with loading():
        from alexnet_train.importer import import_weights
    what = (options["kind"], options["weights"], options["shards"], options["out"], options["order"])
    show_result(options, import_weights(*what))
