"""Runs the tests many times, each time in another order: `python scripts/suite.py [idle=10 busy=5 loops=3 seed=0]`.

Runs them `idle` times normally, then `busy` times next to `loops` endless loops; in parallel, as `make test`. Prints
each test that failed, how often and with which seeds; exit code 1 with any failure. Paths of tests may follow. A test
that hangs ends its run after a quarter of an hour, with the traces of all threads in the log. To repeat an order:
`python -m pytest -p randomly --randomly-seed=SEED`.
"""

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from options import parsed

ROOT = Path(__file__).parents[1]
HANG = 900  # seconds for one test
ENDED = (0, 1)  # pytest passed, or tests failed; other exit codes mean that it did not complete


@contextmanager
def beside(loops: int) -> Iterator[None]:
    """While open, `loops` processes run endless loops."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def run(seed: int, folder: Path, paths: list[str]) -> set[str]:
    """Runs the tests once; returns the names of failed ones. The log is `folder`/SEED.log."""
    report, log = folder / f"{seed}.xml", folder / f"{seed}.log"
    words = [sys.executable, "-m", "pytest", "-n", "logical", "--dist", "loadfile",
             "-p", "randomly", f"--randomly-seed={seed}", f"--junitxml={report}",
             "-o", f"faulthandler_timeout={HANG}", "-o", "faulthandler_exit_on_timeout=true", *paths]  # fmt: skip
    with log.open("w") as said:
        code = subprocess.run(words, cwd=ROOT, stdout=said, stderr=said, check=False).returncode
    if code not in ENDED or not report.is_file():
        return {f"the run as a whole: exit code {code}"}
    return failures(report)


def failures(report: Path) -> set[str]:
    """The tests that failed, or whose fixtures did, by pytest's report in XML."""
    return {
        f"{case.get('classname')}::{case.get('name')}"
        for case in ElementTree.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    }


def main(arguments: list[str]) -> int:
    given, paths = parsed(__doc__, arguments, "idle busy loops seed", others=None)
    asked = {"idle": 10, "busy": 5, "loops": 3, "seed": 0} | {k: int(v) for k, v in given.items()}
    folder = Path(tempfile.mkdtemp(prefix="suite-"))
    print(f"logs in {folder}")
    failed: defaultdict[str, list[int]] = defaultdict(list)
    for i in range(asked["idle"] + asked["busy"]):
        seed, loops = asked["seed"] + i, asked["loops"] * (i >= asked["idle"])
        begin = time.monotonic()
        with beside(loops):
            found = run(seed, folder, paths)
        for name in found:
            failed[name].append(seed)
        said = f"{len(found)} failed" if found else "passed"
        print(f"seed {seed:3}, {loops} loops: {said} in {time.monotonic() - begin:.0f} s", flush=True)
    for name, seeds in sorted(failed.items(), key=lambda item: -len(item[1])):
        print(
            f"{len(seeds):4} of {asked['idle'] + asked['busy']}  {name}  (seeds {', '.join(map(str, seeds))})"
        )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
