"""Archives that can only be read forward, as those that are compressed or elsewhere, handed to the workers in pieces."""

import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from alexnet_prep.errors import SourceError
from alexnet_prep.forward import PIECE_BYTES, is_address, opened_forward
from alexnet_prep.job import BuildSetup
from alexnet_prep.order import NUMBERS_AN_ARCHIVE, ArchiveStretch, SpooledArchive
from alexnet_prep.stretch import StretchFacts, load_checked, save_checked, stretch_name
from alexnet_remote import Stop
from alexnet_shards.errors import AlexnetError, FormatError, file_error
from alexnet_shards.files import TEMPORARY_SUFFIX, append_bytes

READERS = 4  # threads, each with an archive of its own that is elsewhere; a disk is read by one
AHEAD = 3  # pieces of a reader beside those that workers are at
WAIT_SECONDS = 0.1


def known_size(archive: SpooledArchive, setup: BuildSetup) -> int | None:
    """Bytes of an archive's content, None until it was read to its end."""
    try:
        found = load_checked(_size_path(archive, setup), "size of an archive")
    except (FileNotFoundError, FormatError):
        return None
    return int(found["size"]) if found.get("state") == list(archive.first.state) else None


def finished_stretches(archive: SpooledArchive, setup: BuildSetup) -> list[StretchFacts]:
    """The facts of the stretches that are there, of an archive that was read to its end; none of another."""
    count = -(-(known_size(archive, setup) or 0) // archive.step)
    found = (archive.stretch(number).finished(setup, lambda *_: None) for number in range(count))
    return [facts for facts in found if facts is not None]


class Spool:
    """Reads archives in threads of its own and keeps at most `workers` + AHEAD a thread pieces of them on the disk of the
    output.

    A stretch is given out once the piece behind it is there too, for the file that lies across their border. Stretches
    that are there already are read over. Use as a context manager.
    """

    def __init__(
        self,
        archives: Sequence[SpooledArchive],
        setup: BuildSetup,
        workers: int,
        takes: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """`takes` an archive's place, or, of a single one, a stretch's: whether it is made here."""
        self._by_archive, self._takes = len(archives) > 1, takes
        chosen = [each for place, each in enumerate(archives) if not self._by_archive or takes(place)]
        self._archives, self._setup, self._token = iter(chosen), setup, secrets.token_hex(4)
        are_elsewhere = all(is_address(archive.first.path) for archive in archives)
        self._readers = min(READERS, len(archives)) if are_elsewhere else 1
        self._room = threading.Semaphore(workers + AHEAD * self._readers)
        self._ready: queue.Queue[ArchiveStretch | Exception | None] = queue.Queue()
        self._stop, self._lock = Stop(), threading.Lock()
        self._held: dict[int, Path] = {}  # by the stretch's number, as all below
        self._done: set[int] = set()
        self._needed: dict[int, bool] = {}
        self._threads = [threading.Thread(target=self._pump, daemon=True) for _ in range(self._readers)]

    def __enter__(self) -> "Spool":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.request()
        self._room.release(self._readers)
        for thread in self._threads:
            thread.join()
        for path in self._held.values():
            path.unlink(missing_ok=True)

    def jobs(self) -> Iterator[ArchiveStretch | None]:
        """The stretches, in their order within an archive, None while the next is not there; raises SourceError where
        reading fails."""
        reading = self._readers
        while reading:
            try:
                item = self._ready.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                yield None
                continue
            if item is None:
                reading -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item

    def done(self, number: int) -> None:
        """A stretch is converted: the pieces that nobody needs any more go."""
        first = number % NUMBERS_AN_ARCHIVE == 0
        with self._lock:
            self._done.add(number)
            for piece, users in (
                (number, {number} if first else {number - 1, number}),
                (number + 1, {number, number + 1}),
            ):
                if users <= self._done and piece in self._held:
                    self._held.pop(piece).unlink(missing_ok=True)
                    self._room.release()

    def _pump(self) -> None:
        try:
            while (archive := self._next()) is not None and not self._stop.requested:
                self._read(archive)
            self._ready.put(None)
        except AlexnetError as error:
            self._ready.put(error if isinstance(error, SourceError) else SourceError(str(error)))
        except OSError as error:
            self._ready.put(file_error(self._setup.sidecars, error))
        except Exception as error:  # noqa: BLE001  whatever it is: who waits for the next stretch must hear of it
            self._ready.put(error)

    def _next(self) -> SpooledArchive | None:
        with self._lock:
            return next(self._archives, None)

    def _read(self, archive: SpooledArchive) -> None:
        size, step, count, given = known_size(archive, self._setup), archive.step, 0, 0
        if size is not None and not any(
            self._is_needed(archive.stretch(number)) for number in range(-(-size // step))
        ):  # nothing of it has to be read
            for number in range(-(-size // step)):
                self._give(archive.stretch(number))
            return
        with opened_forward(archive.first.path, self._stop) as file:
            while size is None or count * step < size:
                stretch = archive.stretch(count)
                if self._is_needed(stretch) or (count and self._is_needed(archive.stretch(count - 1))):
                    length = self._write(stretch, file.read_at)
                    size = count * step + length if length < step else size
                if self._stop.requested:
                    return
                if count:
                    self._give(archive.stretch(count - 1))
                    given = count
                count += 1
            for last in range(given, -(-size // step)):
                self._give(archive.stretch(last))
            whole = file.finish()
        save_checked(_size_path(archive, self._setup), {"state": list(archive.first.state), "size": whole})

    def _is_needed(self, stretch: ArchiveStretch) -> bool:
        """Whether a stretch is still to be made, and here."""
        if stretch.number not in self._needed:
            is_there = not self._is_ours(stretch) or stretch.finished(self._setup, lambda *_: None) is not None
            self._needed[stretch.number] = not is_there
            if is_there:
                self.done(stretch.number)
        return self._needed[stretch.number]

    def _is_ours(self, stretch: ArchiveStretch) -> bool:
        return self._by_archive or self._takes(stretch.number % NUMBERS_AN_ARCHIVE)

    def _give(self, stretch: ArchiveStretch) -> None:
        if not self._is_ours(stretch):
            self._is_needed(stretch)  # its piece goes once the neighbour is done
            return
        with self._lock:
            held = [
                (stretch.start + place * (stretch.end - stretch.start), self._held[stretch.number + place])
                for place in (0, 1)
                if stretch.number + place in self._held
            ]
        self._ready.put(replace(stretch, pieces=tuple(held) if self._is_needed(stretch) else ()))

    def _write(self, stretch: ArchiveStretch, read_at: Callable[[int, int], bytes]) -> int:
        """Write a piece; returns its length, which is less than a stretch's at the end of the archive."""
        self._room.acquire()
        path = self._setup.sidecars.absolute() / f"{stretch.name}.{self._token}.source{TEMPORARY_SUFFIX}"
        path.unlink(missing_ok=True)
        step, length = stretch.end - stretch.start, 0
        while length < step and not self._stop.requested:
            content = read_at(stretch.start + length, min(PIECE_BYTES, step - length))
            append_bytes(path, content)
            length += len(content)
            if not content:
                break
        with self._lock:
            self._held[stretch.number] = path
        return length


def _size_path(archive: SpooledArchive, setup: BuildSetup) -> Path:
    return setup.sidecars / f"{stretch_name(archive.first.number)}.size"
