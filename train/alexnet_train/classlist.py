"""Class lists of shards and checkpoints compared: the same, in another order, none but numbers, or of other classes."""

import hashlib
from collections.abc import Sequence

from alexnet_shards.errors import AlexnetError
from alexnet_shards.manifest import ClassFact, is_nameless

HOW_TO_GIVE = "give it the list with alexnet-prep index --shards SHARDS --classes FILE, a line `WNID words` a label"


def list_sha256(classes: Sequence[ClassFact]) -> str:
    """64 hex digits that name the list: of its WNIDs in their order, one a line."""
    return hashlib.sha256("\n".join(fact.wnid for fact in classes).encode()).hexdigest()


def order_of(known: Sequence[ClassFact], classes: Sequence[ClassFact], where: str) -> list[int] | None:
    """The place in a checkpoint's list `known` of each of the `classes` of shards; None where they are in the same order.

    Numbers that are fewer than the checkpoint's are the same. Raises AlexnetError, naming `where`, for other classes.
    """
    theirs, wnids = [fact.wnid for fact in known], [fact.wnid for fact in classes]
    both_nameless = is_nameless(known) and is_nameless(classes)
    if theirs == wnids or (both_nameless and 0 < len(wnids) <= len(theirs)):
        return None
    if is_nameless(classes) and not both_nameless:
        raise AlexnetError(
            f"{where}: its manifest lists no classes but {len(wnids)} numbers, the checkpoint {len(theirs)} classes; "
            f"{HOW_TO_GIVE}"
        )
    places = {wnid: place for place, wnid in enumerate(theirs)}
    if sorted(theirs) != sorted(wnids) or len(places) != len(theirs):
        raise AlexnetError(
            f"{where}: {len(wnids)} classes that are not the checkpoint's {len(theirs)} "
            f"({len(places.keys() & set(wnids))} are); evaluate on shards of the class list that it was trained on"
        )
    return [places[wnid] for wnid in wnids]


def check_validation_classes(train: Sequence[ClassFact], val: Sequence[ClassFact], where: tuple[str, str]) -> None:
    """Raise AlexnetError, naming `where` (training shards, validation shards), unless both list the same classes.

    Numbers that are fewer than the training shards' are the same.
    """
    ours, theirs = [fact.wnid for fact in train], [fact.wnid for fact in val]
    nameless = is_nameless(train), is_nameless(val)
    if ours == theirs or (all(nameless) and 0 < len(theirs) <= len(ours)):
        return
    if nameless[0] != nameless[1]:
        without, other = where if nameless[0] else where[::-1]
        raise AlexnetError(f"{without}: its manifest lists no classes, that of {other} does; {HOW_TO_GIVE}")
    what = f"{len(theirs)} classes that are not the {len(ours)} of"
    if sorted(ours) == sorted(theirs):
        what = f"the same {len(ours)} classes in another order than in"
    raise AlexnetError(
        f"{where[1]}: {what} {where[0]}; name validation shards of the same class list with --val-shards"
    )
