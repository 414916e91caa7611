"""Loads the data of a trained run again, or other data in its place."""

import copy
import inspect
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnlab.config import build
from rnnlab.config.data_schema import ALL_TEST
from rnnlab.config.dotted import value_at
from rnnlab.config.reading import read
from rnnlab.config.run_config import RunConfig, as_dict
from rnnlab.config.schema import between
from rnnlab.config.spelling import near_key
from rnnlab.config.texts import kept
from rnnlab.data.corpora import CORPORA
from rnnlab.errors import UserError, nearest, warn
from rnnlab.runs.generators import drawn_by_run, may_draw, seed_built, seed_setup
from rnnlab.runs.load import interpolations, permitted
from rnnlab.runs.objects import GIVEN
from rnnlab.runs.run import Run


def load_data(
    run: Run,
    spec: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    whole: bool = False,
    trust: bool = False,
) -> Any:
    """The run's data set, set up with the scale and the vocabulary in `spec`, which is the trained model's.

    `overrides` are `data.KEY=VALUE` in Hydra's grammar. With `whole` all data is the test part. Warns where the run's
    own data has changed since the training. Raises UserError for an unknown key, an invalid value, data that cannot be
    changed or taken as a whole, and data that does not fit the model.
    """
    refuse_given(run, overrides, whole)
    config = changed(run.config, overrides)
    if misfits := [
        message for key, message in between(read(copy.deepcopy(as_dict(config))).sound) if key == "model"
    ]:
        raise UserError(f"{run.folder}: {misfits[0]}")
    if not any(text.lstrip("+").startswith("data.folder=") for text in overrides):
        config["data"] = kept_here(config["data"])
    if whole:
        config["data"]["fractions"] = ALL_TEST
        cut = any(text.lstrip("+").startswith("data.split=") for text in overrides)
        if config["data"].get("_target_") == "rnnlab.data.Chars" and not cut:
            config["data"]["split"] = "text"  # as rows, a short text would be refused, a long one cut
    with permitted(run, {"data": config["data"]}, trust):
        if may_draw(config):  # as in the training
            with drawn_by_run():
                seed_built(config["seed"], {"data": config["data"]})
                data = build(config["data"], "data")
            seed_setup(data, config["seed"])
        else:
            data = build(config["data"], "data")
        try:
            if hasattr(data, "with_spec"):
                data.with_spec(spec)
            data.prepare_data()
            data.setup("test") if _takes_stage(data) else data.setup()
        except KeyError as error:
            if error.args[0] in spec:  # not a missing key of `spec`
                raise
            raise UserError(
                f"{run.folder}: its model was not trained on such data ({type(data).__name__}): it knows no {error}"
            ) from error
    if not overrides and not whole:
        _tell_change(run, getattr(data, "content_hash", None))
    return data


def refuse_given(run: Run, overrides: Sequence[str], whole: bool) -> None:
    """Raises UserError for changes of data that is an object of this process, or for all of a data set that has no
    `fractions`.
    """
    node = run.config.get("data")
    target = node.get("_target_") if isinstance(node, dict) else None
    if target == GIVEN and (whole or overrides):
        raise UserError(
            f"{run.folder}: its data was handed to rnnlab.train as an object, of which only the parts can be taken"
        )
    if whole and isinstance(node, dict) and "fractions" not in node and not str(target).startswith("rnnlab."):
        raise UserError(f"{run.folder}: its data has no data.fractions, and cannot be taken as one part")


def _tell_change(run: Run, now: str | None) -> None:
    """Warns where the content of a run's data is not that of the training; a damaged manifest says nothing."""
    then = None
    with suppress(UserError):
        then = run.manifest.get("data_hash")
    if then and now and then != now:
        warn(
            f"{run.folder}: its data has changed since the training (content {then[:12]}, now {now[:12]}); its parts "
            "are cut from the data as it is now"
        )


def _takes_stage(data: Any) -> bool:
    """Whether `setup` requires the argument `stage`, as in Lightning; in rnnlab's data it is optional."""
    return any(p.default is p.empty for p in inspect.signature(data.setup).parameters.values())


def corpora_folder() -> str:
    """The folder for downloaded corpora in this environment, whatever a run's config says."""
    return os.environ.get("RNNLAB_DATA", "data")


def kept_here(node: dict[str, Any]) -> dict[str, Any]:
    """The `data` node of a config. A corpus that is not in the run's own folder is then downloaded to this user's."""
    if node.get("_target_") != "rnnlab.data.Chars":
        return node
    corpus, folder = CORPORA.get(str(node.get("corpus"))), node.get("folder")
    if corpus and isinstance(folder, str) and corpus.file(str(node["corpus"]), Path(folder)).is_file():
        return node
    return node | {"folder": corpora_folder()}


def changed(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """A copy of a run's config with other values under `data`, checked as before a training."""
    config = copy.deepcopy(config)
    if not isinstance(config.get("data"), dict):
        raise UserError("the run's config names no data")
    # those without the overrides, for example because an older version wrote the config
    complaints = read(as_dict(config)).problems
    trained = config["data"].get("scaling")
    asked = set[str]()
    for text in overrides:
        override = _parse(text)
        key = override.key_or_group
        group, _, name = key.partition(".")
        if group != "data" or not name:
            near = nearest(key, [f"data.{name}" for name in config["data"]])
            hint = f".{near}" if "Did you mean" in near else ""
            raise UserError(
                f"{text}: only data.KEY=VALUE can be changed; the model stays as it was trained{hint}"
            )
        outer, _, last = name.rpartition(".")  # a data set within the data has keys of its own
        node = value_at(config["data"], outer)
        if not isinstance(node, dict) or last not in node or any(part[:1] == "_" for part in name.split(".")):
            raise UserError(f"{key}: no such key.{near_key(key, {'data': config['data']})}")
        node[last] = _resolved(text, override.value())
        asked.add(name)
    if config["data"].get("_target_") == "rnnlab.data.Chars" and asked & {"path", "corpus"}:
        own = {"path", "val_path"} & config["data"].keys() - asked
        # else the run's own files would take the place of the new text or its part
        config["data"] |= dict.fromkeys(own)
    problems = [line for line in read(as_dict(config)).problems if line not in complaints]
    if problems:
        raise UserError(*problems)
    now = config["data"].get("scaling")
    if config["data"].get("_target_") == "rnnlab.data.Series" and now != trained:
        raise UserError(
            f"data.scaling={now}: the model was trained with data.scaling={trained}, and keeps it"
        )
    return config


def _resolved(text: str, value: Any) -> Any:
    """The value of an override, with ${oc.env:NAME} replaced as in a training. Raises UserError where it cannot be."""
    if not interpolations(value):
        return value
    try:
        return OmegaConf.to_container(OmegaConf.create({"value": value}), resolve=True)["value"]  # type: ignore[index,call-overload]
    except OmegaConfBaseException as error:
        raise UserError(f"{text}: {str(error).splitlines()[0]}") from error


def _parse(text: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(*kept([text]))
    except HydraException:
        raise UserError(
            f"{text}: an override is written data.KEY=VALUE; special characters in VALUE take quotes"
        ) from None
    if override.is_sweep_override() or override.is_delete():
        raise UserError(
            f"{text}: one value at a time; a list stands in [brackets], a text with a comma in quotes"
        )
    return override
