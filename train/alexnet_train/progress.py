"""Progress on stderr: one bar over the whole run, and plain lines between."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class RunProgress:
    """A bar with figures beside it; where stderr is no terminal only the lines appear."""

    def __init__(self, title: str, unit: str, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, total: int | None, done: int = 0) -> None:
        """Show a bar of `total`, None where there is no end, with `done` behind it."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task("", total=total, completed=done, figures="")

    def advance(self, amount: int = 1) -> None:
        """Move the bar on."""
        if self._task is not None:
            self._bar.advance(self._task, amount)

    def show(self, figures: Mapping[str, str]) -> None:
        """Show `figures` beside the bar."""
        if self._task is not None:
            self._bar.update(self._task, figures=", ".join(f"{name} {value}" for name, value in figures.items()))

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
