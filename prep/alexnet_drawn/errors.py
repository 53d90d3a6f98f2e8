"""Failures of the drawn source that a user can act on."""

from alexnet_shards.errors import AlexnetError


class DrawError(AlexnetError):
    """A source that cannot be drawn: its sizes, or the directory."""
