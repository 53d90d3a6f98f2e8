"""Names of images as the arrays of a source hold them: no longer than a file system allows."""

import hashlib

MAX_NAME_BYTES = 255
MARK_DIGITS = 8
SUFFIX_BYTES = 4  # .jpg, .cls


def shortened(name: bytes, limit: int = MAX_NAME_BYTES) -> bytes:
    """`name` where it has at most `limit` bytes, else its beginning, `_`, 8 digits of its SHA-256, and its last suffix.

    A character of UTF-8 is not cut in two, and a suffix of over 16 bytes is none.
    """
    if len(name) <= limit:
        return name
    stem, dot, suffix = name.rpartition(b".")
    tail = b"." + suffix if dot and len(suffix) <= 16 and stem else b""
    mark = b"_" + hashlib.sha256(name).hexdigest()[:MARK_DIGITS].encode()
    end = limit - len(mark) - len(tail)
    while end and name[end] & 0xC0 == 0x80:  # the middle of a character
        end -= 1
    return name[:end] + mark + tail


def shortened_key(key: bytes) -> bytes:
    """A key whose members KEY.jpg and KEY.cls a file system can hold: at most 251 bytes."""
    return shortened(key, MAX_NAME_BYTES - SUFFIX_BYTES)
