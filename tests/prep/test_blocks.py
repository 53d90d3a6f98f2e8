"""Notes of an archive: what was taken down is not read again, and what rotted is not used."""

from pathlib import Path

import pytest

from alexnet_prep.blocks import BlockNotes, NotedArchive, NotedStretch, notes_content
from alexnet_shards.errors import FormatError


def test_noted_bytes_are_served_and_others_read(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20
    for number, start in enumerate((0, 2560)):
        notes = BlockNotes()
        for offset in (start, start + 512, start + 1024 + 512):
            notes.note(offset, content[offset : offset + 512])
        notes.save(tmp_path / f"{number}")
    asked = []

    def read_at(offset: int, size: int) -> bytes:
        asked.append((offset, size))
        return content[offset : offset + size]

    stretches = [NotedStretch(0, tmp_path / "0"), NotedStretch(2560, tmp_path / "1")]
    archive = NotedArchive(tmp_path / "x.tar", stretches, len(content), read_at)
    with archive:
        assert archive.read_at(0, 1024) == content[:1024]
        assert archive.read_at(2560 + 100, 700) == content[2660:3360]
        assert archive.read_at(1536 + 500, 12) == content[2036:2048]
        assert asked == []
        assert archive.read_at(1000, 100) == content[1000:1100]
        assert archive.read_at(len(content) - 5, 100) == content[-5:]
    assert asked == [(1000, 100), (len(content) - 5, 5)]


def test_rotten_notes_are_refused(tmp_path: Path) -> None:
    notes = BlockNotes()
    notes.note(0, bytes(512))
    notes.save(tmp_path / "x")
    content = bytearray((tmp_path / "x").read_bytes())
    content[-1] ^= 1
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FormatError, match="notes of a stretch"):
        notes_content(tmp_path / "x")
