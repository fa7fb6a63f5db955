"""The command, for ``python -m selvage``."""

from selvage.commands.start import main

main()
