"""`python -m tests.crash.effects`: the whole product; with ids, those alone, with a trace."""

from __future__ import annotations

import argparse
import sys

from tests.crash.effects._explore import explore, possible, sample
from tests.crash.effects._product import Combination, named


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.crash.effects", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="run these alone, and print a trace")
    parser.add_argument("--sample", type=int, metavar="N", help="run N of them, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=4, help="how many at once")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORD", help="part of the id"
    )
    parser.add_argument("--reports", metavar="FOLDER", help="write a report of each failure there")
    options = parser.parse_args()
    chosen: list[Combination] = [named(one) for one in options.ids] or [
        c for c in possible() if all(word in c.id.split(".") for word in options.only)
    ]
    if options.sample:
        chosen = sample(chosen, options.sample, options.seed)
    result = explore(
        chosen, jobs=options.jobs, is_traced=bool(options.ids), reports=options.reports
    )
    print(result.summary())
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
