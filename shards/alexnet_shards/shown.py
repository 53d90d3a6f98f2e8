"""How what others wrote is shown: one line, no hidden character, no password."""

import re

# What stands between a scheme and a host, up to the last @ before the path.
_USER = re.compile(r"(?<=://)[^\s/?#]*@")
# Query and fragment parameters that open a door by themselves: S3, Google and Azure signatures, tokens, passwords.
_SECRET = re.compile(
    r"(?i)(?<=[?&;#])((?:[a-z0-9._-]|%2d)*"
    r"(?:signature|credential|token|secret|password|passwd|passphrase|accesskeyid|googleaccessid|api[_-]?key|auth(?:orization)?)"
    r"|sig|key|pwd|jwt|code)=[^\s&;#'\"<>]*"
)
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""`text` on one line as it can be read: control, bidi and other unseen characters and the bytes of a file name that
    are no text become escapes (\n, \x1b, \u202e, \xe9), everything else stays."""
    return text if text.isprintable() else "".join(map(_escape, text))


def public_address(text: str) -> str:
    """`text` with `***` for the user and password of every address in it, and for signatures, tokens and keys in queries."""
    return _SECRET.sub(r"\1=***", _USER.sub("***@", text))


def shown(text: str) -> str:
    """`text` as it may stand in a message: `printable`, and `public_address`."""
    return printable(public_address(text))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    if character in _NAMED:
        return _NAMED[character]
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file name that is not UTF-8, as os.fsdecode gives it
        number -= 0xDC00
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
