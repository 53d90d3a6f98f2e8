"""Index and manifest for shards made elsewhere, so that they can be streamed and verified like ours."""

from collections.abc import Sequence
from pathlib import Path

from alexnet_shards.errors import FormatError
from alexnet_shards.index import NO_LABEL, save_index
from alexnet_shards.manifest import (
    BUILD_DIRECTORY,
    ClassFact,
    Manifest,
    check_one_set,
    index_path,
    manifest_path,
    save_manifest,
    shards_of,
)
from alexnet_shards.scan import Progress, scan_shards


def adopt_shards(
    directory: Path,
    split: str,
    workers: int = 1,
    progress: Progress | None = None,
    classes: Sequence[ClassFact] | None = None,
) -> Manifest:
    """Scan every shard of `split` in `directory` and write the split's index and manifest beside them.

    `classes` None names each class by its label, up to the largest that is used. Raises FormatError where alexnet-prep
    is at work on the split, for labels beyond the class list, for damaged shards, and where nothing can be written.
    """
    if (directory / BUILD_DIRECTORY / split).is_dir():
        raise FormatError(
            f"{directory}: alexnet-prep shards has not finished {split}; start it again, it goes on from there"
        )
    paths = shards_of(directory, split)
    check_one_set(paths)
    rows, facts = scan_shards(paths, workers, progress)
    largest = int(rows["label"].max(initial=NO_LABEL))
    if classes is None:
        classes = [ClassFact(wnid=str(label)) for label in range(largest + 1)]
    if largest >= len(classes):
        raise FormatError(
            f"{directory}: label {largest} in a list of {len(classes)} classes; give the shards' own class list"
        )
    manifest = Manifest(split=split, classes=tuple(classes), shards=facts)
    save_index(index_path(directory, split), rows)
    save_manifest(manifest_path(directory, split), manifest)
    return manifest


def read_classes(path: Path) -> tuple[ClassFact, ...]:
    """Classes of a text file, `WNID words…` a line, in label order; raises FormatError where it has none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: unreadable class list ({error}); expected a line `WNID words` a label") from error
    facts = [ClassFact(wnid=line.split()[0], words=line.partition(" ")[2].strip()) for line in lines if line.strip()]
    if not facts or len({fact.wnid for fact in facts}) != len(facts):
        raise FormatError(f"{path}: {len(facts)} classes, or one twice; expected a line `WNID words` a label")
    return tuple(facts)
