"""The cases of scripts/hostile.py: every key of a run's files, replaced by each of a list of hostile nodes."""

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


class Call(NamedTuple):
    name: str  # the run, the file's key, the node, the command
    kind: str
    file: str
    key: tuple[Any, ...]
    node: Any
    command: str


def evil(victim: Path) -> dict[str, dict[str, Any]]:
    """{name: arguments} of harmful targets."""
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
    """{name: node} of the nodes that replace a key."""
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


ADDED = ("extra", "_args_", "_convert_", "_recursive_", "_partial_", "_target_", "cell")
ODD = ("environment", "outside", "above", "nul", "escape", "long", "minus", "huge", "true", "null", "no list",
       "no mapping", "deep", "system")  # fmt: skip


def places(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key, and of an additional hostile key in every mapping."""
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
                    commands = ["reproduce", "resume", "again", "stopped", "evaluate"]
                    if file != "config" or key[0] != "data" or kind == "series":
                        commands += own
                    if file == "config" and key[0] in ("model", "seed"):
                        commands += ["model", "unroll"]
                    for command in commands:
                        name = f"{kind} {file}.{'.'.join(map(str, key))} {word} {command}"
                        yield Call(name, kind, file, key, node, command)
