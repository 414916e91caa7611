"""Describes a run that is about to train: in a few lines, or with the whole config and all parameters."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from rnnlab.config.run_config import RunConfig
from rnnlab.errors import warn
from rnnlab.terminal.console import html
from rnnlab.terminal.html import folded
from rnnlab.terminal.scores import console
from rnnlab.terminal.screen import one_line
from rnnlab.training.display import About

if TYPE_CHECKING:
    from torch import nn

VERBOSE = "RNNLAB_VERBOSE"  # set by `rnnlab train --verbose`


OBJECT = re.compile(r"\+*(?P<key>[\w.]+)=\{_target_:'?(?:\w+\.)*(?P<name>\w+)'?[,}].*", re.DOTALL)
NAMED = re.compile(r"key:'?\w+'?,what:'?(?P<name>\w+)")  # an object given to `rnnlab.train` (runs/objects.py)


def beginning(about: About) -> None:
    """Prints what is about to train, and its folder; in a notebook everything except the folder is folded."""
    for remark in getattr(about.data, "remarks", []):
        warn(remark)
    for why in about.manifest.get("not_reproducible", ()):
        warn(f"not reproducible: {why}")
    resumed = "  (goes on from its last checkpoint)" if about.resumed else ""
    where = f"run      {about.run.folder}{resumed}"
    if console.block is not None:
        whole = html(config_tree(about.config), parameter_table(about.task), *about_lines(about))
        console.block.add(folded("config, parameters, engine", whole) + html(where))
        return
    verbose = os.environ.get(VERBOSE, "") not in ("", "0")
    for line in (config_tree(about.config), parameter_table(about.task)) if verbose else short_lines(about):
        console.print(line, soft_wrap=isinstance(line, str))
    for line in about_lines(about):
        console.print(line)
    console.print(where, soft_wrap=True)
    console.print()


def short_lines(about: About) -> list[str]:
    """Two lines: the differences to the experiment's own config, and the model with its size."""
    asked = [o for o in about.overrides if not o.startswith(("experiment=", "name=", "paths."))]
    stands = next((o for o in about.overrides if o.startswith("experiment=")), "the default experiment")
    own = f"{stands} with {' '.join(map(shortened, asked))}" if asked else f"{stands} as it stands"
    model, task = about.config["model"], about.task
    named = [
        type(task).__name__,
        *(str(model[k]) for k in ("cell", "hidden_size") if model.get(k) is not None),
    ]
    layers = model.get("num_layers")  # anything, for a user-defined module
    size = f"{layers} layers, " if isinstance(layers, int) and layers > 1 else ""
    numbers = sum(p.numel() for p in task.parameters())
    return [
        f"config   {own}  (--verbose shows all of it)",
        f"model    {' '.join(named)}: {size}{numbers:,} parameters",
    ]


def shortened(override: str) -> str:
    """An override, with an object shortened to its class: model=Net(...) for `+model={_target_:'x.Net',width:3}`."""
    found = OBJECT.fullmatch(override)
    if found is None:
        return override
    what = NAMED.search(override) or found
    return f"{found['key']}={what['name']}(...)"


def about_lines(about: About) -> list[Any]:
    """Lines about device, engine and data."""
    data, engine, threads = about.data, about.manifest["engine"], about.manifest["threads"]["torch"]
    steps = "whole steps in C" if engine["steps"] == "native" else f"steps {engine['steps']}"
    if about.config["trainer"]["accelerator"] == "cpu":
        steps += f", {threads} thread{'s' * (threads != 1)}"
    content = f", content {data.content_hash[:12]}" if hasattr(data, "content_hash") else ""
    return [
        f"device   {about.device}",
        f"engine   {engine['name']} ({engine['why']}); {steps}",
        f"data     {type(data).__name__}{content}",
        *(f"         {part}" for part in getattr(data, "parts_in_words", list)()),
    ]


def config_tree(config: RunConfig) -> Tree:
    """The resolved config without null and empty values; config.yaml in the run's folder has all of it."""
    tree = Tree(Text("config", "bold"), guide_style="dim")

    def text(node: Mapping[str, Any]) -> Text:
        said = {k: v for k, v in node.items() if not k.startswith("_") and v not in (None, "", [])}
        return Text("  ").join(
            Text.assemble((one_line(k), "dim"), f" {one_line(str(v).lower() if isinstance(v, bool) else v)}")
            for k, v in said.items()
            if not isinstance(v, dict)
        )

    def lines(node: Mapping[str, Any], name: str = "") -> Iterator[Text]:
        yield Text.assemble(f"{one_line(name)}  ", text(node)) if name else text(node)
        for key, inner in node.items():
            if isinstance(inner, dict):
                yield from lines(inner, f"{name}.{key}" if name else key)

    tree.add(text(config))
    for group, node in config.items():
        if isinstance(node, dict):
            target = str(node.get("_target_", "")).rsplit(".", 1)[-1]
            branch = tree.add(Text.assemble((one_line(group), "bold"), f" {one_line(target)}"))
            for said in lines(node):
                if said:
                    branch.add(said)
    return tree


def parameter_table(task: "nn.Module") -> Table:
    """A table of all parameters with their shapes and sizes."""
    table = Table(title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name, justify in (("parameter", "left"), ("shape", "left"), ("numbers", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    total = 0
    for name, parameter in task.named_parameters():
        table.add_row(name, " x ".join(map(str, parameter.shape)), f"{parameter.numel():,}")
        total += parameter.numel()
    table.add_row("in all", "", f"{total:,}", style="bold")
    return table
