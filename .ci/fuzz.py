"""Hands damaged zoos and strange command lines to jaxzoo, and expects an answer or one line.

    .venv/bin/python .ci/fuzz.py                   10,000 cases
    .venv/bin/python .ci/fuzz.py --cases 500 --seed 7

Exit status 1 where there is a stack trace, where something was run, or where a file elsewhere was opened.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from fuzzing import run_cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        counts, wrong = run_cases(Path(root), options.cases, options.seed)
    print("\n".join(wrong[:20]))
    words = ", ".join(f"{count:,} of {name}" for name, count in counts.items())
    print(f"{options.cases:,} cases in {time.monotonic() - start:.0f} s ({words}): {len(wrong)} went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
