"""Computes a run's folder and id from its config."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rnnlab.config.run_config import RunConfig
from rnnlab.runs.identity import differences, digest, label, leaves, named, pieces


class Place(NamedTuple):
    """A run's folder and id, and the group and label that it shares with the same run of other seeds."""

    folder: Path  # outputs/<experiment>/<what differs>-<id>
    id: str
    group: str  # the id without the seed
    label: str  # the differences to the experiment, without the seed; "" where there are none


class Common(NamedTuple):
    """What one part of a config adds to the group's id and to the run's name, independent of the seed."""

    pieces: tuple[tuple[str, str], ...]  # see `rnnlab.runs.identity.pieces`
    groups: tuple[str, ...]  # see `rnnlab.runs.identity.differences`
    keys: tuple[str, ...]


class Part(NamedTuple):
    """What one part of a config adds to a run's id (`pieces`), and what it shares with other seeds (`common`)."""

    pieces: dict[str, str]
    common: Common


def part(decisive: dict[str, Any], base: dict[str, Any], chosen: dict[str, Any], seed: Any) -> Part:
    """The part of some keys of `decisive`; `base` and `chosen` as in `place`."""
    groups, keys = differences(leaves(decisive), base, chosen, seed)
    seedless_pieces = tuple(pieces(seedless(decisive, seed)).items())
    return Part(pieces(decisive), Common(seedless_pieces, tuple(groups), tuple(keys)))


def place(
    config: RunConfig, decisive: dict[str, Any], base: dict[str, Any], chosen: dict[str, Any] | None = None
) -> Place:
    """The place of the run of `config`.

    `decisive`: the part of `config` that decides numbers (`rnnlab.config.deciding`). `base`: the `leaves` of the same
    part of its experiment without overrides. `chosen`: those of its experiment with the chosen groups only (default:
    `base`).
    """
    # the accelerator that `auto` chose depends on the machine, and must not count as a difference
    base = base | {"trainer.accelerator": config["trainer"]["accelerator"]}
    seed = decisive.get("seed", 0)
    whole = part(decisive, base, base if chosen is None else chosen, seed)
    return assembled(
        [whole], *group_and_label([whole.common]), Path(config["paths"]["outputs"]) / config["name"], seed
    )


def group_and_label(parts: Sequence[Common]) -> tuple[str, str]:
    """A run's group and label, from the parts of its config, in the order of the config."""
    words = [word for one in parts for word in one.groups] + [word for one in parts for word in one.keys]
    return digest(dict(piece for one in parts for piece in one.pieces)), label(words)


def assembled(parts: Iterable[Part], group: str, said: str, experiment: Path, seed: Any) -> Place:
    """A run's place in the folder `experiment`. `group` and `said` (the label) come from `group_and_label`."""
    found: dict[str, str] = {}
    for one in parts:
        found.update(one.pieces)
    identifier = digest(found)
    return Place(experiment / f"{named(said, seed)}-{identifier}", identifier, group, said)


def with_existing_folder(where: Place) -> Place:
    """The place with the folder that exists: an earlier version may have given it another name, with the same id."""
    with suppress(OSError):  # an invalid path is refused when the folder is made
        if not where.folder.exists():
            for record in sorted(where.folder.parent.glob(f"*-{where.id}/run.json")):
                return where._replace(folder=record.parent)
    return where


def seedless(decisive: dict[str, Any], seed: Any) -> dict[str, Any]:
    """`decisive` without the seed, and without keys that equal it (`data.seed`)."""
    kept = {k: v for k, v in decisive.items() if k != "seed"}
    for key, node in kept.items():
        if isinstance(node, dict) and "seed" in node and node["seed"] == seed:
            kept[key] = {k: v for k, v in node.items() if k != "seed"}
    return kept
