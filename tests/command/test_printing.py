"""What is printed is one line, whole, without secrets, and JSON is JSON."""

import json

import pytest

from alexnet_command.printing import LINE_LIMIT, message_text, say, show, show_json


def test_lines_are_data(capsys: pytest.CaptureFixture[str]) -> None:
    say("warning: a/[/b] y[ok] [bold]\nerror: forged https://a:b@h")
    show(["a\tb", "[red]c"])
    captured = capsys.readouterr()
    assert captured.err == "warning: a/[/b] y[ok] [bold]\\nerror: forged https://***@h\n"
    assert captured.out == "a\\tb\n[red]c\n"


def test_a_message_has_a_limit() -> None:
    text = message_text("x" * 1_000_000)
    assert len(text) < LINE_LIMIT + 100
    assert text.endswith("… (996,000 characters more)")


def test_json_is_ascii_without_nan_and_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"nan": [float("nan"), float("inf"), (1.5, None, True)], "é\n": "caf\udce9 https://a:b@h/x?sig=1", "n": 7}
    show_json(content)
    text = capsys.readouterr().out
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert json.loads(text) == {
        "nan": [None, None, [1.5, None, True]],
        "é\n": "caf\udce9 https://***@h/x?sig=***",
        "n": 7,
    }
