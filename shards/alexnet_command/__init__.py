"""The shell of every command: how it begins, prints, shows progress and ends. Importing it imports nothing else.

from alexnet_command.entry import run_command  # the way in: signals first, then the command, then its exit status
from alexnet_command.printing import say, show  # a line to stderr, lines to stdout
"""

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = ["entry", "failures", "options", "printing", "progress", "signals", "tables", "units"]
