"""What others wrote, shown on one line: no hidden character, no password."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_shards.shown import printable, public_address, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 文 [bold] a/[/b] y[ok]", "plain é 文 [bold] a/[/b] y[ok]"),
        ("a\nerror: forged", r"a\nerror: forged"),
        ("a\r\tb\x1b[2Jc\x7f\x85", r"a\r\tb\x1b[2Jc\x7f\x85"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("caf\udce9.jpg", r"caf\xe9.jpg"),
        ("\ud800\u2028\U000e0001", r"\ud800\u2028\U000e0001"),
    ],
)
def test_hidden_characters_are_escapes(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Z", "C"))))
def test_whatever_is_written_is_one_line_that_can_be_seen(text: str) -> None:
    line = printable(text)
    assert len(line.splitlines()) <= 1
    assert all(character == " " or unicodedata.category(character)[0] not in "CZ" for character in line)
    line.encode("utf-8")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://me:pa55@host:80/a/b.tar", "https://***@host:80/a/b.tar"),
        ("s3://key:se@cret@bucket/x", "s3://***@bucket/x"),
        ("https://token@host/x?a=1", "https://***@host/x?a=1"),
        ("https://h/x?X-Amz-Signature=abc&X-Amz-Credential=d%2Fe&X-Amz-Date=2026", "https://h/x?X-Amz-Signature=***&X-Amz-Credential=***&X-Amz-Date=2026"),
        ("https://h/x?sv=1&sig=a%2Bb%3D&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("https://h/x?access_token=abc#frag", "https://h/x?access_token=***#frag"),
        ("https://h/x?Signature=abc&Key-Pair-Id=K", "https://h/x?Signature=***&Key-Pair-Id=K"),
        ("https://h/x?TOKEN=a;api_key=b&password=c'", "https://h/x?TOKEN=***;api_key=***&password=***'"),
        ("'https://h/x?token=abc': no such shard", "'https://h/x?token=***': no such shard"),
        ("mail me@host about https://host/a@b", "mail me@host about https://host/a@b"),
        ("design=3 signal=4 x?design=5", "design=3 signal=4 x?design=5"),
    ],
)  # fmt: skip
def test_passwords_and_signatures_are_stars(address: str, expected: str) -> None:
    assert public_address(address) == expected
    assert shown(f"{address}\n") == expected + r"\n"
