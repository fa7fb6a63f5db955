"""Processes that work for another: they end when it does."""

import os
import signal
import threading
import time


def end_with_parent() -> None:
    """Let this process, a worker of a pool, end when its parent is killed, and silently at Ctrl-C.

    All processes receive Ctrl-C; the parent neither waits for its workers then nor hears of it from each.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
