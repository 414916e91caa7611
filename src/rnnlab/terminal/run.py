"""What a run says in the terminal: what it is at the start, what came of it at the end."""

import math
import os
import re
import sys
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from rnnlab.config.building import locate
from rnnlab.errors import UserError, warn
from rnnlab.runs.run import Run
from rnnlab.terminal.console import Console, html
from rnnlab.terminal.html import folded
from rnnlab.terminal.screen import one_line
from rnnlab.training.display import About

# a file or a pipe has no width of its own; the tables need some
sized = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
console = Console(width=None if sized else 110)


def beginning(about: About) -> None:
    """What is about to train, and where its folder lies; folded, but for the last, in a notebook."""
    for remark in getattr(about.data, "remarks", []):
        warn(remark)
    for why in about.manifest.get("not_reproducible", ()):
        warn(f"not reproducible: {why}")
    resumed = "  (goes on from its last checkpoint)" if about.resumed else ""
    *lines, where = [*about_lines(about), f"run      {about.run.folder}{resumed}"]
    if console.block is not None:
        console.block.add(folded("config, parameters, engine", html(*lines)) + html(where))
        return
    for line in lines:
        console.print(line)
    console.print(where, soft_wrap=True)
    console.print()


def about_lines(about: About) -> list[Any]:
    """Config, parameters, device, engine, data."""
    data, engine, threads = about.data, about.manifest["engine"], about.manifest["threads"]["torch"]
    steps = "whole steps in C" if engine["steps"] == "native" else f"steps {engine['steps']}"
    if about.config["trainer"]["accelerator"] == "cpu":
        steps += f", {threads} thread{'s' * (threads != 1)}"
    content = f", content {data.content_hash[:12]}" if hasattr(data, "content_hash") else ""
    return [
        config_tree(about.config),
        parameter_table(about.task),
        f"device   {about.device}",
        f"engine   {engine['name']} ({engine['why']}); {steps}",
        f"data     {type(data).__name__}{content}",
        *(f"         {part}" for part in getattr(data, "parts_in_words", list)()),
    ]


def config_tree(config: dict[str, Any]) -> Tree:
    """The resolved config, without what is null or empty; config.yaml in the run's folder has it all."""
    tree = Tree(Text("config", "bold"), guide_style="dim")

    def text(node: dict[str, Any]) -> Text:
        said = {k: v for k, v in node.items() if not k.startswith("_") and v not in (None, "", [])}
        return Text("  ").join(
            Text.assemble((one_line(k), "dim"), f" {one_line(str(v).lower() if isinstance(v, bool) else v)}")
            for k, v in said.items()
            if not isinstance(v, dict)
        )

    tree.add(text(config))
    for group, node in config.items():
        if isinstance(node, dict):
            target = str(node.get("_target_", "")).rsplit(".", 1)[-1]
            branch = tree.add(Text.assemble((one_line(group), "bold"), f" {one_line(target)}"))
            inner = ((key, text(v)) for key, v in node.items() if isinstance(v, dict))
            for said in (text(node), *(Text.assemble(f"{one_line(key)}  ", v) for key, v in inner)):
                if said:
                    branch.add(said)
    return tree


def parameter_table(task: Any) -> Table:
    """Every parameter with its shape and size."""
    table = Table(title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name, justify in (("parameter", "left"), ("shape", "left"), ("numbers", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    total = 0
    for name, parameter in task.named_parameters():
        table.add_row(name, " x ".join(map(str, parameter.shape)), f"{parameter.numel():,}")
        total += parameter.numel()
    table.add_row("in all", "", f"{total:,}", style="bold")
    return table


def already_finished(run: Run, missing: list[str], changed: list[str]) -> None:
    """`missing`: callbacks asked for now, without which it was trained; `changed`: what makes the run stale."""
    if changed:
        console.print(f"{run.folder} is finished.", soft_wrap=True)
        warn(f"Since then {', '.join(changed)}: these results are of before; rerun=true trains it again.")
        warn("")
        end(run)
        return
    console.print(
        f"{run.folder} is finished, and nothing that decides its numbers has changed.", soft_wrap=True
    )
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
    """The table of results, where they lie, and what to do next."""
    if run.status == "stopped":
        console.print()
    for line in summary(run):
        console.print(line, soft_wrap=isinstance(line, str))
    for what, command in next_commands(run):
        console.print(f"{what:12} {command}", soft_wrap=True)


FEW = 200  # optimizer steps, below which a poor model may just not have been trained


def summary(run: Run) -> list[Any]:
    """What came of it, and where it lies."""
    found = [*outcome(run), "", f"run          {run.folder}"]
    for kind, folder in (("picture", run.figures), ("sample", run.samples)):
        found += [f"{kind:12} {file}" for file in (sorted(folder.glob("*")) if folder.is_dir() else ())]
    return found


def outcome(run: Run) -> list[Any]:
    """Why it is not finished, the table of results, and what to know of them."""
    record, found = run.record, list[Any]()
    if record["status"] == "stopped":
        found.append(
            f"Stopped ({record['why']}). What was learned is kept; the same command goes on from there."
        )
    elif record["status"] == "failed":
        found.append(f"Failed: {record.get('why', '')}")
    if run.results.get("best") or "test" in run.results:
        found.append(results_table(run))
    return found + facts(run)


PARTS = {"train": "training", "val": "validation", "test": "test"}
Row = tuple[str, dict[str, dict[str, float]], str]  # title, {part: {metric: value}}, style


def results_table(run: Run) -> Table | Group:
    metrics, rows = score_rows(run.results)
    measured = {part for _, scores, style in rows if style != "dim" for part in scores if scores[part]}
    return score_table({title: part for part, title in PARTS.items() if part in measured}, metrics, rows)


def score_rows(results: dict[str, Any]) -> tuple[list[str], list[Row]]:
    """The metrics of a run's results, and the rows of their table: the best, the last, baselines, the floor."""
    best, last = results.get("best"), results.get("last")
    if is_plain(results):
        return plain_rows(results)
    scores = {
        part: {k: v for k, v in results.get(part, {}).items() if k != "loss"} for part in ("train", "test")
    }
    rows: list[Row] = []
    if best and "value" not in best:
        rows.append((f"last, step {best['step']:,}", scores | {"val": metrics_of(best)}, "bold"))
        last = None
    elif best:
        rows.append((f"best, step {best['step']:,}", scores | {"val": metrics_of(best)}, "bold"))
    else:  # no step was taken
        rows.append(("untrained", scores, "bold"))
    if last:
        rows.append((f"last, step {last['step']:,}", {"val": metrics_of(last)}, ""))
    baselines, floor = results.get("baselines", {}), results.get("floor", {})
    for name in next(iter(baselines.values()), {}):
        rows.append((name, {part: found.get(name, {}) for part, found in baselines.items()}, "dim"))
    if any(floor.values()):
        rows.append(("floor", floor, "dim"))
    return list((best and metrics_of(best)) or scores["train"] or scores["test"]), rows


def is_plain(results: dict[str, Any]) -> bool:
    """Whether they are of a module of the user's own, which names its metrics as it likes."""
    measured = results.get("best", {}).get("metrics", {}) | results.get("last", {}).get("metrics", {})
    ours = results.get("train", {}) | results.get("test", {})
    return not any(name.startswith("metric/") for name in measured) and (bool(measured) or len(ours) < 2)


def plain_rows(results: dict[str, Any]) -> tuple[list[str], list[Row]]:
    best, last = results.get("best", {}), results.get("last", {})
    rows: list[Row] = []
    for word, at, more in (("best", best, results.get("test", {})), ("last", last, {})):
        if at:
            scores = by_part(at.get("metrics", {}), "val")
            for part, found in by_part(more, "test").items():
                scores[part] = scores.get(part, {}) | found
            rows.append((f"{word}, step {at['step']:,}", scores, "bold" if word == "best" else ""))
    names = [name for _, scores, _ in rows for found in scores.values() for name in found]
    return list(dict.fromkeys(names)), rows


def by_part(metrics: dict[str, float], otherwise: str) -> dict[str, dict[str, float]]:
    """Metrics by the part that their name says: loss/val, val_loss and val/loss are the loss of the validation part."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        words = re.split(r"[/_]", name)
        part = next((word for word in (words[0], words[-1]) if word in PARTS), None)
        if part is not None and len(words) > 1:
            name = name[len(part) + 1 :] if words[0] == part else name[: -len(part) - 1]
        found.setdefault(part or otherwise, {})[name] = value
    return found


def score_table(parts: dict[str, str], metrics: list[str], rows: list[Row]) -> Table | Group:
    """A column for each metric under each of `parts` (title: key), a line for each row.

    Where the terminal is too narrow for that, the parts stand below each other: a number is never cut.
    """
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    measured = {
        (part, metric)
        for _, scores, _ in rows
        for part, found in scores.items()
        for metric, value in found.items()
        if value is not None
    }
    columns = [
        (title, part, metric)
        for title, part in parts.items()
        for metric in metrics
        if (part, metric) in measured
    ]
    before = ""
    for title, _, metric in columns:
        heading = f"{title if title != before else ''}\n{one_line(metric)}"
        table.add_column(Text(heading), justify="right", no_wrap=True)
        before = title
    for title, scores, style in rows:
        if not any(scores.get(part) for part in parts.values()):
            continue
        cells = [number(scores.get(part, {}).get(metric)) for _, part, metric in columns]
        table.add_row(title, *cells, style=style)
    width = console.measure(table, options=console.options.update(max_width=1000)).maximum
    if width > console.width and len(parts) > 1:
        return Group(*(score_table({title: part}, metrics, rows) for title, part in parts.items()))
    return table


def metrics_of(at: dict[str, Any]) -> dict[str, float]:
    metrics = at["metrics"]
    named = {k.removeprefix("metric/"): v for k, v in metrics.items() if k.startswith("metric/")}
    return named or metrics


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"


def facts(run: Run) -> list[str]:
    """What a reader of the numbers should know besides."""
    results, lines = run.results, []
    for split, found in results.get("facts", {}).items():
        noise = found.get("realised_noise")
        if split == "test" and noise and "mse" in results.get("test", {}):
            lines.append(
                f"test mse over the realised noise of the test targets: {results['test']['mse'] / noise:.3f}"
            )
    scored = next((part for part in ("test", "val", "train") if part in results.get("baselines", {})), "")
    ours = results.get(scored, {}) or metrics_of(results.get("best") or {"metrics": {}})
    held = results.get("baselines", {}).get(scored, {}).get("persistence", {}).get("mse")
    if held is not None and ours.get("mse", 0.0) > held:
        lines.append(f"the last value held beats this model: its mse is {number(held)}")
        if 0 < (steps := results.get("steps", 0)) < FEW:
            lines.append(
                f"only {steps} optimizer steps were taken: trainer.max_epochs or a smaller data.batch_size gives more"
            )
    if (nats := results.get("test", {}).get("nats")) is not None:
        lines.append(f"test: {nats / math.log(2):.3f} bits per character")
    if (best := results.get("best")) and "value" not in best:
        lines.append("nothing was validated: these are the last weights, and no step is known to be the best")
    if "test" not in results and "val" in results.get("baselines", {}):
        lines.append("there is no test part: the best is quoted on the validation part that chose it")
    return lines


def plain_commands(run: Run) -> tuple[tuple[str, str], ...]:
    """For a module of the user's own: what measured nothing cannot be evaluated."""
    measured = run.results.get("test") or run.results.get("best", {}).get("metrics")
    return (("evaluate", "rnnlab evaluate {run}"),) if measured else ()


def next_commands(run: Run) -> list[tuple[str, str]]:
    """What to do with a run, each with its command; the task says what fits a finished one."""
    commands = [("TensorBoard", f"rnnlab board {quote(str(Path(run.folder).parent))}")]
    if run.status == "finished":
        try:
            task = locate(run.config["model"]["_target_"], "model")
        except UserError:  # the code that the run was made with has gone
            return commands
        fitting = getattr(task, "commands", None) or plain_commands(run)
        commands += [(what, command.replace("{run}", quote(str(run.folder)))) for what, command in fitting]
    return commands
