"""The sidecar of a shard: what became of its members; written after the shard, it says that the shard is done."""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from alexnet_prep.job import BuildSetup
from alexnet_prep.sourcesizes import Sizes, check_sizes
from alexnet_shards.errors import FormatError
from alexnet_shards.files import write_atomic
from alexnet_shards.index import INDEX_DTYPE, IndexRows
from alexnet_shards.parsing import Where, check_fields, field_types, load_json

HASH_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What became of a shard's members; written after the shard, it says that the shard is done.

    Of `dropped` those in `given_up` were not judged by their content: the next start tries them again. `sizes` are of the
    sources of its samples, {} where nobody counted. `plan` names the plan that it was made by, "" in those of before.
    """

    number: int
    name: str
    samples: int
    bytes: int
    sha256: str
    rows: str
    dropped: list[tuple[str, str]]
    converted: dict[str, list[str]]
    patched: list[str]
    given_up: list[str] = field(default_factory=list)
    sizes: Sizes = field(default_factory=dict)
    plan: str = ""

    def index_rows(self) -> IndexRows:
        """(samples,) rows of INDEX_DTYPE."""
        return np.frombuffer(base64.b64decode(self.rows), INDEX_DTYPE)


SIDECAR_TYPES = field_types(Sidecar)


def sidecar_path(setup: BuildSetup, name: str) -> Path:
    """Where the sidecar of the shard `name` lies."""
    return setup.sidecars / f"{name}.json"


def save_sidecar(setup: BuildSetup, sidecar: Sidecar) -> None:
    """Write a sidecar, whole or not at all."""
    write_atomic(sidecar_path(setup, sidecar.name), sidecar_json(sidecar))


def sidecar_json(sidecar: Sidecar) -> bytes:
    """A sidecar as it is written."""
    return json.dumps(asdict(sidecar), ensure_ascii=True).encode()


def seems_there(setup: BuildSetup, name: str) -> bool:
    """Whether a shard and its sidecar have been written; what is in them is not looked at."""
    is_kept = setup.store is not None or (setup.out / name).is_file()
    return is_kept and sidecar_path(setup, name).is_file()


def read_sidecar(file: Path) -> Sidecar | None:
    """A sidecar; None where it is not there, or not as it was written."""
    try:
        where = Where(path=file, what="sidecar", remedy="the shard is built again")
        content = check_fields(Sidecar, load_json(where), SIDECAR_TYPES)
        content["dropped"] = [(str(key), str(reason)) for key, reason in content["dropped"]]
        check_sizes(content.get("sizes", {}))
        sidecar = Sidecar(**content)
        counted = {sum(count for _, _, count in bins) for bins in sidecar.sizes.values()}
        is_whole = len(sidecar.index_rows()) == sidecar.samples and counted <= {sidecar.samples}
        return sidecar if is_whole else None
    except (FileNotFoundError, FormatError, ValueError, KeyError, TypeError):
        return None


def written_shard(setup: BuildSetup, name: str, on_chunk: Callable[[], None] = lambda: None) -> Sidecar | None:
    """The sidecar of a shard, here or in the run's store; None where it is not there, or not as this run writes it.

    What a killed run had begun on another machine may come later: it is of another plan, if that was a run of its own.
    """
    sidecar = read_sidecar(sidecar_path(setup, name))
    on_chunk()
    if sidecar is None or sidecar.plan not in ("", setup.plan):
        return None
    if setup.store is None:
        return sidecar if is_whole(setup.out / name, sidecar, on_chunk) else None
    return sidecar if setup.store.has(setup.sidecars.name, name, sidecar.bytes, sidecar.sha256) else None


def is_whole(shard: Path, sidecar: Sidecar, on_chunk: Callable[[], None] = lambda: None) -> bool:
    """Whether a shard has the bytes that its sidecar says."""
    try:
        with shard.open("rb") as file:
            if os.fstat(file.fileno()).st_size != sidecar.bytes:
                return False
            digest = hashlib.sha256()
            while chunk := file.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
                on_chunk()
    except FileNotFoundError:
        return False
    return digest.hexdigest() == sidecar.sha256
