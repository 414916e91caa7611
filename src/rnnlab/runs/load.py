"""Loads a trained model from its run's folder. The folder is treated as data: only trusted code is called."""

import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from rnnlab import import_path as workplace
from rnnlab.config import build
from rnnlab.config.building import locate, parameters
from rnnlab.config.inner import BY_NAME
from rnnlab.config.model_schema import UNBUILT
from rnnlab.config.permitted import PARTIAL, refusals
from rnnlab.config.run_config import as_dict
from rnnlab.data.vocabulary import listed
from rnnlab.errors import UserError, warn
from rnnlab.memory import check_memory
from rnnlab.regular_files import open_file
from rnnlab.runs import kept_source
from rnnlab.runs.checksum import DAMAGED, checksum_error
from rnnlab.runs.objects import given, is_here, unrecorded
from rnnlab.runs.ownership import is_own
from rnnlab.runs.run import Run
from rnnlab.runs.sources import foreign_targets


def read_checkpoint(path: Any) -> dict[str, Any]:
    """A checkpoint as plain types and tensors. Raises UserError where it is missing or damaged, or holds code."""
    try:
        with open_file(path) as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                        raise ValueError("it is compressed, as no checkpoint is")
            if checksum_error(path) == DAMAGED:  # torch does not check the checksums of numbers
                raise ValueError(f"it {DAMAGED}")
            size = os.fstat(file.fileno()).st_size
            check_memory(2.0 * size, f"it has {size:,} bytes, and")
            file.seek(0)
            with warnings.catch_warnings():  # torch warns about pickles that it did not write itself
                warnings.simplefilter("ignore", UserWarning)
                found = torch.load(file, weights_only=True, map_location="cpu")
        # with strides of 0, one stored number can be a tensor of any size
        if any(tensor.numel() * tensor.element_size() > size for tensor in tensors(found)):
            raise ValueError("a tensor in it is larger than the file")
        return found
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint there; the run may not have got so far") from None
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a checkpoint that can be read safely: {cause}") from error


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from tensors(inner)


TRUST = "if you trust it, load it with trust=True (--trust)"


@contextmanager
def permitted(run: Run, sections: Mapping[str, Any], trust: bool) -> Iterator[None]:
    """While open, sections of a run's config can be built. Where they name no code of the user, the working folder is
    not on sys.path meanwhile. Raises UserError as `refuse_foreign`.
    """
    refuse_foreign(run, sections, trust)
    with nullcontext() if trust or foreign_targets(sections) else workplace.absent():
        yield


def refuse_foreign(
    run: Run,
    sections: Mapping[str, Any],
    trust: bool,
    named: Callable[[str, Any], bool] = lambda at, node: False,
    otherwise: str = TRUST,
) -> None:
    """Raises UserError where sections of the run's config would run code that is neither on rnnlab's list
    (config/permitted.py) nor the user's own (runs/ownership.py), unless `trust` is set.

    `named(place, node)`: whether the command itself names this node. `otherwise`: advice at the end of the message.
    """
    if trust:
        workplace.join()
        kept_source.install(run.manifest.get("kept_sources", {}))
        return
    for node in unrecorded(sections):
        given(**{key: str(node.get(key)) for key in ("key", "what", "why")})  # may raise
    if hidden := sorted(interpolations(sections)):
        raise UserError(
            f"{run.folder}: its config is not resolved ({hidden[0]}), and might name code; not loaded"
        )

    def own(at: str, target: str, node: Any) -> bool:
        by_name = isinstance(node, dict) and node.get("_target_") == BY_NAME
        return named(at, node) or is_here(node) or is_own(run, target, functions=at in PARTIAL or by_name)

    if found := list(dict.fromkeys(refusals(sections, own))):
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UserError(
            f"{run.folder} would run {'; '.join(found[:3])}{more}, code outside rnnlab's list; {otherwise}"
        )
    if foreign_targets(sections):  # the user's own code
        workplace.join()


def interpolations(node: Any) -> set[str]:
    """Texts with an interpolation of OmegaConf. A run's config is resolved, and has none."""
    if isinstance(node, dict):
        return set().union(*map(interpolations, node.values()), *map(interpolations, node.keys()))
    if isinstance(node, list):
        return set().union(*map(interpolations, node))
    return {node[:80]} if isinstance(node, str) and "${" in node else set()


def refuse_other_defaults(target: str) -> None:
    """Raises UserError where the program has set another default dtype or device in torch, with which a model of rnnlab
    would be built.
    """
    if not target.startswith("rnnlab."):
        return
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    if dtype != torch.float32:
        raise UserError(
            f"torch.set_default_dtype({dtype}) is in effect: rnnlab's models are made in float32 and would have other "
            "numbers; call torch.set_default_dtype(torch.float32) before"
        )
    if device.type != "cpu":
        raise UserError(
            f'torch.set_default_device("{device}") is in effect: rnnlab makes models and data on the CPU, and '
            'trainer.accelerator says where they are trained; call torch.set_default_device("cpu") before'
        )


def load_model(run: Run, trust: bool = False, weights: Path | None = None, *, strict: bool = True) -> Any:
    """The run's LightningModule with its best weights, or those of the checkpoint `weights`, in evaluation mode on the
    CPU; `strict` as for torch's `load_state_dict`.

    Raises UserError where the config names code that is neither on rnnlab's list nor the user's own, unless `trust` is
    set.
    """
    config = as_dict(run.config)
    options = {k: v for k, v in config["model"].items() if k not in UNBUILT}
    if "engine" in options:
        options["engine"] = "auto"
    refuse_other_defaults(str(options.get("_target_")))
    with permitted(run, {"model": options}, trust):
        checkpoint = read_checkpoint(weights or run.best_checkpoint)
        offered = {"spec": checkpoint["spec"], "seed": config["seed"]}
        wanted = parameters(locate(options["_target_"], "model"))
        parts = {name: config[name] for name in PARTIAL if name in wanted and name in config}
        with permitted(run, parts, trust):
            offered |= {name: build(node, name) for name, node in parts.items()}
        given = {name: value for name, value in offered.items() if name in wanted}
        model = build(options, "model", **given)
    whose = f"{run.folder}: its weights are not those of the model in its config"
    _put(checkpoint["state_dict"], model, strict, whose, "did a callback change the model?")
    return model.eval()


def _put(weights: dict[str, Any], model: Any, strict: bool, whose: str, hint: str) -> None:
    """Loads weights. Raises UserError, `whose` and then the `hint`, where they are another model's."""
    try:
        model.load_state_dict(weights, strict=strict)
    except RuntimeError as error:
        ours = model.state_dict()
        shapes = [{name: getattr(t, "shape", None) for name, t in one.items()} for one in (ours, weights)]
        other = sorted({name for name, _ in shapes[0].items() ^ shapes[1].items()})
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise UserError(f"{whose}, {', '.join(other[:3])}{more} differ; {hint}") from error


def from_checkpoint(kind: type, path: Path, options: dict[str, Any], strict: bool = True) -> Any:
    """The model of a run's checkpoint, in evaluation mode on the CPU. `options` are arguments of its constructor, for a
    file that is not in its run's folder any more.

    Raises UserError where the file holds another kind of model, or is in no run's folder and there are no options.
    """
    run = Run(path.absolute().parent.parent)
    if run.is_there and not options:
        model = load_model(run, weights=path, strict=strict)
        if not isinstance(model, kind):
            raise UserError(f"{path}: holds a {type(model).__name__}, not a {kind.__name__}")
        return model
    checkpoint = read_checkpoint(path)
    if not options or not checkpoint.get("spec"):
        raise UserError(
            f"{path}: lies in no run's folder, whose config.yaml has the model's options; give them: "
            f"{kind.__name__}.load_from_checkpoint(path, cell=..., hidden_size=...)"
        )
    model = kind(spec=checkpoint["spec"], **options)
    whose = f"{path}: its weights are not those of a {kind.__name__} with these options"
    _put(checkpoint["state_dict"], model, strict, whose, "give those of its run")
    return model.eval()


def initialise_from(task: Any, folder: str) -> None:
    """Initialises a task with a run's best weights. Where the vocabularies differ, the weights of characters are copied
    character by character.

    Characters that the run did not know keep their random weights; a line says how many there are. Raises UserError
    where shapes differ for another reason.
    """
    checkpoint = read_checkpoint(Run.open(folder).best_checkpoint)
    theirs, ours, at = checkpoint["state_dict"], task.state_dict(), f"model.init_from={folder}"
    before = (checkpoint.get("spec") or {}).get("vocabulary")
    now, dims = getattr(task, "spec", {}).get("vocabulary"), getattr(task, "of_characters", {})
    if isinstance(before, str) and isinstance(now, str) and before != now:
        known = [character for character in now if character in before]
        there, here = (torch.tensor([v.index(c) for c in known], dtype=torch.int64) for v in (before, now))
        for name, dim in dims.items():
            if name in theirs and name in ours and theirs[name].shape[dim] == len(before):
                rows = theirs[name].index_select(dim, there)
                theirs[name] = ours[name].clone().index_copy_(dim, here, rows)
        new = "".join(character for character in now if character not in before)
        fresh = f"; {len(new)} {'is' if len(new) == 1 else 'are'} new and drawn: {listed(new)}" if new else ""
        warn(f"{at}: {len(known)} of {len(now)} characters have their weights from there{fresh}")
    for name in sorted(ours.keys() | theirs.keys()):
        found = tuple(theirs[name].shape) if name in theirs else "nothing"
        wanted = tuple(ours[name].shape) if name in ours else "nothing"
        if found != wanted:
            raise UserError(f"{at}: {name} is {found} there and {wanted} here")
    task.load_state_dict(theirs)
