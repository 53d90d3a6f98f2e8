"""A failure as its exit status and one line: where, what was found, and what to do."""

import click

from alexnet_command.printing import OutputGone
from alexnet_command.signals import INTERRUPTED, Terminated
from alexnet_shards.errors import AlexnetError, advice_for

STATUS_FAILED = 1
STATUS_USAGE = 2
STATUS_INTERRUPTED = 130


class Stop(Exception):
    """A command that ends before its work is done without having failed, as a run that was asked to save and leave.

    Its text is one line, `status` the exit status.
    """

    status = 0


# Everything that a user can cause; any other exception is a bug of ours, and its traceback is wanted.
FAILURES = (
    AlexnetError,
    OSError,
    MemoryError,
    RecursionError,
    RuntimeError,
    Stop,
    OutputGone,
    KeyboardInterrupt,
    Terminated,
    click.exceptions.Exit,
    click.Abort,
    click.ClickException,
)


def outcome(error: BaseException) -> tuple[int, str | None]:
    """(exit status, line for stderr) of one of FAILURES; no line where nobody needs to be told. Raises what is a bug."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code, None
        case Stop():
            return error.status, str(error)
        case OutputGone():
            return STATUS_FAILED, None
        case KeyboardInterrupt() | click.Abort():
            return STATUS_INTERRUPTED, f"error: {INTERRUPTED}"
        case Terminated():
            return int(str(error.code)), f"error: {INTERRUPTED}"
        case click.UsageError():
            return STATUS_USAGE, f"error: {_usage_line(error)}"
    return STATUS_FAILED, f"error: {_failure_line(error)}"


def _failure_line(error: BaseException) -> str:
    match error:
        case AlexnetError():
            return str(error)
        case click.ClickException():
            return error.format_message()
        case OSError():
            return _system_line(error)
        case RecursionError():
            return "what was read is nested too deeply to be one of our files; check what was given"
        case MemoryError():
            return _memory_line(error)
        case RuntimeError() if "OutOfMemory" in type(error).__name__ or "can't allocate memory" in str(error):
            return _memory_line(error)
    raise error


def _system_line(error: OSError) -> str:
    places = [_text(name) for name in (error.filename, error.filename2) if name not in (None, "")]
    what = error.strerror or str(error) or type(error).__name__
    advice = advice_for(error)
    return ": ".join([" -> ".join(places), what] if places else [what]) + (f"; {advice}" if advice else "")


def _text(name: object) -> str:
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name)


def _memory_line(error: BaseException) -> str:
    detail = str(error).partition("\n")[0]
    return f"out of memory{f' ({detail})' if detail else ''}; take fewer workers or a smaller batch, or more memory"


def _usage_line(error: click.UsageError) -> str:
    no_words = isinstance(error, click.exceptions.NoArgsIsHelpError)  # its message is the whole help
    text = "Missing command" if no_words else " ".join(error.format_message().split())
    if error.ctx is None:
        return text
    usage = " ".join(error.ctx.get_usage().split())
    return f"{text.rstrip('.')}. {usage}; {error.ctx.command_path} --help says more"
