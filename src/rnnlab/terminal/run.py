"""The messages after a run: its results, its folder, and the next commands."""

import math
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from rnnlab.config.building import locate
from rnnlab.config.permitted import LISTED
from rnnlab.errors import UserError, counted, warn
from rnnlab.report.comparability import limits
from rnnlab.runs.ownership import is_own
from rnnlab.runs.record import EARLY, ENDED
from rnnlab.runs.run import Run
from rnnlab.terminal.scores import PARTS, console, metrics_of, number, results_table


def already_finished(run: Run, missing: list[str], changed: list[str]) -> None:
    """Reports a run that had finished before. `missing`: callbacks of this command that it was trained without;
    `changed`: what makes the run stale.
    """
    if changed:
        console.print(f"{run.folder} is finished.", soft_wrap=True)
        warn(f"Since then {', '.join(changed)}: these are the old results; rerun=true trains it again.")
        warn("")
        end(run)
        return
    how = "is finished" if run.status != EARLY else f"was {EARLY}"
    console.print(f"{run.folder} {how}, and nothing that decides its numbers has changed.", soft_wrap=True)
    if missing:
        console.print(
            f"It was trained without {', '.join(missing)}: rerun=true trains it again with them, to the same numbers.",
            soft_wrap=True,
        )
    else:
        seed = (run.config.get("seed") or 0) + 1
        console.print(f"Train it again with rerun=true, or another one with seed={seed}.")
    console.print()
    end(run)


def end(run: Run) -> None:
    """Prints the table of results, the folder, and the next commands."""
    if run.status == "stopped":
        console.print()
    for line in summary(run):
        console.print(line, soft_wrap=isinstance(line, str))
    for what, command in next_commands(run):
        console.print(f"{what:12} {command}", soft_wrap=True)


FEW = 200  # optimizer steps; after fewer, a poor result may only mean too little training


def summary(run: Run) -> list[Any]:
    """The results and the folder of a run; the two most important lines come first."""
    head = [f"{'result':12} {line}" for line in filter(None, [headline(run)])]
    found = [*head, f"{'run':12} {run.folder}", "", *outcome(run), ""]
    for kind, files in (("picture", run.figures.glob("*")), ("sample", run.samples.glob("*.txt"))):
        found += [f"{kind:12} {file}" for file in sorted(files)]
    return found


def outcome(run: Run) -> list[Any]:
    """Why the run is not finished, the table of results, and remarks."""
    record, found = run.record, list[Any]()
    if record["status"] == EARLY:
        found.append(f"Stopped early by {record['why']}, before its limit: `rerun=true` trains it again.")
    elif record["status"] == "stopped":
        found.append(
            f"Stopped ({record['why']}). What was learned is kept; the same command goes on from there."
        )
    elif record["status"] == "failed":
        found.append(f"Failed: {record.get('why', '')}")
    if run.results.get("best") or "test" in run.results:
        found.append(results_table(run))
    return found + facts(run)


def facts(run: Run) -> list[str]:
    """Remarks for a reader of the numbers."""
    results, lines = run.results, []
    for split, found in results.get("facts", {}).items():
        noise = found.get("realised_noise")
        if split == "test" and noise and "mse" in results.get("test", {}):
            lines.append(
                f"test mse over the realised noise of the test targets: {results['test']['mse'] / noise:.3f}"
            )
    scored = next((part for part in ("test", "val", "train") if part in results.get("baselines", {})), "")
    ours = {"test": results.get("test"), "train": results.get("train")}.get(scored)
    ours = ours or metrics_of(results.get("best") or {"metrics": {}})
    held = results.get("baselines", {}).get(scored, {}).get("persistence", {}).get("mse")
    if held is not None and ours.get("mse", 0.0) > held:
        lines.append(f"persistence (the last value repeated) beats this model: its mse is {number(held)}")
        if 0 < (steps := results.get("steps", 0)) < FEW:
            lines.append(
                f"only {counted(steps, 'optimizer step')} {'was' if steps == 1 else 'were'} taken: trainer.max_epochs "
                "or a smaller data.batch_size gives more"
            )
    if (nats := results.get("test", {}).get("nats")) is not None:
        lines.append(f"test: {nats / math.log(2):.3f} bits per character")
    if (best := results.get("best")) and "value" not in best:
        lines.append("nothing was validated: these are the last weights, and no step is known to be the best")
    if any(results.get("baselines", {}).values()) and (limited := limits(run.config)):
        said = ", ".join(f"trainer.{key}={value}" for key, value in limited.items() if key != "batch_size")
        lines.append(
            f"{said}: the model's scores are on those batches only, those of baselines and the floor on whole parts"
        )
    if "test" not in results and "val" in results.get("baselines", {}):
        lines.append("there is no test part: the best is quoted on the validation part that chose it")
    return lines


def headline(run: Run) -> str:
    """The test score (else the validation score) compared with the best baseline and the floor; "" without a score."""
    from rnnlab.report.statistics import GREATER

    results = run.results
    baselines, floors = results.get("baselines", {}), results.get("floor", {})
    ours = {"test": {k: v for k, v in results.get("test", {}).items() if k != "loss"},
            "val": metrics_of(results["best"]) if results.get("best") else {}}  # fmt: skip
    part = next((part for part in ours if ours[part]), "")
    if not part:
        return ""
    metric, value = next(iter(ours[part].items()))
    watched = str(results.get("best", {}).get("monitor", "")).removeprefix("metric/")
    if part == "val" and watched in ours[part]:
        metric, value = watched, ours[part][watched]
    said = f"{PARTS[part]} {metric} {number(value)}"
    more_is_better = metric in GREATER
    beside = {name: scores[metric] for name, scores in baselines.get(part, {}).items() if metric in scores}
    if beside:
        best = (max if more_is_better else min)(beside, key=lambda name: beside[name])
        said += f", the best baseline {number(beside[best])} ({best})"
    if (floor := floors.get(part, {}).get(metric)) is not None:
        said += f", the floor {number(floor)}"
    return said


def plain_commands(run: Run) -> tuple[tuple[str, str], ...]:
    """The commands for a user-defined module; without measured metrics it cannot be evaluated."""
    measured = run.results.get("test") or run.results.get("best", {}).get("metrics")
    return (("evaluate", "rnnlab evaluate {run}"),) if measured else ()


def task_of(run: Run) -> Any:
    """The class of a run's model; None where it does not exist any more, or needs --trust (then it is not imported)."""
    model = run.config.get("model")
    target = str(model.get("_target_")) if isinstance(model, dict) else ""
    try:
        if target in LISTED["model"] or is_own(run, target):
            return locate(target, "model")
    except UserError:  # the class does not exist any more, or its module fails
        return None
    module, _, name = target.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def next_commands(run: Run) -> list[tuple[str, str]]:
    """(purpose, command) of the next commands for a run; the task's class gives those for a finished run."""
    commands = [("TensorBoard", f"rnnlab board {quote(str(Path(run.folder).parent))}")]
    if run.status in ENDED:
        if (task := task_of(run)) is None:
            return commands
        fitting = getattr(task, "commands", None) or plain_commands(run)
        commands += [(what, command.replace("{run}", quote(str(run.folder)))) for what, command in fitting]
    return commands
