"""Prints the branch coverage of every room, from the JSON report of a run of coverage.

`make coverage` runs the tests and then this.
"""

import json
import sys
from collections import Counter
from pathlib import PurePath

LOW = 85.0  # percent
COUNTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")


def main(path: str) -> None:
    """Prints a line a room: percent of lines and branches taken, and how many there are."""
    with open(path) as file:
        files = json.load(file)["files"]
    rooms = {}
    for name, report in files.items():
        room = PurePath(name).parts[1].removesuffix(".py")
        rooms.setdefault(room, Counter()).update({key: report["summary"][key] for key in COUNTS})
    rooms["all"] = sum(rooms.values(), Counter())
    print(f"{'room':<14} {'covered':>8} {'lines':>7} {'branches':>9}")
    for room, total in rooms.items():
        taken = total["covered_lines"] + total["covered_branches"]
        percent = 100 * taken / max(1, total["num_statements"] + total["num_branches"])
        low = f"  below {LOW:.0f} %" if percent < LOW else ""
        counts = f"{total['num_statements']:>7} {total['num_branches']:>9}"
        print(f"{room:<14} {percent:>6.1f} % {counts}{low}")


if __name__ == "__main__":
    main(sys.argv[1])
