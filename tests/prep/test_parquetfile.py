"""Parquet files: their columns, their rows one by one, and one line for whatever is wrong with them."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alexnet_prep.errors import SourceError
from alexnet_prep.fields import Fields
from alexnet_prep.parquetfile import Columns, ParquetFile, ParquetReader, find_columns
from alexnet_prep.reader import SourceReader

PLAIN: dict[str, Any] = {"compression": "NONE", "use_dictionary": False, "write_page_checksum": True}
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, **options: Any) -> Path:
    """A file of (type, values) columns."""
    schema = pa.schema([(name, kind) for name, (kind, _) in columns.items()])
    if features is not None:
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    table = pa.table([pa.array(values, kind) for kind, values in columns.values()], schema=schema)
    pq.write_table(table, path, **options)
    return path


def columns_of(path: Path, said: str = "") -> Columns:
    """What is found in a file."""
    with ParquetFile(path) as file:
        return find_columns(file, Fields.parse(said))


def test_hugging_faces_columns(tmp_path: Path, write_parquet: Any) -> None:
    write_parquet(tmp_path / "a.parquet", [("a.jpg", b"1", 0)], ["cat", "dog"])
    assert columns_of(tmp_path / "a.parquet") == Columns("image.bytes", "image.path", "label", ("cat", "dog"))


def test_columns_of_any_set(tmp_path: Path) -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    path = write(tmp_path / "a.parquet", {"photo": (pa.large_binary(), [b"1"]), "wnid": (kind, ["n01"])})
    assert columns_of(path) == Columns("photo", "", "wnid")
    path = write(tmp_path / "b.parquet", {"pixels": (pa.binary(), [b"1"]), "kind": (pa.int16(), [1])})
    assert columns_of(path) == Columns("pixels", "", "")
    assert columns_of(path, "label=kind") == Columns("pixels", "", "kind")
    for said, line in (
        ("image=kind", "'kind' is no column of images; there are pixels"),
        ("label=x", "no column of labels"),
    ):
        with pytest.raises(SourceError, match=line):
            columns_of(path, said)
    two = {"fine": (pa.int64(), [1]), "coarse": (pa.int64(), [1]), "img": (IMAGE, [{"bytes": b"1", "path": None}])}
    features = {name: {"_type": "ClassLabel", "names": ["a", "b"]} for name in ("fine", "coarse")}
    path = write(tmp_path / "c.parquet", two, features)
    with pytest.raises(SourceError, match="fine or coarse. Choose the label with --columns label=COLUMN"):
        columns_of(path)
    assert columns_of(path, "label=coarse") == Columns("img.bytes", "img.path", "coarse", ("a", "b"))
    path = write(tmp_path / "d.parquet", {"label": (pa.int64(), [1]), "x": (pa.float32(), [1.0])})
    with pytest.raises(SourceError, match=r"no column of images; there are label \(int64\), x \(float\); name it"):
        columns_of(path)


@pytest.mark.parametrize("kind", [IMAGE, pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
@pytest.mark.parametrize("compression", ["NONE", "SNAPPY", "ZSTD"])
def test_rows_in_any_order(tmp_path: Path, kind: Any, compression: str) -> None:
    contents = [b"%03d" % number * (1 + number % 7) for number in range(40)]
    contents[11] = b""
    values: list[Any] = [{"bytes": each, "path": "p"} for each in contents] if kind == IMAGE else list(contents)
    values[13], values[14] = None, {"bytes": None, "path": "p"} if kind == IMAGE else None
    options: dict[str, Any] = {"row_group_size": 9, "compression": compression}
    path = write(tmp_path / "a.parquet", {"image": (kind, values)}, **options)
    contents[13] = contents[14] = b""
    reader = ParquetReader(path, columns_of(path).image)
    for row in (*range(40), 39, 0, 20, 3, 3, 14):
        assert reader.read(b"x", row, 0) == contents[row]
    for row in (40, 1 << 40):
        with pytest.raises(SourceError, match="has fewer rows than when it was indexed"):
            reader.read(b"x", row, 0)
    reader.close()


def test_rows_in_order_are_decoded_once_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    content = bytes(range(256)) * 512
    write(
        path, {"image": (pa.binary(), [content] * 1600)}, compression="NONE", use_dictionary=False, write_batch_size=16
    )
    reader, decoded, batches = ParquetReader(path, "image"), [0], ParquetFile.batches

    def counting(*arguments: Any) -> Any:
        for batch in batches(*arguments):
            decoded[0] += batch.num_rows
            yield batch

    monkeypatch.setattr(ParquetFile, "batches", counting)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for row in range(0, 1600, 3):  # 200 MB in one row group
        assert reader.read(b"x", row, 0) == content
    assert decoded[0] <= 1600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    reader.close()


def test_one_file_is_open_at_a_time(tmp_path: Path, write_parquet: Any, open_files: Callable[[], int]) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(5)]
    for path in paths:
        write_parquet(path, [("a.jpg", path.name.encode(), 0)])
    reader = SourceReader(paths, image_column="image.bytes")
    assert [reader.read(number, b"a", 0, 0) for number in range(5)] == [path.name.encode() for path in paths]
    assert open_files() == 1
    reader.close()
    assert open_files() == 0


def test_damaged_files_are_one_line(tmp_path: Path, write_parquet: Any) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, [(f"{n}.jpg", b"%d" % n * 3000, n % 2) for n in range(20)], ["a", "b"], **PLAIN)
    sound = path.read_bytes()
    for damaged in (
        b"",
        b"PAR1",
        sound[:-9],
        sound[: len(sound) // 2],
        b"JUNK" + sound[4:-4] + b"JUNK",
        sound[:-4] + b"PARE",
    ):
        path.write_bytes(damaged)
        with pytest.raises(SourceError, match=r"a.parquet: cannot be read as parquet \(.+\); fetch it again") as caught:
            ParquetFile(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(sound.replace(b"7777", b"7877", 1))  # a page whose checksum says so
    assert path.read_bytes() != sound
    reader = ParquetReader(path, "image.bytes")
    with pytest.raises(SourceError, match=r"cannot be read as parquet \(.*(CRC|checksum)"):
        for row in range(20):
            reader.read(b"x", row, 0)
    reader.close()
    with pytest.raises(SourceError, match="is not there any more"):
        ParquetFile(tmp_path / "none.parquet")


def test_encrypted_files_are_one_line(tmp_path: Path) -> None:
    encryption = pytest.importorskip("pyarrow.parquet.encryption")

    class Vault(encryption.KmsClient):  # type: ignore[misc, name-defined]
        """Wraps a key by nothing at all."""

        def __init__(self, config: Any) -> None:
            encryption.KmsClient.__init__(self)

        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
            """The key itself."""
            return key_bytes.hex()

        def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
            """The key itself."""
            return bytes.fromhex(wrapped_key)

    crypto = encryption.CryptoFactory(Vault)
    config = encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": ["label"]})
    properties = crypto.file_encryption_properties(encryption.KmsConnectionConfig(), config)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": [1, 2]}), path, encryption_properties=properties)
    with pytest.raises(SourceError, match=r"cannot be read as parquet \(.*ncrypted"):
        ParquetFile(path)
