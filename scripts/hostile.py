"""Fuzzes the files of a run's folder: `python scripts/hostile.py [every=1 part=1/1 only=WORD seed=0]`.

Every key of config.yaml, manifest.json and run.json of a finished forecaster and of a finished character model is
replaced by each of a list of hostile nodes, and hostile keys are added everywhere. Each such folder is then passed to
evaluate, forecast or generate, unroll, Run.model, reproduce and resume=; to the command that trained the run and finds
this folder in its place ("again"); and, marked as stopped, to Run.resume. Each folder gets its own process. An audit
hook stops and reports forbidden actions: running code from the folders, starting a process, opening a connection,
writing or removing anything outside the new run's folder. After one, a new process continues with the remaining calls.
Prints counts; exit code 1 if anything forbidden happened, or a call ended with a traceback.

every=N takes each N-th call, part=1/8 the calls of an eighth of the folders, only=text those with that word in their
names. Parts with the same seed have no call in common.

Work that is equal in all calls is done once, before the processes are forked: imports, and Hydra's composition of the
command, which takes ten times as long as the rest of a refused call. One folder of 16 composes for itself, and one of 8
draws its pictures (all for keys of data).
"""

import contextlib
import copy
import functools
import gc
import hashlib
import io
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile_calls import RUNS, Call, calls
from options import parsed

TRAP = "import os\nopen('BOOM', 'w').close()\nclass Trap:\n    pass\ndef run(**_):\n    pass\n"
SECONDS, BYTES = 20, 16 << 30  # limits of a call
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a folder in memory, for speed
FINE = ("works", "refused")


# ---------------------------------------------------------------------- calls in a separate process


class Stopped(BaseException):
    """Raised at a forbidden action."""


def watched(case: Path, new: Path, found: list[str]) -> None:
    """From now on, forbidden actions of this process are recorded in `found` and stopped."""
    inside = (str(case), str(case.parents[1] / "work"))
    # {event: (index of a path in its arguments, index of the folder's descriptor for a relative path)}
    writes = {"os.rename": ((0, 2), (1, 3)), "os.remove": ((0, 1),), "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),),
              "os.symlink": ((1, 2),), "os.link": ((1, 3),), "os.truncate": ((0, None),), "os.chmod": ((0, 2),),
              "shutil.rmtree": ((0, 1),), "shutil.move": ((0, None), (1, None))}  # fmt: skip
    starts = (
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "pty.spawn",
    )
    nets = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind", "urllib.Request")

    def outside(path: Any, folder: Any = None) -> bool:
        if isinstance(path, int):
            return False
        place = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0:
            place = str(Path(f"/proc/self/fd/{folder}").readlink() / place)
        place = os.path.realpath(place)
        return not place.startswith(f"{new}{os.sep}") and place not in (str(new), os.devnull)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        said = ""
        if event == "open":
            path, _, flags = given
            writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            if path is not None and (flags or 0) & writing and outside(path):
                said = f"writes {path}"
        elif event in writes:
            if not (event == "os.mkdir" and Path(given[0]).is_dir()) and any(
                outside(given[path], None if folder is None or folder >= len(given) else given[folder])
                for path, folder in writes[event]
            ):
                said = f"{event} {given}"
        elif event in starts or event in nets:
            said = f"{event} {given[:2]}"
        elif event == "import" and given[0].split(".")[-1] in ("trap", "evil"):
            said = f"imports {given[0]}"
        elif event == "exec" and getattr(given[0], "co_filename", "").startswith(inside):
            said = f"runs {given[0].co_filename}"
        if said:
            found.append(said[:200])
            raise Stopped(said)

    sys.addaudithook(hook)


def do(call: Call, folder: Path, new: Path) -> int:
    """Runs the command on the folder; it may write to `new`. Returns its exit code."""
    import rnnlab
    from rnnlab.cli import main

    run = str(folder)
    if call.command == "model":
        try:
            rnnlab.load(run).model  # noqa: B018
        except rnnlab.UserError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    if call.command in ("again", "stopped"):
        place = new / call.command / call.kind / folder.name
        shutil.copytree(folder, place)
        if call.command == "again":
            return main(["train", *RUNS[call.kind], f"name={call.kind}", f"paths.outputs={new / 'again'}"])
        with contextlib.suppress(ValueError):
            record = json.loads((place / "run.json").read_text())
            if isinstance(record, dict) and call.key != ("status",):
                (place / "run.json").write_text(json.dumps(record | {"status": "stopped"}))
        try:
            rnnlab.load(str(place)).resume(quiet=True)
        except (rnnlab.UserError, rnnlab.RunFailed) as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    words = {
        "evaluate": ["evaluate", run],
        "forecast": ["forecast", run, "--horizon=5", f"--csv={new / 'a.csv'}", f"--picture={new / 'a.png'}"],
        "generate": ["generate", run, "--prompt=the", "--length=3"],
        "unroll": ["unroll", run, "--input", "the" if call.kind == "text" else "0.1 0.2"],
        "reproduce": ["reproduce", run, f"--into={new / 'reproduced'}"],
        "resume": ["train", f"resume={run}", "trainer.max_epochs=2", f"paths.outputs={new / 'outputs'}"],
    }
    return main(words[call.command])


def one_of(call: Call, n: int) -> bool:
    """True for one folder of n, always for the same folders."""
    return zlib.crc32(about(call).encode()) % n == 0


def draw_nothing() -> None:
    """Makes saved pictures empty, because drawing one takes longer than the rest of a call."""
    from matplotlib.figure import Figure

    Figure.savefig = lambda self, path, **_: Path(path).touch()  # type: ignore[method-assign,assignment]


def about(call: Call) -> str:
    """The call's name without its command; calls with the same such name share a folder."""
    return call.name.rpartition(" ")[0]


def place_of(case: Path, run: Any) -> Path:
    return Path(case / "outputs" / "evil" / run.folder.name)


def lay_out(call: Call, run: Any, case: Path) -> Path:
    """The hostile folder of a call."""
    from rnnlab.runs.yaml import to_yaml

    folder = place_of(case, run)
    (case / "new").mkdir(parents=True)
    shutil.copytree(run.folder, folder, copy_function=os.link)  # hard links: nothing may write there
    tree = {
        "config": run.config,
        "manifest": run.manifest | {"sources": knowing(run.manifest)},
        "run": run.record,
    }
    name = {"config": "config.yaml", "manifest": "manifest.json", "run": "run.json"}
    texts = {"manifest.json": json.dumps(tree["manifest"])}
    hostile = put(tree[call.file], call.key, call.node)
    texts[name[call.file]] = to_yaml(hostile) if call.file == "config" else json.dumps(hostile)
    for file, text in texts.items():
        (folder / file).unlink()
        (folder / file).write_text(text)
    for place in (folder, folder.parent, folder.parents[1]):  # importable, if anything below were
        (place / "trap.py").write_text(TRAP)
        (place / "__init__.py").write_text("")
    return folder


def knowing(manifest: Any) -> dict[str, str]:
    """The manifest's sources, and those of the traps."""
    digest = hashlib.sha256(TRAP.encode()).hexdigest()
    return dict(manifest["sources"]) | dict.fromkeys(("trap", "outputs.evil.trap"), digest)


def put(tree: Any, key: tuple[Any, ...], node: Any) -> Any:
    """The tree with another node at a key; other parts are shared."""
    return node if not key else {**tree, key[0]: put(tree.get(key[0]), key[1:], node)}


def attempt(asked: list[Call], run: Any, home: Path) -> list[tuple[str, str]]:
    """For each call (all of one folder): (result: works, refused, traceback, stopped or killed; message).

    One process does them in turn; after a bad result another process continues.
    """
    case = home / "cases" / "now"  # the same path in each call, so that Hydra's compositions can be reused
    folder, answers = lay_out(asked[0], run, case), list[tuple[str, str]]()
    while len(answers) < len(asked):
        reading, writing = os.pipe()
        child = forked(answer, asked[len(answers) :], folder, case, home, writing)
        os.close(writing)
        try:
            with os.fdopen(reading, "rb") as f:
                said = [tuple(json.loads(line)) for line in f]
        except KeyboardInterrupt:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            os.waitpid(child, 0)
        answers += said
        if not said or (len(answers) < len(asked) and said[-1][0] in FINE):
            answers.append(("killed", "out of time or memory"))
        shutil.rmtree(case / "new")
        (case / "new").mkdir()
    if list(case.rglob("BOOM")):
        answers = [("stopped", "left BOOM")] * len(asked)
    shutil.rmtree(case)
    return answers


def forked(work: Callable[..., None], *given: Any) -> int:
    """Forks a process that only does `work`; Ctrl-C at the terminal does not reach it.

    A Ctrl-C during the fork counts afterwards: Python ignores exceptions in what it runs around a fork.
    """
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        if (child := os.fork()) == 0:
            try:
                os.setpgid(0, 0)
                signal.signal(signal.SIGINT, before)
                work(*given)
            finally:
                os._exit(1)
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise KeyboardInterrupt
    return child


def answer(asked: list[Call], folder: Path, case: Path, home: Path, writing: int) -> None:
    """Does calls in a forked process: writes a line about each, up to the first bad result."""
    gc.disable()
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    os.environ["RNNLAB_DATA"] = str(case / "new" / "data")
    if one_of(asked[0], 16):
        compose_again()
    if asked[0].key[:1] != ("data",) and not one_of(asked[0], 8):
        draw_nothing()
    found: list[str] = []
    watched(case, case / "new", found)
    for call in asked:
        said, code = io.StringIO(), -1
        try:
            signal.alarm(SECONDS)
            os.chdir(folder if one_of(call, 2) else home / "work")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
                code = do(call, folder, case / "new")
        except BaseException as error:
            print(f"Traceback: {type(error).__name__}: {error}", file=said)
        finally:
            signal.alarm(0)
            is_traceback = "Traceback" in said.getvalue()
            what = (
                "works"
                if code in (0, 3, 4, 5)
                else "refused"
                if code in (1, 2) and not is_traceback
                else "traceback"
            )
            what = "stopped" if found else what
            words = found[0] if found else said.getvalue().strip()[-1500:]
            os.write(writing, json.dumps([what, words]).encode() + b"\n")
            if what not in FINE:
                os._exit(0)
    os._exit(0)


def compose_once() -> None:
    """From now on Hydra composes each command only once, for all forked processes."""
    from hydra._internal.hydra import Hydra

    made: dict[Any, Any] = {}

    @functools.wraps(composes := Hydra.compose_config)
    def remembered(self: Any, config_name: Any, overrides: Any, run_mode: Any, **rest: Any) -> Any:
        key = config_name, *overrides, run_mode, *sorted(rest.items())
        if key in made:
            return made.pop(key)
        made[key] = copy.deepcopy(composed := composes(self, config_name, overrides, run_mode, **rest))
        return composed

    Hydra.compose_config = remembered  # type: ignore[method-assign]


def compose_again() -> None:
    """Restores Hydra's normal composition."""
    from hydra._internal.hydra import Hydra

    Hydra.compose_config = Hydra.compose_config.__wrapped__  # type: ignore[method-assign,attr-defined]


def fuzz(
    every: int = 1, part: str = "1/1", only: str = "", seed: int = 0, loud: bool = True
) -> tuple[Counter[str], list[str]]:
    """Counts of the results, and a line for each call with a forbidden action or a traceback."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # threads do not survive a fork
    import rnnlab

    counts: Counter[str] = Counter()
    bad: list[str] = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="rnnlab-hostile-", dir=MEMORY) as name:
        home = Path(name).resolve()
        for folder in ("cases", "work", "victim"):
            (home / folder).mkdir()
        (home / "victim" / "thesis.txt").write_text("years of work")
        (home / "work" / "trap.py").write_text(TRAP.replace("import os", "import os  # not the manifest's"))
        with contextlib.redirect_stdout(io.StringIO()):
            runs = {
                kind: rnnlab.train(*asked, f"name={kind}", f"paths.outputs={home / 'mine'}")
                for kind, asked in RUNS.items()
            }
        asked = [call for call in calls(runs, home / "victim") if only in call.name]
        folders = [list(group) for _, group in itertools.groupby(asked, about)]
        random.Random(seed).shuffle(folders)
        this, _, parts = part.partition("/")
        asked = list(itertools.chain(*folders[int(this) - 1 :: int(parts)]))[::every]
        compose_once()
        warm(runs, home)
        if loud:
            print(f"{len(asked):,} calls to make", flush=True)
        gc.freeze()  # else the collector of a child would copy all shared memory
        for _, group in itertools.groupby(asked, about):
            together = list(group)
            for call, (what, said) in zip(
                together, attempt(together, runs[together[0].kind], home), strict=True
            ):
                counts[what] += 1
                if what not in FINE:
                    bad.append(f"{call.name}: {what}: {said}")
                    print(bad[-1], flush=True)
                if loud and counts.total() % 500 == 0:
                    print(f"{counts.total():,} of {len(asked):,} calls: {dict(counts)}", flush=True)
        assert (home / "victim" / "thesis.txt").read_text() == "years of work"
    os.chdir(before)
    return counts, bad


def warm(runs: dict[str, Any], home: Path) -> None:
    """Imports, builds and composes everything once, at the calls' paths, before processes are forked that may not do
    so.
    """
    said = io.StringIO()
    for kind, run in runs.items():
        case = home / "cases" / "now"
        folder = place_of(case, run)
        shutil.copytree(run.folder, folder)
        (case / "new").mkdir()
        for command in ("evaluate", "model", "unroll", "forecast" if kind == "series" else "generate",
                        "reproduce", "resume", "again", "stopped"):  # fmt: skip
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = do(Call("", kind, "", (), None, command), folder, case / "new")
            if code == 130:
                raise KeyboardInterrupt
            assert code == 0, (kind, command, said.getvalue())
        shutil.rmtree(case)


def main() -> int:
    options, _ = parsed(__doc__, sys.argv[1:], "every part only seed")
    try:
        counts, bad = fuzz(
            int(options.get("every", 1)),
            options.get("part", "1/1"),
            options.get("only", ""),
            int(options.get("seed", 0)),
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(f"{counts.total():,} calls: " + ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items())))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
