"""A run's folder and id, from its config alone."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rnnlab.runs.identity import delta, identity


class Place(NamedTuple):
    """A run's folder, its id, and what it shares with the runs that differ from it by their seed alone."""

    folder: Path  # outputs/<experiment>/<what differs>-<id>
    id: str
    group: str  # the id without the seed
    label: str  # what differs from the experiment, without the seed; "" where nothing does


def place(
    config: dict[str, Any],
    decisive: dict[str, Any],
    base: dict[str, Any],
    chosen: dict[str, Any] | None = None,
) -> Place:
    """`decisive` is what decides the numbers of `config`; `base` the `leaves` of the same of its experiment as it
    stands, and `chosen` of the experiment with the groups that were chosen (`base` where none was).
    """
    identifier = identity(decisive)
    # what `auto` came to differs from machine to machine, and is no choice of the run's
    base = base | {"trainer.accelerator": config["trainer"]["accelerator"]}
    name = delta(decisive, base, chosen)
    folder = Path(config["paths"]["outputs"]) / config["name"] / f"{name}-{identifier}"
    return Place(folder, identifier, identity(seedless(decisive)), name.rpartition("seed-")[0].rstrip("+"))


def settled(where: Place) -> Place:
    """The place of a run whose folder may have been named by an earlier version: its id is what it is found by."""
    with suppress(OSError):  # a path that cannot be is refused where the folder is made
        if not where.folder.exists():
            for record in sorted(where.folder.parent.glob(f"*-{where.id}/run.json")):
                return where._replace(folder=record.parent)
    return where


def seedless(decisive: dict[str, Any]) -> dict[str, Any]:
    """Without the seed, and without what follows it (`data.seed`)."""
    seed, kept = decisive.get("seed"), {k: v for k, v in decisive.items() if k != "seed"}
    for key, node in kept.items():
        if isinstance(node, dict) and "seed" in node and node["seed"] == seed:
            kept[key] = {k: v for k, v in node.items() if k != "seed"}
    return kept
