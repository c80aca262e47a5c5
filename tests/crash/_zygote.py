"""A process that has imported everything and forks a child for each command on its stdin.

Importing langchain takes seconds; a fork takes milliseconds, so hundreds of real kills fit in a
test. It has one thread and no journal open when it forks. Prints `pid` when a child begins and
`pid status` when it has ended.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

from tests.crash import _agent


def main() -> None:
    """Serve commands until stdin ends."""
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(command)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(pid, os.waitstatus_to_exitcode(status), flush=True)


def _child(command: dict[str, object]) -> None:
    try:
        _agent.run(command)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
