"""Exit statuses of a command, beside 0 for a match and 1 for none."""

import signal

INPUT, FAULT, CLOSED = 2, 70, 141
"""Of wrong input; of a fault of ours, sysexits' EX_SOFTWARE; of an output that is closed, as SIGPIPE's."""
STOPPED = 128 + signal.SIGINT
"""Of what is stopped by Ctrl-C, as shells have it."""
