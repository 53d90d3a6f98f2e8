"""Links inside a tar: which member each of them points to, found by a second walk over the headers."""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from alexnet_shards.errors import FormatError

MAX_LINKS = 1_000_000
MAX_DEPTH = 256
MAX_HOPS = 40  # as the kernel has it for links to links

Member = TypeVar("Member")


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a tar: its name, what it points to as stored, and where its header ends."""

    name: str
    target: str
    is_hard: bool
    offset: int


class LinkResolver:
    """The links of a tar, and the members that they point to; only links are kept, whatever the tar's size."""

    def __init__(self) -> None:
        self._links: list[Link] = []

    def __bool__(self) -> bool:
        return bool(self._links)

    def add(self, link: Link, where: str) -> None:
        """Take in one link; raises FormatError where there are more than a million."""
        if len(self._links) >= MAX_LINKS:
            raise FormatError(f"{where}: over {MAX_LINKS:,} links in one tar; make it again with the files themselves")
        self._links.append(link)

    def find(self, members: Iterable[tuple[str, Member]]) -> Iterator[tuple[Link, Member | None]]:
        """Yield every link with the member that it points to, None where the tar has none, in the order of the links.

        `members` are (name, member) of the whole tar once more; of two with one name the later one counts, as it
        would after extraction.
        """
        steps = {_clean(link.name): _target(link) for link in self._links}
        # `tar -cf x.tar a a` stores the second as a hard link of `a` to itself: the file is there.
        steps = {name: target for name, target in steps.items() if name != target}
        ends = [_follow(_target(link), steps) for link in self._links]
        wanted: dict[str, Member | None] = dict.fromkeys(end for end in ends if end is not None)
        for name, member in members:
            place = _clean(name)
            if place in wanted and place not in steps:
                wanted[place] = member
        for link, end in zip(self._links, ends, strict=True):
            yield link, None if end is None else wanted[end]


def _clean(name: str) -> str:
    """A name without `./`, doubled slashes and the slash at its end."""
    return posixpath.normpath(name).lstrip("/")


def _target(link: Link) -> str:
    """What a link points to, from the tar's root; a symbolic link counts from its own folder."""
    return _clean(link.target if link.is_hard else posixpath.join(posixpath.dirname(_clean(link.name)), link.target))


def _follow(place: str, steps: dict[str, str]) -> str | None:
    """Where a path ends once every link in it is followed, None where they go in a circle or out of the tar."""
    for _ in range(MAX_HOPS):
        parts = place.split("/")
        if parts[0] == ".." or len(parts) > MAX_DEPTH:
            return None
        heads = ("/".join(parts[: count + 1]) for count in range(len(parts)))
        head = next((head for head in heads if head in steps), None)
        if head is None:
            return place
        rest = place[len(head) + 1 :]
        place = _clean(posixpath.join(steps[head], rest)) if rest else steps[head]
    return None
