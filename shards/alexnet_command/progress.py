"""How far a long step is: a bar where stderr is a terminal, elsewhere a plain line every 30 seconds and at the end."""

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from alexnet_command.printing import message_text, say
from alexnet_command.units import duration_text, size_text

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

LINE_SECONDS = 30.0
REDRAWS_PER_SECOND = 5
BAR_CELLS = 10
MAX_BAR_CELLS = 40


@dataclass
class Step:
    """What is being done and how much of it; `skipped` of `done` was there already and says nothing of the rate."""

    title: str
    unit: str
    total: int | None
    done: int = 0
    skipped: int = 0
    started_s: float = field(default_factory=time.monotonic)
    figures: dict[str, str] = field(default_factory=dict)

    def count(self) -> str:
        """12 of 34 images, or 1.2 GB of 3.4 GB."""
        if self.unit == "bytes":
            return size_text(self.done) + (f" of {size_text(self.total)}" if self.total else "")
        return f"{self.done:,}" + (f"/{self.total:,}" if self.total is not None else "") + f" {self.unit}"

    def rate(self) -> float:
        """Units a second since the start."""
        return max(0, self.done - self.skipped) / max(1e-3, time.monotonic() - self.started_s)

    def rate_text(self) -> str:
        """3.1 steps/s; "" where all was there already."""
        rate = self.rate()
        if not rate and self.skipped:
            return ""
        if self.unit == "bytes":
            return f"{size_text(rate)}/s"
        return f"{rate:,.0f} {self.unit}/s" if rate >= 99.5 else f"{rate:.2g} {self.unit}/s"

    def left_text(self) -> str:
        """The time that is left at the rate so far; "" where nobody can know."""
        if self.total is None or self.done >= self.total or not self.rate():
            return ""
        return f"{duration_text((self.total - self.done) / self.rate())} left"

    def figure_texts(self) -> list[str]:
        """The figures beside the count."""
        return [f"{name} {value}" for name, value in self.figures.items()]


class Progress:
    """One step after the other, each counted; use as a context manager. A failure ends it without a word of its own.

    `quiet` shows and says nothing: only one process of a run speaks.
    """

    def __init__(self, title: str, unit: str, *, quiet: bool = False, line_seconds: float = LINE_SECONDS) -> None:
        self._title, self._unit, self._quiet, self._line_seconds = title, unit, quiet, line_seconds
        self._step: Step | None = None
        self._live: Live | None = None
        self._over, self._idle_since_s = threading.Event(), time.monotonic()
        self._clock = threading.Thread(target=self._say_now_and_then, daemon=True)

    def __enter__(self) -> Self:
        self._idle_since_s = time.monotonic()
        if self._quiet:
            return self
        if _is_screen():
            self._live = _live(self._bar)
            self._live.start()
        else:
            self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        self._over.set()
        if self._live is not None:
            self._live.stop()

    def start(self, total: int | None, done: int = 0, *, title: str | None = None, unit: str | None = None) -> None:
        """Begin a step of `total` units, None where nobody knows, of which `done` were done before."""
        self.end()
        self._step = Step(title or self._title, unit or self._unit, total, done=done, skipped=done)

    def advance(self, amount: int = 1, *, skipped: bool = False) -> None:
        """So many units more; `skipped`: they were there already."""
        if self._step is not None:
            self._step.done += amount
            self._step.skipped += amount if skipped else 0

    def at(self, done: int, total: int | None = None) -> None:
        """`done` units of `total`; where no step was begun, one that began with the context or the last step's end."""
        if self._step is None:
            self._step = Step(self._title, self._unit, total, started_s=self._idle_since_s)
        self._step.done, self._step.total = done, total

    def show(self, figures: Mapping[str, str]) -> None:
        """Show `figures` beside the count."""
        if self._step is not None:
            self._step.figures = dict(figures)

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        if self._quiet:
            return
        if self._live is None:
            say(line)
        else:
            from rich.text import Text

            self._live.console.print(Text(message_text(line)), soft_wrap=True)

    def end(self) -> None:
        """End the step under way, with its final count."""
        step, self._step, self._idle_since_s = self._step, None, time.monotonic()
        if step is not None and not self._quiet:
            self.say(end_line(step))

    def _bar(self) -> "Text":
        from rich.text import Text

        live, step = self._live, self._step
        if live is None or step is None:
            return Text("")
        ascii_only = not (live.console.encoding or "").lower().startswith("utf")
        return Text(bar_line(step, live.console.width - 1, ascii_only=ascii_only), no_wrap=True, overflow="crop")

    def _say_now_and_then(self) -> None:
        while not self._over.wait(self._line_seconds):
            step = self._step
            if step is not None:
                say(plain_line(step))


def plain_line(step: Step) -> str:
    """How far a step is, for a log: count, share, rate, time left, figures."""
    share = f" ({step.done / step.total:.0%})" if step.total else ""
    parts = (f"{step.title}: {step.count()}{share}", step.rate_text(), step.left_text(), *step.figure_texts())
    return ", ".join(part for part in parts if part)


def end_line(step: Step) -> str:
    """What a step came to: count, seconds, rate, figures."""
    seconds = duration_text(time.monotonic() - step.started_s)
    parts = (f"{step.title}: {step.count()} in {seconds}", step.rate_text(), *step.figure_texts())
    return ", ".join(part for part in parts if part)


def bar_line(step: Step, cells: int, *, ascii_only: bool) -> str:
    """How far a step is, in at most `cells` characters. What goes first on a narrow screen: figures from the last to the
    first, the rate, the bar, the title; the count and the time left stay."""
    parts = {place: text for place, text in enumerate(_bar_parts(step)) if text}
    kept: dict[int, str] = {}
    room = cells
    for place in (2, 3, 0, 1, *sorted(place for place in parts if place > 3)):
        text = parts.get(place)
        if text is not None and (len(text) + 2 <= room or not kept):
            kept[place] = text[:room]
            room -= len(kept[place]) + 2
    if 1 in kept and step.total:
        kept[1] = _bar_text(step.done / step.total, min(MAX_BAR_CELLS, BAR_CELLS + max(0, room)), ascii_only)
    return "  ".join(kept[place] for place in sorted(kept))[:cells]


def _bar_parts(step: Step) -> list[str]:
    bar = " " * BAR_CELLS if step.total else ""
    return [step.title, bar, step.count(), step.left_text(), step.rate_text(), *step.figure_texts()]


def _bar_text(share: float, cells: int, ascii_only: bool) -> str:
    full = int(min(1.0, share) * cells)
    return ("#" * full + "-" * (cells - full)) if ascii_only else ("━" * full + "╌" * (cells - full))


def _is_screen() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _live(render: object) -> "Live":
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    return Live(
        console=console,
        get_renderable=render,  # type: ignore[arg-type]
        refresh_per_second=REDRAWS_PER_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
        transient=True,
    )
