"""Progress of a run on stderr."""

from alexnet_command.progress import Progress as RunProgress

__all__ = ["RunProgress"]
