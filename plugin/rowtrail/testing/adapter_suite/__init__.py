"""What every adapter must do, checked on a small job that it runs in real processes.

The author of an adapter writes four functions, in a module that can be imported::

    SUBJECT = Subject(make=..., run=..., resume=..., count=requests_made)

and a test that runs every check on them::

    @pytest.mark.parametrize("check", checks("tests.my_adapter:SUBJECT"), ids=str)
    def test_my_adapter(check: Check, tmp_path: Path) -> None:
        check(tmp_path)

The job: the model is asked three times, wants two measurements at once, then a letter sent, and
answers. A local server speaks the wire formats, the tools are functions of the `Stage` that leave
a line in a file. Processes are forked, and killed with SIGKILL: this runs on Linux and macOS.
"""

from rowtrail.testing.adapter_suite._checks import Check, checks
from rowtrail.testing.adapter_suite._processes import Processes
from rowtrail.testing.adapter_suite._stage import ANSWER, Stage, Subject, requests_made, respond

__all__ = ["ANSWER", "Check", "Processes", "Stage", "Subject", "checks", "requests_made", "respond"]
