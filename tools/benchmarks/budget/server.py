"""The servers whose instructions are counted. It imports everything once, and forks a server for each line of input.

A line has the framework, the application, and a Unix socket. The server tells the socket its ports. For each byte that
it gets it takes a count, and tells the process that has it. It ends when the socket is closed.
"""

import asyncio
import gc
import importlib
import os
import socket
import sys
import threading
import traceback

from tools.benchmarks.request_cpu import MODULES
from tools.benchmarks.servers.common import fill


def _take_counts(measuring_side: socket.socket) -> None:
    # Valgrind writes a count when a process ends, and a fork has the count of its parent.
    while measuring_side.recv(1):
        process = os.fork()
        if process == 0:
            os._exit(0)
        os.waitpid(process, 0)
        measuring_side.sendall(f"count {process}\n".encode())
    os._exit(0)


def _serve(framework: str, application: str, address: str) -> None:
    # A server stops at the end of its input.
    os.dup2(os.pipe()[0], 0)
    measuring_side = socket.socket(socket.AF_UNIX)
    measuring_side.connect(address)
    os.dup2(measuring_side.fileno(), 1)
    module = importlib.import_module(MODULES[framework])
    sys.argv = [sys.argv[0], "--filled", "--application", application]
    threading.Thread(target=_take_counts, args=(measuring_side,), daemon=True).start()
    module.main()


def main() -> None:
    """Fork until the input ends."""
    for module in MODULES.values():
        importlib.import_module(module)
    asyncio.run(fill(os.environ["DATABASE_URL"]))
    # Otherwise a collection that looks at all modules falls into one block and not into another.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        framework, application, address = line.split()
        if os.fork() == 0:
            try:
                _serve(framework, application, address)
            except BaseException:  # noqa: BLE001 - it is printed, and the measuring side gives up
                traceback.print_exc()
            os._exit(1)


if __name__ == "__main__":
    main()
