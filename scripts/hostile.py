"""Fuzzes the files of a run's folder: `python scripts/hostile.py [every=1 only=WORD seed=0]`.

Every key of config.yaml, manifest.json and run.json of a finished forecaster and of a finished character model is
replaced by each of a list of hostile nodes, and hostile keys are added everywhere. Each such folder is then given to
evaluate, forecast or generate, unroll, Run.model, reproduce and resume= in a process of its own, whose audit hook stops
and reports what it may not do: run code from the folders, start a process, open a connection, write or remove
anything outside the new run's folder. Prints counts; exit code 1 where anything was done, or ended in a traceback.

every=N takes each N-th of the calls, only=characters those whose names have that word.
"""

import contextlib
import copy
import hashlib
import io
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SMALL = ("model.hidden_size=4", "model.engine=torch", "trainer.threads=1", "trainer.accelerator=cpu",
         "logger=[tensorboard,csv]", "callbacks=early_stopping", "~callbacks.progress", "~callbacks.pictures",
         "+callbacks.stock._target_=lightning.pytorch.callbacks.ModelCheckpoint",
         "+callbacks.rates._target_=lightning.pytorch.callbacks.LearningRateMonitor")  # fmt: skip
RUNS = {
    "series": ("experiment=sine", "data.n_points=200", "trainer.max_epochs=1", "scheduler=constant", *SMALL),
    "text": ("data=chars", "data.limit=3000", "data.segment=20", "data.batch_size=8", "trainer.max_epochs=1", *SMALL),
}  # fmt: skip
TRAP = "import os\nopen('BOOM', 'w').close()\nclass Trap:\n    pass\ndef run(**_):\n    pass\n"
SECONDS, BYTES = 20, 16 << 30  # that a call may take


class Call(NamedTuple):
    name: str  # the run, the file's key, the node, the command
    kind: str
    file: str
    key: tuple[Any, ...]
    node: Any
    command: str


def evil(victim: Path) -> dict[str, dict[str, Any]]:
    """Targets that would do harm, each with the arguments for it."""
    file, folder = str(victim / "thesis.txt"), str(victim)
    return {
        "system": {"_target_": "os.system", "command": "touch BOOM"},
        "popen": {"_target_": "subprocess.Popen", "args": ["touch", "BOOM"]},
        "exec": {"_target_": "builtins.exec", "_args_": ["open('BOOM','w')"]},
        "import": {"_target_": "importlib.import_module", "name": "trap"},
        "module": {"_target_": "trap.Trap"},
        "function": {"_target_": "trap.run"},
        "package": {"_target_": "outputs.evil.trap.Trap"},
        "rmtree": {"_target_": "shutil.rmtree", "path": folder},
        "through us": {"_target_": "rnnlab.training.train.shutil.rmtree", "path": folder},
        "ours": {"_target_": "rnnlab.training.checkpoints.WholeFiles.save_checkpoint", "self": None,
                 "checkpoint": {}, "path": file},
        "lightning's": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint._link_checkpoint",
                        "trainer": None, "filepath": file, "linkpath": folder},
        "attention": {"_target_": "torch.nn.attention._fa3.register_flash_attention_fa3", "module_path": "trap"},
        "by another path": {"_target_": "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
                            "dirpath": folder},
        "its folder": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": folder},
        "its name": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "filename": f"../../../..{file}"},
        "csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": folder},
        "board": {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "save_dir": "{run_folder}/../../v"},
        "hub": {"_target_": "torch.hub.load", "repo_or_dir": folder, "model": "x", "source": "local"},
        "load": {"_target_": "torch.load", "f": file, "weights_only": False},
        "lambda": {"_target_": "lightning.pytorch.callbacks.LambdaCallback",
                   "on_fit_start": {"_target_": "os.system", "command": "touch BOOM"}},
    }  # fmt: skip


def nodes(victim: Path) -> dict[str, Any]:
    """What a key is replaced by."""
    targets, system = evil(victim), evil(victim)["system"]
    return targets | {
        "partial": system | {"_partial_": True},
        "nested": {"a": {"b": [system]}},
        "in a list": [system, [system]],
        "in a class of ours": {"_target_": "rnnlab.data.Sine", "window": system},
        "a list of names": {"_target_": ["os.system"]},
        "a name": "os.system",
        "a name of a trap": "trap.Trap",
        "environment": "${oc.env:HOME}",
        "resolver": "${oc.create:{_target_:os.system}}",
        "missing": "???",
        "outside": str(victim / "thesis.txt"),
        "above": "../../../../victim",
        "a folder": str(victim),
        "address": "https://127.0.0.1:9/x",
        "another": "s3://bucket/x",
        "placeholder": "{run_folder}/../../victim",
        "attribute": "{epoch.__class__.__init__.__globals__}",
        "nul": "a\0b",
        "escape": "\x1b]0;x\x07\u202e",
        "long": "x" * 50_000,
        "empty": "",
        "minus": -1,
        "huge": 10**30,
        "nan": float("nan"),
        "true": True,
        "null": None,
        "no list": [],
        "no mapping": {},
        "deep": [[[[[[[[1]]]]]]]],
    }


ADDED = ("extra", "_args_", "_convert_", "_recursive_", "_partial_", "_target_")
ODD = ("environment", "outside", "above", "nul", "escape", "long", "minus", "huge", "true", "null", "no list",
       "no mapping", "deep", "system")  # fmt: skip


def places(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key, and of a hostile one in every mapping."""
    for key, value in tree.items():
        yield (*at, key)
        if isinstance(value, dict):
            yield from places(value, (*at, key))
    yield from ((*at, key) for key in ADDED if key not in tree)


def calls(runs: dict[str, Any], victim: Path) -> Iterator[Call]:
    for kind, run in runs.items():
        own = {"series": ["forecast"], "text": ["generate"]}[kind]
        for file, tree in (("config", run.config), ("manifest", run.manifest), ("run", run.record)):
            for key in places(tree):
                for word, node in nodes(victim).items():
                    if file != "config" and (
                        word not in ODD or key[0] in ("versions", "machine") or len(key) > 2
                    ):
                        continue
                    commands = ["reproduce", "resume"]
                    if file != "config" or key[0] == "data":
                        commands += ["evaluate", *(own if kind == "series" else [])]
                    elif key[0] in ("model", "seed"):
                        commands += ["evaluate", "model", "unroll", *own]
                    for command in commands:
                        name = f"{kind} {file}.{'.'.join(map(str, key))} {word} {command}"
                        yield Call(name, kind, file, key, node, command)


# ---------------------------------------------------------------------- a call in a process of its own


class Stopped(BaseException):
    """Of what a call may not do."""


def watched(case: Path, new: Path, found: list[str]) -> None:
    """From here on, what this process may not do is noted and stopped."""
    inside = (str(case), str(case.parents[1] / "work"))
    writes = {"os.rename": (0, 1), "os.remove": (0,), "os.mkdir": (0,), "os.rmdir": (0,), "os.symlink": (1,),
              "os.link": (1,), "os.truncate": (0,), "os.chmod": (0,), "shutil.rmtree": (0,),
              "shutil.move": (0, 1)}  # fmt: skip
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

    def outside(path: Any) -> bool:
        if isinstance(path, int):
            return False
        place = os.path.realpath(os.fsdecode(path))
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
                outside(given[i]) for i in writes[event]
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
    """Gives the folder to the command; its exit code."""
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
    words = {
        "evaluate": ["evaluate", run],
        "forecast": ["forecast", run, "--horizon=5", f"--csv={new / 'a.csv'}", f"--picture={new / 'a.png'}"],
        "generate": ["generate", run, "--prompt=the", "--length=3"],
        "unroll": ["unroll", run, "--input", "the" if call.kind == "text" else "0.1 0.2"],
        "reproduce": ["reproduce", run, f"--into={new / 'again'}"],
        "resume": ["train", f"resume={run}", "trainer.max_epochs=2", f"paths.outputs={new / 'outputs'}"],
    }
    return main(words[call.command])


def attempt(call: Call, run: Any, home: Path) -> tuple[str, str]:
    """(what came of the call, what it said): works, refused, traceback, stopped, or killed."""
    case = Path(tempfile.mkdtemp(dir=home / "cases"))
    folder, new = case / "outputs" / "evil" / run.folder.name, case / "new"
    new.mkdir()
    shutil.copytree(run.folder, folder)
    config, manifest, record = (copy.deepcopy(t) for t in (run.config, run.manifest, run.record))
    node: Any = {"config": config, "manifest": manifest, "run": record}[call.file]
    for key in call.key[:-1]:
        node = node[key]
    node[call.key[-1]] = call.node
    for place in (folder, folder.parent, folder.parents[1]):  # importable, if anything below were
        (place / "trap.py").write_text(TRAP)
        (place / "__init__.py").write_text("")
    if isinstance(manifest.get("sources"), dict):  # and known by its bytes
        digest = hashlib.sha256(TRAP.encode()).hexdigest()
        manifest["sources"] |= dict.fromkeys(("trap", "outputs.evil.trap"), digest)
    from rnnlab.runs.yaml import to_yaml

    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "run.json").write_text(json.dumps(record))
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        found: list[str] = []
        said, code = io.StringIO(), -1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
            signal.alarm(SECONDS)
            os.chdir(folder if zlib.crc32(call.name.encode()) % 2 else home / "work")
            os.environ["RNNLAB_DATA"] = str(new / "data")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
                watched(case, new, found)
                code = do(call, folder, new)
        except BaseException as error:
            print(f"Traceback: {type(error).__name__}: {error}", file=said)
        finally:
            lines = said.getvalue().strip().splitlines()
            what = (
                "works"
                if code in (0, 3, 4, 5)
                else "refused"
                if code in (1, 2) and "Traceback" not in said.getvalue()
                else "traceback"
            )
            what = "stopped" if found else what
            os.write(writing, json.dumps([what, (found or ["\n".join(lines)])[0][-1500:]]).encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as f:
        answer = f.read()
    os.waitpid(child, 0)
    if (case / "BOOM").exists() or list(case.rglob("BOOM")):
        answer = json.dumps(["stopped", "left BOOM"]).encode()
    shutil.rmtree(case, ignore_errors=True)
    what, said_last = json.loads(answer) if answer else ("killed", "out of time or memory")
    return what, said_last


def fuzz(every: int = 1, only: str = "", seed: int = 0, loud: bool = True) -> tuple[Counter[str], list[str]]:
    """Counts of what came of the calls, and a line for each that did what it may not or ended in a traceback."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # threads do not survive a fork
    import rnnlab

    counts: Counter[str] = Counter()
    bad: list[str] = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="rnnlab-hostile-") as name:
        home = Path(name).resolve()
        for folder in ("cases", "work", "victim"):
            (home / folder).mkdir()
        (home / "victim" / "thesis.txt").write_text("years of work")
        (home / "work" / "trap.py").write_text(TRAP.replace("import os", "import os  # not the manifest's"))
        with contextlib.redirect_stdout(io.StringIO()):
            runs = {
                kind: rnnlab.train(*asked, f"paths.outputs={home / 'mine'}") for kind, asked in RUNS.items()
            }
        asked = [call for call in calls(runs, home / "victim") if only in call.name]
        random.Random(seed).shuffle(asked)
        warm(runs, home)
        for i, call in enumerate(asked[::every]):
            what, said = attempt(call, runs[call.kind], home)
            counts[what] += 1
            if what not in ("works", "refused"):
                bad.append(f"{call.name}: {what}: {said}")
                print(bad[-1], flush=True)
            if loud and i % 500 == 499:
                print(f"{i + 1:,} of {len(asked[::every]):,} calls: {dict(counts)}", flush=True)
        assert (home / "victim" / "thesis.txt").read_text() == "years of work"
    os.chdir(before)
    return counts, bad


def warm(runs: dict[str, Any], home: Path) -> None:
    """Whatever is imported and built once, before processes are forked that may not."""
    said = io.StringIO()
    for kind, run in runs.items():
        for command in ("evaluate", "model", "unroll", "forecast" if kind == "series" else "generate",
                        "reproduce", "resume"):  # fmt: skip
            new = home / "warm" / kind
            new.mkdir(parents=True, exist_ok=True)
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = do(Call("", kind, "", (), None, command), run.folder, new)
            assert code == 0, (kind, command, said.getvalue())


def main() -> int:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    counts, bad = fuzz(int(options.get("every", 1)), options.get("only", ""), int(options.get("seed", 0)))
    print(f"{counts.total():,} calls: " + ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items())))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
