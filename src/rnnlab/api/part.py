"""The part of a run's own data, or of other data, that is evaluated, predicted or forecast."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rnnlab.errors import UserError, counted, nearest, warn
from rnnlab.runs.data import changed, refuse_given
from rnnlab.runs.run import Run
from rnnlab.runs.sources import changed_code, files, foreign_targets, sources

SPLITS = ("train", "val", "test", "all")
NAMING = ("data.path=", "data.corpus=")
TITLES = {"train": "training", "val": "validation", "test": "test", "all": "all"}


def names_data(overrides: Sequence[str]) -> bool:
    """Whether the overrides name a file or a corpus."""
    return any(o.lstrip("+").startswith(NAMING) for o in overrides)


def is_new(run: Run, overrides: Sequence[str]) -> bool:
    """Whether the overrides name another file or corpus than the run's. A file with the same bytes in another place is
    the run's own. Raises UserError for a corpus beside a path, which would be read instead.
    """
    named = [o for o in overrides if o.lstrip("+").startswith(NAMING)]
    if not named:
        return False
    refuse_given(run, named, False)
    ours, theirs = run.config["data"], changed(run.config, named)["data"]
    corpus = next((o for o in named if o.lstrip("+").startswith("data.corpus=")), "")
    if corpus and theirs.get("path") is not None:
        raise UserError(
            f"{corpus}: data.path={theirs['path']} would be read instead; leave out one of the two"
        )
    at = "data.path"
    before = [v for k, v in run.manifest.get("files", {}).items() if k == at or k.startswith(f"{at}.")]
    now = [*files({"data": {"path": theirs.get("path")}}).values()]
    if before or now:
        if now and sorted(before) != sorted(now) and (known := set(now) & set(before)):
            warn(
                f"data.path: the text that the run was trained on contains {counted(len(known), 'file')} of these"
            )
        return sorted(before) != sorted(now)
    return any(ours.get(key) != theirs.get(key) for key in ("path", "corpus"))


def part(
    run: Run, task: Any, overrides: list[str], split: str | None, trust: bool
) -> tuple[Any, str, list[str]]:
    """The data for one of rnnlab's tasks, the part to evaluate, and the overrides, completed.

    Without a `split`, the part of a new file is the whole file ("all", which the data calls its test part); of other
    data it is the test part, or the validation part where the test part is empty.
    """
    from rnnlab.runs.data import load_data

    if split not in (None, *SPLITS):
        raise UserError(f"--split {split}: no such part.{nearest(str(split), SPLITS)}")
    new = is_new(run, overrides)
    whole = split == "all" or (split is None and new)
    if new and run.config["data"].get("limit") is not None:  # the run's limit is for its own text
        limited = any(o.lstrip("+").startswith("data.limit=") for o in overrides)
        overrides = overrides if limited else [*overrides, "data.limit=null"]
    data = load_data(run, task.spec, overrides, whole=whole, trust=trust)
    found: Any = "test" if whole or split is None else split
    if split is None and data.loader(found) is None:
        found = "val"
    others = tuple(f"the {name} part" for key, name in TITLES.items() if key != found)
    for remark in getattr(data, "remarks", []):
        if not remark.startswith(others):
            warn(remark)
    if split is None and not new and names_data(overrides):
        warn(
            f"the data named is that of the run: its {TITLES[found]} part is scored; --split all takes all of it"
        )
    elif split is None and not new and any(o.lstrip("+").startswith("data.val_path=") for o in overrides):
        warn(f"the {TITLES[found]} part of the run's own text is scored; --split val scores data.val_path")
    if data.loader(found) is None:
        raise UserError(f"--split {'all' if whole else found}: there is nothing in it to evaluate on")
    return data, "all" if whole else found, overrides


def warn_of_changed_code(run: Run, *sections: str) -> None:
    """Warns where rnnlab, torch or a module that these sections of the run's config name is not that of the training.

    The sections must have been loaded: looking for their modules may import the packages around them.
    """
    now, then = sources({name: run.config.get(name) for name in sections}), dict[str, dict[str, str]]()
    with suppress(UserError):  # a damaged manifest says nothing
        recorded = dict[str, Any](run.manifest)
        then = {key: {name: value for name, value in recorded.get(key, {}).items() if name in of}
                for key, of in now.items()}  # fmt: skip
    if then.get("sources") and (since := changed_code(then, now)):
        warn(f"since the training {', '.join(since)}: the numbers may differ")


def plain_part(
    run: Run, module: Any, overrides: list[str], split: str | None, trust: bool, predicting: bool = False
) -> tuple[Any, str, int | None, Any]:
    """For a user's own LightningModule: the data, the part to evaluate, the step of the best weights, and a Trainer
    that shows nothing. The data draws the random numbers that it drew in the training.
    """
    from lightning.pytorch import Trainer
    from lightning.pytorch.utilities.model_helpers import is_overridden

    from rnnlab.runs.data import load_data
    from rnnlab.training.generators import Generators, gives

    name = type(module).__name__
    if split in ("train", "all"):
        raise UserError(f"--split {split}: {name} has steps for val and test alone")
    data = load_data(run, {}, overrides, trust=trust)
    drawing = Generators(run.config["seed"], 0, foreign_targets(run.config))
    drawing.wrap(data, module)
    steps = {"test": "test_step", "val": "validation_step"}
    possible = [p for p in steps if gives(data, f"{p}_dataloader")
                and (predicting or is_overridden(steps[p], module))]  # fmt: skip
    if not possible or (split and split not in possible):
        parts = f"for {' and '.join(possible)} alone" if possible else "for neither val nor test"
        raise UserError(
            f"--split {split or 'test'}: {name} and {type(data).__name__} have steps and loaders {parts}"
        )
    found = split or possible[0]
    best = run.results.get("best", {}).get("step")
    drawing.steps = (run.results.get("steps") if found == "test" else best) or 0
    with quietly():
        trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
                          enable_model_summary=False)  # fmt: skip
    return data, found, best, trainer


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, Lightning says nothing about itself, and random numbers are those of the run."""
    from rnnlab.runs.generators import drawn_by_run
    from rnnlab.training.quiet import quiet

    with quiet(), drawn_by_run():
        yield


def as_trained(run: Run, task: Any) -> None:
    """Sets the native engine to the precision of the training, so that the metrics agree with the run's own."""
    if run.known.get("engine", {}).get("name") == "native":
        task.stack.precision = run.config["trainer"]["precision"]
