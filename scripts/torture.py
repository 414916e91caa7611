"""Stops trainings at all possible points and resumes them: `python scripts/torture.py [short|kills] [KEY=VALUE ...]`.

Without a word, each small training of tortures/configurations.py is stopped at every checkpoint and resumed, in this
process, until no new state appears: a model checker for resuming, which uses only the command's interface. It takes an
hour on two cores; `short` checks a dozen trainings, and `part=1/4` a fourth of them. `only=WORD` selects trainings with
that word in their names, `seed=N` draws other pairs, `workers=N` sets the number of processes (default: two).

`kills=100 [seed=0 only=WORD aim=HOW]` kills processes of single runs and sweeps, at any time and while they write.
aim=writing aims at operations that make a file permanent; aim=turns at the ends of calls, epochs, validations and
checkpoints, and at resumes.

Prints counts and mismatches; exit code 1 with any mismatch. Each training is compared with an uninterrupted one:
metrics, weights, states of optimizer and schedule, TensorBoard's scalars, results, the list of files.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from options import parsed

sys.path.insert(0, str(Path(__file__).parent))

WORDS, KEYS = ("short", "kills"), "seed only workers part kills aim"


def enumerate_all(options: dict[str, str], short: bool) -> tuple[Counter[str], list[str]]:
    from tortures.enumeration import cases, check_all

    asked = [
        c for c in cases(int(options.get("seed", 0)), product=not short) if options.get("only", "") in c.name
    ]
    random.Random(0).shuffle(asked)  # so that a part is of all kinds, and takes its share of the time
    part, _, parts = options.get("part", "1/1").partition("/")
    asked = asked[:12] if short else asked[int(part) - 1 :: int(parts)]
    counts, wrong = Counter[str](), []
    for case, counted, found in check_all(asked, int(options.get("workers", 2))):
        counts += counted
        wrong += [f"{case.name}: {line}" for line in found]
        done = f"{counts['configurations']:,} of {len(asked):,} configurations, {len(wrong):,} mismatches"
        print(f"\r{done}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return counts, wrong


def kill(options: dict[str, str]) -> tuple[Counter[str], list[str]]:
    from tortures.kills import Kills

    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), int(options.pop("kills", 100)), int(options.pop("seed", 0)), **options)
        kills.run()
    return kills.counts + Counter({"kills in all": kills.dead}), kills.wrong


def main(arguments: list[str]) -> int:
    begin, (options, words) = time.perf_counter(), parsed(__doc__, arguments, KEYS, WORDS)
    counts, wrong = (
        kill(options) if "kills" in (*words, *options) else enumerate_all(options, "short" in words)
    )
    for what, n in sorted(counts.items()):
        print(f"{n:7,}  {what}")
    print(f"{len(wrong):7,}  mismatches, in {time.perf_counter() - begin:.0f} s")
    print("\n".join(f"         {line}" for line in wrong), end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
