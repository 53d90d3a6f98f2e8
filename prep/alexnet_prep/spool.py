"""An archive that can only be read forward, as one that is compressed or elsewhere, handed to the workers in pieces."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from alexnet_prep.errors import SourceError
from alexnet_prep.forward import PIECE_BYTES, opened_forward
from alexnet_prep.job import BuildSetup
from alexnet_prep.order import ArchiveStretch, SpooledArchive
from alexnet_prep.stretch import StretchFacts, load_checked, save_checked, stretch_name
from alexnet_remote import Stop
from alexnet_shards.errors import AlexnetError, FormatError
from alexnet_shards.files import TEMPORARY_SUFFIX, append_bytes

AHEAD = 3  # pieces beside those that workers are at
WAIT_SECONDS = 0.1


class Spool:
    """Reads an archive in a thread of its own and keeps at most `workers` + AHEAD pieces of it on the disk of the output.

    A stretch is given out once the piece behind it is there too, for the file that lies across their border. Stretches
    that are there already are read over. Use as a context manager.
    """

    def __init__(self, archive: SpooledArchive, setup: BuildSetup, workers: int) -> None:
        self._archive, self._setup = archive, setup
        self._step = archive.first.end - archive.first.start
        self._room = threading.Semaphore(workers + AHEAD)
        self._ready: queue.Queue[ArchiveStretch | SourceError | None] = queue.Queue()
        self._stop, self._lock = Stop(), threading.Lock()
        self._held: dict[int, Path] = {}
        self._done: set[int] = set()
        self._needed: dict[int, bool] = {}
        self._thread = threading.Thread(target=self._pump, daemon=True)

    def __enter__(self) -> "Spool":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.request()
        self._room.release()
        self._thread.join()
        for path in self._held.values():
            path.unlink(missing_ok=True)

    def jobs(self) -> Iterator[ArchiveStretch | None]:
        """The stretches in their order, None while the next is not there; raises SourceError where reading fails."""
        while True:
            try:
                item = self._ready.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, SourceError):
                raise item
            yield item

    def finished(self) -> list[StretchFacts]:
        """The facts of the stretches that are there, of an archive that was read to its end; none of another."""
        count = -(-(self.known_size() or 0) // self._step)
        found = (self._stretch(number).finished(self._setup, lambda *_: None) for number in range(count))
        return [facts for facts in found if facts is not None]

    def done(self, number: int) -> None:
        """A stretch is converted: the pieces that nobody needs any more go."""
        count = number - self._archive.first.number
        with self._lock:
            self._done.add(count)
            for piece in (count, count + 1):
                if {piece - 1, piece} - {-1} <= self._done and piece in self._held:
                    self._held.pop(piece).unlink(missing_ok=True)
                    self._room.release()

    def _pump(self) -> None:
        try:
            self._read()
            self._ready.put(None)
        except SourceError as error:
            self._ready.put(error)
        except AlexnetError as error:
            self._ready.put(SourceError(str(error)))

    def _read(self) -> None:
        size, count, given = self.known_size(), 0, 0
        with opened_forward(self._archive.first.path, self._stop) as file:
            while size is None or count * self._step < size:
                if self._is_needed(count) or self._is_needed(count - 1):
                    length = self._write(count, file.read_at)
                    size = count * self._step + length if length < self._step else size
                if self._stop.requested:
                    return
                if count:
                    self._give(count - 1)
                    given = count
                count += 1
            for last in range(given, -(-size // self._step)):
                self._give(last)
            whole = file.finish()
        save_checked(self._size_path(), {"state": list(self._archive.first.state), "size": whole})

    def known_size(self) -> int | None:
        """Bytes of the archive's content, None until it was read to its end."""
        try:
            found = load_checked(self._size_path(), "size of an archive")
        except (FileNotFoundError, FormatError):
            return None
        return int(found["size"]) if found.get("state") == list(self._archive.first.state) else None

    def _size_path(self) -> Path:
        return self._setup.sidecars / f"{stretch_name(self._archive.first.number)}.size"

    def _stretch(self, count: int) -> ArchiveStretch:
        first, start = self._archive.first, count * self._step
        return replace(first, number=first.number + count, start=start, end=start + self._step)

    def _is_needed(self, count: int) -> bool:
        """Whether a stretch is still to be made."""
        if count not in self._needed:
            is_there = count < 0 or self._stretch(count).finished(self._setup, lambda *_: None) is not None
            self._needed[count] = not is_there
            if is_there:
                self.done(self._archive.first.number + count)
        return self._needed[count]

    def _give(self, count: int) -> None:
        with self._lock:
            held = [(piece * self._step, self._held[piece]) for piece in (count, count + 1) if piece in self._held]
        self._ready.put(replace(self._stretch(count), pieces=tuple(held) if self._is_needed(count) else ()))

    def _write(self, count: int, read_at: Callable[[int, int], bytes]) -> int:
        """Write a piece; returns its length, which is less than a stretch's at the end of the archive."""
        self._room.acquire()
        path = self._setup.sidecars.absolute() / f"{self._stretch(count).name}.source{TEMPORARY_SUFFIX}"
        path.unlink(missing_ok=True)
        start, length = count * self._step, 0
        while length < self._step and not self._stop.requested:
            content = read_at(start + length, min(PIECE_BYTES, self._step - length))
            append_bytes(path, content)
            length += len(content)
            if not content:
                break
        with self._lock:
            self._held[count] = path
        return length
