"""The one place that prints: results to stdout, messages to stderr, nothing in them is markup, forged or secret."""

import errno
import json
import math
import os
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

LINE_LIMIT = 4000


class OutputGone(Exception):
    """Who read our results has closed the pipe: there is nobody to tell."""


def ready_streams() -> None:
    """Make the standard streams safe: each of 0, 1 and 2 is open, no character fails, warnings are one line of ours."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened must not become somebody's stdout
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    warnings.showwarning = _show_warning


def say(line: str) -> None:
    """One line to stderr. A stderr that is closed, full or gone is no reason to stop: the line is lost then."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(message_text(line) + "\n")
            sys.stderr.flush()


def message_text(line: str) -> str:
    """`line` as a screen or a log may hold it: without hidden characters and secrets, at most LINE_LIMIT of it."""
    from alexnet_shards.shown import shown

    text = shown(line)
    return text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]}… ({len(text) - LINE_LIMIT:,} characters more)"


def show(lines: Iterable[str]) -> None:
    """Result lines to stdout. Raises OutputGone where its reader is gone, OSError where they cannot be written."""
    from alexnet_shards.shown import shown

    _write_result("".join(f"{shown(line)}\n" for line in lines))


def show_json(content: Any) -> None:
    """`content` to stdout as one line of JSON in ASCII; numbers that are none become null. Raises as `show` does."""
    _write_result(json.dumps(_plain(content), allow_nan=False) + "\n")


def _plain(content: Any) -> Any:
    from alexnet_shards.shown import public_address

    match content:
        case str():
            return public_address(content)
        case float():
            return content if math.isfinite(content) else None
        case dict():
            return {_plain(name): _plain(value) for name, value in content.items()}
        case list() | tuple():
            return [_plain(value) for value in content]
        case _:
            return content


def _write_result(text: str) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "is closed", "standard output")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        forget(sys.stdout)
        if error.errno == errno.EPIPE:
            raise OutputGone from error
        raise OSError(error.errno, error.strerror, "standard output") from error


def forget(stream: TextIO) -> None:
    """Have what `stream` still holds go nowhere, so that Python's last flush does not fail on it again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A library's warning as one line, in place of warnings.showwarning's two."""
    say(f"warning: {message}")
