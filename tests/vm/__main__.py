"""Run something of this machine as root under Debian's stock kernel; the status is its own.

python -m tests.vm [--seconds N] COMMAND…       any program, in the checkout's folder
python -m tests.vm [--seconds N] pytest PATH…   tests of this repository
"""

import argparse
import sys

from tests.vm.guest import Guest, Stream
from tests.vm.kernel import CannotBootError


def show(stream: Stream, line: str) -> None:
    print(line, file=getattr(sys, stream), flush=True)


parser = argparse.ArgumentParser("tests.vm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument(
    "--seconds", type=float, default=900, help="limit after which it is ended, status 124 (default 900)"
)
parser.add_argument("command", nargs=argparse.REMAINDER)
chosen = parser.parse_args()
if not chosen.command:
    parser.error("nothing to run")
program, *arguments = chosen.command
try:
    with Guest(show) as guest:
        if program == "pytest":
            done = guest.pytest(*arguments, seconds=chosen.seconds)
        else:
            done = guest.run(program, *arguments, seconds=chosen.seconds)
except CannotBootError as error:
    sys.exit(f"vm: {error}")
sys.exit(done.status)
