"""`rnnlab reproduce`: trains a run again from its folder alone, and judges how well the two agree.

rnnlab reproduce RUN                          a run's folder, wherever it was trained
rnnlab reproduce outputs/EXPERIMENT --sample 5   five runs of it, drawn at random
rnnlab reproduce ARCHIVE.zip --sample 1       one run, drawn from a file of `rnnlab archive`
rnnlab reproduce ARCHIVE.zip/RUN              one run of this file, by its name
"""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError, nearest
from rnnlab.runs.record import ENDED
from rnnlab.terminal.screen import say

EPILOG = """exit code: 0 bitwise, 3 numeric, 4 statistical, 5 different (of several: the worst);
1 a training failed, 2 the request is not possible"""


def main(argv: list[str]) -> int:
    parser = Arguments(prog="rnnlab reproduce", description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("run", metavar="RUN", help="a run's folder, an experiment's, or an archive")
    parser.add_argument(
        "--into", metavar="FOLDER", help="keep the new runs in this folder (by default they are removed)"
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="draw N runs of an experiment, and train them as one sweep"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides which runs --sample draws (default: 0)")
    parser.add_argument("--rtol", type=float, default=1e-3,
                        help="largest relative difference of a scalar that is still numeric (0.001)")  # fmt: skip
    parser.add_argument(
        "--commit", action="store_true", help="train with the code of the commit that the run records"
    )
    parser.add_argument(
        "--trust", action="store_true", help="permit somebody else's code that the folder names or holds"
    )
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    asked = parser.parse_args(argv)

    from rnnlab.reproduce import unpacking
    from rnnlab.reproduce.scratch import scratch
    from rnnlab.runs.run import Run, runs, silently

    with ExitStack() as stack:
        place = Path(asked.run)
        file = next((path for path in (place, *place.parents) if path.is_file()), None)
        names: dict[Path, str] = {}  # of runs that are unpacked only for this command
        if file is not None:
            opened = stack.enter_context(unpacking.opened(file))
            names = {run.folder: f"{file}/{run.folder.name}" for run in runs(opened.folder, silently)}
            place = inside(opened.folder, place.relative_to(file), asked.run)
        several = not (place / "run.json").is_file()
        if several and asked.sample is None:
            if n := len(runs(place, silently)):
                one = f", {asked.run}/RUN is one by its name" if file else ""
                raise UserError(
                    f"{asked.run} holds {n} run{'s' * (n > 1)}; --sample 1 draws one of them{one}"
                )
            Run.open(place)  # raises a UserError that says what is there
        if asked.sample is not None and asked.sample < 1:
            raise UserError(f"--sample {asked.sample}: must be at least 1")
        if asked.sample is not None and not several:
            raise UserError(
                f"--sample draws runs of an experiment's folder or an archive; {asked.run} is one run: leave it out"
            )
        if several:
            from rnnlab.reproduce import sample

            chosen = sample.draw(place, asked.sample, asked.seed)
        else:
            chosen = [Run.open(place)]
        if file is not None:
            for run in chosen:
                opened.fill(run.folder.name)
        if asked.commit:
            from rnnlab.reproduce.commit import with_its_code

            if len(chosen) > 1:
                raise UserError("--commit: one run at a time, for each may have a commit of its own")
            words = [str(chosen[0].folder), f"--rtol={asked.rtol}"]
            words += [f"--into={asked.into}"] if asked.into else []
            words += [f"--{name}" for name in ("trust", "json") if getattr(asked, name)]
            return with_its_code(chosen[0], words, asked.trust)
        into = Path(asked.into or stack.enter_context(scratch())).absolute()
        if any(run.folder.resolve() == (into / run.folder.name).resolve() for run in chosen):
            raise UserError(f"--into {asked.into}: the runs themselves are there; take another folder")
        found = reproduce(chosen, into, ["rnnlab", "reproduce", *argv], asked.rtol, asked.trust)
        for entry in found:
            entry["run"] = names.get(Path(entry["run"]), entry["run"])
    if asked.json:
        say(*json.dumps(found, indent=2).splitlines())
    else:
        show(found, asked.into)
    return max(entry["exit_code"] for entry in found) if all(e["verdict"] != "failed" for e in found) else 1


def inside(opened: Path, name: Path, asked: str) -> Path:
    """The run of this name in an archive's folder, or the folder. Raises UserError if there is no such run."""
    from rnnlab.runs.run import runs, silently

    there = {run.folder.name: run.folder for run in runs(opened, silently)}
    if str(name) != "." and str(name) not in there:
        raise UserError(f"{asked}: the archive holds no such run.{nearest(str(name), there)}")
    return there.get(str(name), opened)


def reproduce(
    chosen: list[Any], into: Path, command: list[str], rtol: float, trust: bool
) -> list[dict[str, Any]]:
    """Trains runs again in `into`; returns the verdict for each, and the differences between then and now."""
    from rnnlab.reproduce.retrain import train_again
    from rnnlab.reproduce.sample import train_all

    if len(chosen) == 1:
        pairs = [(chosen[0], train_again(chosen[0], into, command, trust), "")]
    else:
        pairs = train_all(chosen, into, command, trust)

    from rnnlab.reproduce.differences import manifests
    from rnnlab.reproduce.verdict import judge

    found = []
    for original, again, why in pairs:
        differ = manifests(original.manifest, again.manifest)
        entry: dict[str, Any] = {"run": str(original.folder), "differs": differ}
        if why or again.status not in ENDED:
            entry |= {"verdict": "failed", "why": [why or str(again.status)], "exit_code": 1}
        else:
            verdict = judge(original, again, rtol)
            entry |= {"verdict": verdict.word, "why": verdict.why, "exit_code": verdict.exit_code}
        found.append(entry)
    return found


def show(found: list[dict[str, Any]], into: str | None) -> None:
    from rnnlab.reproduce.differences import PARTS

    for entry in found:
        say(f"{entry['verdict']:12} {entry['run']}")
        for line in entry["why"]:
            say(f"{'':12} {line}")
        same, differs = [part for part in PARTS if part not in entry["differs"]], entry["differs"]
        say(f"{'':12} then -> now")
        for part, lines in differs.items():
            for i, line in enumerate(lines):
                say(f"{'':12}   {'' if i else part:10}{line}")
        if same:
            say(f"{'':12}   {'the same':10}{', '.join(same)}")
    if len(found) > 1:
        words = [entry["verdict"] for entry in found]
        say(", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)))
    if into:
        say(f"trained in   {into}")
