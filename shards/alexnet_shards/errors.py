"""Failures a user can act on."""


class AlexnetError(Exception):
    """A failure the user can act on: its text is one line of where, found, expected, what to do.

    The commands print it and leave with status 1; a traceback is only ever a bug of ours.
    """


class PatternError(AlexnetError):
    """A shard pattern that cannot be read or that names files which are not there."""


class FormatError(AlexnetError):
    """A file of the shard directory that is damaged, of another version, or of other shards."""


class WorkerError(AlexnetError):
    """A worker process that was killed."""
