"""Failures of prep that a user can act on."""

from alexnet_shards.errors import AlexnetError


class SourceError(AlexnetError):
    """Archives, devkit or folder that are missing, damaged or not what their names say."""


class RunError(AlexnetError):
    """An output directory that cannot be used: locked, full, read-only, or of another run."""
