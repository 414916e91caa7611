"""`rnnlab evaluate`: a run's metrics beside baselines and floor, on its own data or on new data.

rnnlab evaluate RUN                          the test part (without one, the validation part)
rnnlab evaluate RUN data.path=new.csv        a new file as a whole, in the scale of the run
rnnlab evaluate RUN --split val data.seed=7  a part of other data of the same kind
rnnlab evaluate RUN --by step                a forecaster's errors by step ahead, by target or by series
rnnlab evaluate RUN --backtest 5             from five origins, one after the other; it is not trained again
"""

import argparse
import json
from typing import Any

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError, nearest
from rnnlab.terminal.screen import say

SPLITS = ("train", "val", "test", "all")
BY = ("step", "target", "series")


def main(argv: list[str]) -> int | None:
    parser = Arguments(
        prog="rnnlab evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument(
        "overrides", nargs="*", metavar="data.KEY=VALUE", help="other data than the run's own"
    )
    parser.add_argument("--split", metavar="|".join(SPLITS), help="which part; all takes them as one")
    parser.add_argument("--by", metavar="|".join(BY), help="a forecaster's errors apart")
    parser.add_argument(
        "--backtest", type=int, metavar="N", help="a forecaster's errors from N origins in turn"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--trust", action="store_true", help="load a run made with code outside rnnlab")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.split not in (None, *SPLITS):
        raise UserError(f"--split {arguments.split}: no such part.{nearest(arguments.split, SPLITS)}")

    if arguments.by not in (None, *BY):
        raise UserError(f"--by {arguments.by}: no such way.{nearest(arguments.by, BY)}")
    if arguments.backtest is not None and arguments.backtest < 1:
        raise UserError(f"--backtest {arguments.backtest}: must be at least 1")
    if arguments.by and arguments.backtest:
        raise UserError("--by and --backtest: one at a time")

    found = assess(
        arguments.run,
        arguments.overrides,
        arguments.split,
        arguments.trust,
        arguments.by,
        arguments.backtest or 0,
    )
    if arguments.json:
        say(*json.dumps(found, indent=2).splitlines())
    else:
        show(found)
    return None


def assess(
    folder: str,
    overrides: list[str],
    split: str | None,
    trust: bool = False,
    by: str | None = None,
    origins: int = 0,
) -> dict[str, Any]:
    """A run's best weights on a part of its own or other data; `split` None: as the command's help says.

    `by` or `origins` adds a `breakdown`, as `rnnlab.tasks.breakdown` has it.

    Raises UserError for a run, an override or a part that is not there.
    """
    from rnnlab.runs.data import load_data
    from rnnlab.runs.load import load_model
    from rnnlab.runs.run import Run
    from rnnlab.tasks import Forecaster, Task
    from rnnlab.tasks.breakdown import breakdown, spread
    from rnnlab.tasks.evaluation import evaluate

    run = Run.open(folder)
    task = load_model(run, trust)
    apart: Any = by or ("origin" if origins else None)
    if apart and not isinstance(task, Forecaster):
        raise UserError(
            f"{run.folder} holds a {type(task).__name__}; only a Forecaster's errors can be taken apart"
        )
    if not isinstance(task, Task):
        return assess_plain(run, task, overrides, split, trust)
    new_file = any(o.lstrip("+").startswith(("data.path=", "data.corpus=")) for o in overrides)
    whole = split == "all" or (split is None and new_file)
    if new_file and whole and run.config["data"].get("limit") is not None:  # it cut the run's own text
        limited = any(o.lstrip("+").startswith("data.limit=") for o in overrides)
        overrides = overrides if limited else [*overrides, "data.limit=null"]
    data = load_data(run, task.spec, overrides, whole=whole, trust=trust)
    for remark in getattr(data, "remarks", []):
        say(remark, error=True)
    part: Any = "test" if whole or split is None else split
    if split is None and data.loader(part) is None:
        part = "val"
    batches = data.loader(part)
    if batches is None:
        raise UserError(f"--split {'all' if whole else part}: there is nothing in it to evaluate on")
    if new_file and whole:
        learned_from(run, task, data)
    more: dict[str, Any] = {}
    if apart and isinstance(task, Forecaster):
        table = breakdown(task, data, part, apart, origins)
        more = {"by": apart, "breakdown": table | (spread(table) if origins else {})}
    return more | {
        "run": str(run.folder),
        "step": run.results.get("best", {}).get("step"),
        "split": "all" if whole else part,
        "data": {"content_hash": data.content_hash, "overrides": overrides},
        "metrics": evaluate(task, batches),
        "baselines": data.baselines(part),
        "floor": data.floor(part),
        "facts": data.facts(part),
    }


def assess_plain(
    run: Any, module: Any, overrides: list[str], split: str | None, trust: bool
) -> dict[str, Any]:
    """What `assess` gives, of a LightningModule of the user's own: what its test or validation logs."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.utilities.model_helpers import is_overridden

    from rnnlab.runs.data import load_data
    from rnnlab.training.generators import Generators, gives
    from rnnlab.training.quiet import quiet

    if split in ("train", "all"):
        raise UserError(f"--split {split}: {type(module).__name__} has steps for val and test alone")
    data = load_data(run, {}, overrides, trust=trust)
    steps = {"test": "test_step", "val": "validation_step"}
    possible = [
        part
        for part, step in steps.items()
        if gives(data, f"{part}_dataloader") and is_overridden(step, module)
    ]
    if not possible or (split and split not in possible):
        raise UserError(
            f"--split {split or 'test'}: {type(module).__name__} and {type(data).__name__} have "
            f"{' and '.join(possible) or 'neither val nor test'}"
        )
    part = split or possible[0]
    best = run.results.get("best", {}).get("step")
    Generators(run.config["seed"], run.results.get("steps") if part == "test" else best).wrap(data)
    with quiet():
        trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
                          enable_model_summary=False)  # fmt: skip
        run_part = trainer.test if part == "test" else trainer.validate
        run_part(module, datamodule=data, verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items()}
    knows = {
        key: getattr(data, key)(part) if hasattr(data, key) else {} for key in ("baselines", "floor", "facts")
    }
    content = {"content_hash": getattr(data, "content_hash", None), "overrides": overrides}
    return {"run": str(run.folder), "step": best, "split": part, "data": content, "metrics": found, **knows}


def learned_from(run: Any, task: Any, data: Any) -> None:
    """For a new text: its n-gram baselines count the one that the run learned from, if it is still there."""
    from rnnlab.data import Chars
    from rnnlab.runs.data import load_data

    if isinstance(data, Chars):
        try:
            data.count(load_data(run, task.spec))
        except UserError as error:
            say(
                f"without n-grams: the text that the run learned from cannot be read ({error})",
                error=True,
            )


def show(found: dict[str, Any]) -> None:
    from rnnlab.terminal.run import Row, console, number, score_table

    split, metrics = found["split"], dict(found["metrics"])
    if len(metrics) > 1:
        metrics.pop("loss", None)
    title = {"train": "training", "val": "validation", "test": "test", "all": "all"}[split]
    step = "" if found["step"] is None else f", step {found['step']:,}"
    rows: list[Row] = [(f"the run{step}", {split: metrics}, "bold")]
    rows += [(name, {split: scores}, "dim") for name, scores in found["baselines"].items()]
    if found["floor"]:
        rows.append(("floor", {split: found["floor"]}, "dim"))
    console.print(score_table({title: split}, list(metrics), rows))
    if "breakdown" in found:
        table = found["breakdown"]
        names = list(next(iter(table.values()))["mse"])
        lines: list[Row] = [
            (label, row, "bold" if label in ("mean", "std") else "") for label, row in table.items()
        ]
        console.print()
        console.print(f"by {found['by']}", highlight=False)
        console.print(score_table({"mse": "mse", "mae": "mae"}, names, lines))
    facts = dict(found["facts"])
    if (noise := facts.get("realised_noise")) and "mse" in metrics:
        facts["mse over realised noise"] = metrics["mse"] / noise
    for name, value in facts.items():
        console.print(
            f"{name.replace('_', ' ')}: {number(value) if isinstance(value, float) else f'{value:,}'}"
        )
