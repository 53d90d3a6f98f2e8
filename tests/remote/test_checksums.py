"""Checksums by the words of stores: what is a whole file's is used, what is not is left alone."""

import base64
import hashlib

import pytest

from alexnet_remote.checksums import Running, hex_of, of_headers, of_info, of_s3

CONTENT = b"what a store holds"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False)
SHA256 = hashlib.sha256(CONTENT)


def coded(digest: "hashlib._Hash") -> str:
    return base64.b64encode(digest.digest()).decode()


def test_of_a_web_server() -> None:
    assert of_headers({"content-md5": coded(MD5)}, whole=True) == (("md5", MD5.hexdigest()),)
    assert of_headers({"content-md5": coded(MD5)}, whole=False) == ()  # of the part that was sent
    assert of_headers({"x-goog-hash": f"crc32c=AAAAAA==, md5={coded(MD5)}"}, whole=False) == (("md5", MD5.hexdigest()),)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({"etag": f'"{MD5.hexdigest()}"', "x-amz-request-id": "1"}, True),
        ({"etag": f'"{MD5.hexdigest()}"'}, False),  # nobody says that this tag is an MD5
        ({"etag": f'"{MD5.hexdigest()}-3"', "x-amz-request-id": "1"}, False),  # of three parts
        (
            {
                "etag": f'"{MD5.hexdigest()}"',
                "x-amz-request-id": "1",
                "x-amz-server-side-encryption-aws-kms-key-id": "k",
            },
            False,
        ),
    ],
)
def test_of_s3_over_the_web(headers: dict[str, str], known: bool) -> None:
    assert of_headers(headers, whole=True) == ((("md5", MD5.hexdigest()),) if known else ())


def test_of_s3() -> None:
    assert dict(of_s3({"ETag": f'"{MD5.hexdigest()}"', "ChecksumSHA256": coded(SHA256)})) == {
        "md5": MD5.hexdigest(),
        "sha256": SHA256.hexdigest(),
    }
    assert of_s3({"ETag": f'"{MD5.hexdigest()}"', "ServerSideEncryption": "aws:kms"}) == ()
    assert of_s3({"ETag": f'"{MD5.hexdigest()}-2"', "ChecksumSHA256": coded(SHA256) + "-2"}) == ()


def test_of_google() -> None:
    assert of_info({"md5Hash": coded(MD5), "size": 3}) == (("md5", MD5.hexdigest()),)
    assert of_info({"size": 3}) == ()


def test_of_an_object_that_google_composed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("google_crc32c")
    found = of_info({"crc32c": "4waSgw==", "size": 9})  # of "123456789", as RFC 3720's check value has it
    assert found == (("crc32c", "e3069283"),)
    assert of_info({"crc32c": "4waSgw==", "md5Hash": coded(MD5)}) == (("md5", MD5.hexdigest()),)
    running = Running(found)
    running.update(b"12345")
    running.update(b"6789")
    assert running.difference() == ""
    running.update(b"0")
    assert running.difference().endswith("the store has e3069283")
    monkeypatch.setattr("alexnet_remote.checksums.find_spec", lambda _: None)
    assert of_info({"crc32c": "4waSgw=="}) == ()


@pytest.mark.parametrize("text", ["", "none", "AAAA", "=?="])
def test_what_is_no_checksum(text: str) -> None:
    assert hex_of(text, "md5") == ""


def test_running() -> None:
    running = Running((("md5", MD5.hexdigest()), ("sha256", "0" * 64)))
    for place in range(0, len(CONTENT), 5):
        running.update(CONTENT[place : place + 5])
    assert running.difference() == f"sha256 {SHA256.hexdigest()[:12]}, the store has 000000000000"
    assert Running().difference() == ""
