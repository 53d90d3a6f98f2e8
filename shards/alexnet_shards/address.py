"""Addresses of remote files and their parts."""

from dataclasses import dataclass
from typing import Self

WEB = ("http://", "https://")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a remote file is: `folder` with its protocol and host, `name` in it, `query` with its question mark.

    It may hold a password or a signature: alexnet_shards.shown.public_address of `url` is what messages name.
    """

    folder: str
    name: str
    query: str = ""

    @classmethod
    def parse(cls, url: str) -> Self:
        """The parts of `url`; only web addresses have a query, elsewhere a question mark is part of the name."""
        path, mark, query = url.partition("?") if url.startswith(WEB) else (url, "", "")
        folder, _, name = path.rpartition("/")
        return cls(folder=folder, name=name, query=mark + query)

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.folder}/{self.name}{self.query}"
