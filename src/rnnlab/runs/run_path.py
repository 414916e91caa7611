"""A run's folder and id, from its config alone."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rnnlab.config.checked import RunConfig
from rnnlab.runs.identity import differences, digest, label, leaves, named, pieces


class Place(NamedTuple):
    """A run's folder, its id, and what it shares with the runs that differ from it by their seed alone."""

    folder: Path  # outputs/<experiment>/<what differs>-<id>
    id: str
    group: str  # the id without the seed
    label: str  # what differs from the experiment, without the seed; "" where nothing does


class Common(NamedTuple):
    """What one part of a config adds to the id of a run's group, and to its name, whatever the seed."""

    pieces: tuple[tuple[str, str], ...]  # see `rnnlab.runs.identity.pieces`
    groups: tuple[str, ...]  # see `rnnlab.runs.identity.differences`
    keys: tuple[str, ...]


class Part(NamedTuple):
    """What one part of a config adds to a run's id, and the rest, which runs of other seeds have in common with it."""

    pieces: dict[str, str]
    common: Common


def part(decisive: dict[str, Any], base: dict[str, Any], chosen: dict[str, Any], seed: Any) -> Part:
    """Of some keys of what decides a run's numbers; `base` and `chosen` as `place` takes them."""
    groups, keys = differences(leaves(decisive), base, chosen, seed)
    seedless_pieces = tuple(pieces(seedless(decisive, seed)).items())
    return Part(pieces(decisive), Common(seedless_pieces, tuple(groups), tuple(keys)))


def place(
    config: RunConfig,
    decisive: dict[str, Any],
    base: dict[str, Any],
    chosen: dict[str, Any] | None = None,
) -> Place:
    """`decisive` is what decides the numbers of `config`; `base` the `leaves` of the same of its experiment as it
    stands, and `chosen` of the experiment with the groups that were chosen (`base` where none was).
    """
    # what `auto` came to differs from machine to machine, and is no choice of the run's
    base = base | {"trainer.accelerator": config["trainer"]["accelerator"]}
    seed = decisive.get("seed", 0)
    whole = part(decisive, base, base if chosen is None else chosen, seed)
    return assembled(
        [whole], *together([whole.common]), Path(config["paths"]["outputs"]) / config["name"], seed
    )


def together(parts: Sequence[Common]) -> tuple[str, str]:
    """A run's group and label, from the parts of its config in their order."""
    words = [word for one in parts for word in one.groups] + [word for one in parts for word in one.keys]
    return digest(dict(piece for one in parts for piece in one.pieces)), label(words)


def assembled(parts: Iterable[Part], group: str, said: str, experiment: Path, seed: Any) -> Place:
    """A run's place in its experiment's folder. `group` and `said` are those of its parts (`together`)."""
    found: dict[str, str] = {}
    for one in parts:
        found.update(one.pieces)
    identifier = digest(found)
    return Place(experiment / f"{named(said, seed)}-{identifier}", identifier, group, said)


def settled(where: Place) -> Place:
    """The place of a run whose folder may have been named by an earlier version: its id is what it is found by."""
    with suppress(OSError):  # a path that cannot be is refused where the folder is made
        if not where.folder.exists():
            for record in sorted(where.folder.parent.glob(f"*-{where.id}/run.json")):
                return where._replace(folder=record.parent)
    return where


def seedless(decisive: dict[str, Any], seed: Any) -> dict[str, Any]:
    """Without the seed, and without what follows it (`data.seed`)."""
    kept = {k: v for k, v in decisive.items() if k != "seed"}
    for key, node in kept.items():
        if isinstance(node, dict) and "seed" in node and node["seed"] == seed:
            kept[key] = {k: v for k, v in node.items() if k != "seed"}
    return kept
