"""Header blocks and pax records against the standard library's, and every number that a stranger may put there."""

import io
import tarfile
import time

import pytest

from alexnet_shards.errors import FormatError
from alexnet_shards.tarheader import Extension, has_checksum, parse_header, parse_number, parse_pax


def header(name: str = "a.jpg", size: int = 7, **fields: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def records(*pairs: tuple[bytes, bytes]) -> bytes:
    """pax records as POSIX has them: LENGTH counts itself."""
    out = b""
    for key, value in pairs:
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        out += str(length).encode() + body
    return out


def test_name_size_and_type() -> None:
    found = parse_header(header("directory/a.jpg", 700), "x")
    assert (found.name, found.size, found.type, found.link) == ("directory/a.jpg", 700, b"0", "")


def test_the_checksum_of_signed_bytes_counts_too() -> None:
    block = bytearray(header("\xe4\xf6\xfc"))
    assert has_checksum(bytes(block))
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)
    block[148:156] = b"%06o\0 " % signed
    assert has_checksum(bytes(block))
    block[0] ^= 1
    assert not has_checksum(bytes(block))
    assert not has_checksum(bytes(512))
    assert not has_checksum(b"")


@pytest.mark.parametrize("digits", [b"0o17\0", b"1_0\0", b"-5\0", b"+5\0", b"9\0", b"7 7\0", b"\xff" * 11 + b"\xfb"])
def test_a_size_that_is_no_number(digits: bytes) -> None:
    with pytest.raises(FormatError, match="^x: "):
        parse_number(digits.ljust(12, b"\0"), "x")


@pytest.mark.parametrize(
    ("digits", "number"),
    [(b"00000000017\0", 15), (b"       17 \0\0", 15), (b"", 0), (b"\x80" + bytes(6) + b"\x02\0\0\0\0", 2 << 32)],
)
def test_sizes(digits: bytes, number: int) -> None:
    assert parse_number(digits.ljust(12, b"\0"), "x") == number


def test_records_of_every_kind_as_tarfile_reads_them() -> None:
    values = {"path": "n" * 300 + "\n=ü", "linkpath": "target", "comment": "x"}
    info = tarfile.TarInfo(values["path"])
    info.type, info.linkname, info.pax_headers = tarfile.SYMTYPE, "t" * 200, {"comment": "many words"}
    content = info.tobuf(tarfile.PAX_FORMAT)[512:-512]
    extension = Extension()
    parse_pax(content, extension, "x")
    with tarfile.open(fileobj=io.BytesIO(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))) as archive:
        expected = archive.getmembers()[0]
    assert (extension.name, extension.link) == (expected.name, expected.linkname)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (records((b"size", b"9" * 4300)), "a size of '99999999999999999999' in a pax header"),
        (records((b"size", b"9223372036854775808")), "a size of"),
        (records((b"size", b"-1")), "a size of '-1'"),
        (records((b"size", b"\xc2\xb2")), "a size of"),
        (records((b"path", b"p" * 4097)), "a name of 4,097 bytes, expected at most 4,096"),
        (b"9" * 5000 + b" path=a\n", "a damaged pax header"),
        (b"0 path=a\n", "a damaged pax header"),
        (b"3 p\n", "a damaged pax header"),
        (b"99 path=a\n", "a damaged pax header"),
        (b"10 path=abc", "a damaged pax header"),
    ],
)
def test_records_that_cannot_be(content: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        parse_pax(content, Extension(), "x: byte 0")
    assert str(caught.value).startswith("x: byte 0: ")
    assert "\n" not in str(caught.value)


def test_a_mebibyte_of_tiny_records_is_read_at_once() -> None:
    content = records((b"a", b"1")) * ((1 << 20) // 6)
    started = time.process_time()
    parse_pax(content, Extension(), "x")
    assert time.process_time() - started < 5  # 0.2 s; 58 s when every record copied what was left
