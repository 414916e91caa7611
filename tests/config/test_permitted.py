"""What a stranger's folder may have built: the classes on the list, and no other public name of torch or Lightning."""

import importlib
import inspect
import pkgutil
import sys
import warnings

import pytest

from rnnlab.config.model_schema import UNBUILT
from rnnlab.config.permitted import LISTED, PARTIAL, refusals
from rnnlab.recurrence.stack import Stack

ALL = sorted({target for known in LISTED.values() for target in known})


def said(section: str, node) -> list[str]:
    named = section in ("callbacks", "logger")
    return list(refusals({section: {"it": node} if named else node}))


@pytest.fixture(scope="module")
def public() -> list[str]:
    """Every name in every module of torch and Lightning, private ones, too; what cannot be imported has no names."""
    import lightning
    import torch

    modules = {torch, lightning}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in (
            "lightning.pytorch.callbacks",
            "lightning.pytorch.loggers",
            "torch.optim",
            "torch.nn",
        ):
            root = importlib.import_module(package)
            for found in pkgutil.walk_packages(root.__path__, f"{package}.", onerror=lambda name: None):
                try:
                    importlib.import_module(found.name)
                except Exception:
                    continue
    modules |= {m for n, m in list(sys.modules.items()) if m and n.split(".")[0] in ("torch", "lightning")}
    names = {f"{m.__name__}.{name}" for m in modules for name in dir(m) if inspect.ismodule(m)}
    members = [
        f"{name}.{method}" for name in ALL if not name.startswith("rnnlab") for method in dir(found_at(name))
    ]
    return sorted(names) + members


def found_at(target: str):
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_no_public_name_of_torch_or_lightning_outside_the_list_is_permitted(public):
    assert len(public) > 20_000
    for section, known in LISTED.items():
        permitted = {name for name in public if not said(section, {"_target_": name})}
        assert permitted <= set(known)


@pytest.mark.parametrize("target", ALL)
def test_what_is_listed_is_there_under_its_own_name_with_its_arguments(target):
    found = found_at(target)
    assert inspect.isclass(found) or target.startswith("rnnlab.training.schedules.")
    takes = {name for c in getattr(found, "__mro__", [found]) if c is not object
             for name in inspect.signature(c).parameters}  # fmt: skip
    ours = {"scheduler": {"interval"}, "model": {*UNBUILT, *inspect.signature(Stack).parameters}}
    for section, known in LISTED.items():
        arguments = set(known[target].model_fields) if target in known else set()
        assert arguments <= takes | ours.get(section, set())


@pytest.mark.parametrize("section", LISTED)
def test_nothing_of_hydras_and_no_target_in_an_argument(section):
    for target, schema in LISTED[section].items():
        assert said(section, {"_target_": target}) == []
        for key in ("_args_", "_convert_", "_recursive_", "_partial_", "unheard_of"):
            right = key == "_partial_" and section in PARTIAL
            assert bool(said(section, {"_target_": target, key: True})) != right
        for key in schema.model_fields:
            for node in ({"_target_": "os.system"}, [{"_target_": "os.system"}], {"a": [{"_target_": 1}]}):
                assert said(section, {"_target_": target, key: node}), (target, key)


CHECKPOINT, CSV = "lightning.pytorch.callbacks.ModelCheckpoint", "lightning.pytorch.loggers.CSVLogger"


@pytest.mark.parametrize(
    ("section", "target", "key", "right", "wrong"),
    [
        ("callbacks", CHECKPOINT, "dirpath", [None], ["", "x", "/tmp", "~", "s3://b", {}]),
        ("callbacks", CHECKPOINT, "filename", [None, "{epoch}-{loss/val:.3f}", "best-{step}"],
         ["../x", "/x", "a/b", "{epoch.__class__}", "{epoch[0]}", "a\0b", "{epoch:99999999d}", "x\n"]),
        ("callbacks", CHECKPOINT, "save_last", [None, True, "link"], ["lnk", "../x", 1, {}]),
        ("logger", CSV, "save_dir", ["{run_folder}", "{run_folder}/csv"],
         ["x", "/tmp", "{run_folder}/../x", "{run_folder}/a/../../x", "{run_folder}x", "https://x"]),
        ("logger", CSV, "name", ["csv", "{run_name}"], ["", None, "../x", "/x", "{run_folder}", "..{run_folder}"]),
        ("logger", CSV, "version", ["", 3, "a"], ["..", "a/b"]),
        ("model", "rnnlab.tasks.Forecaster", "cell", ["gru"], ["os.system", "mine.Cell"]),
    ],
)  # fmt: skip
def test_paths_among_arguments_stay_in_the_new_runs_folder(section, target, key, right, wrong):
    for value in right:
        assert said(section, {"_target_": target, key: value}) == [], value
    for value in wrong:
        assert said(section, {"_target_": target, key: value}), value


def test_what_it_would_run_is_said():
    node = {"_target_": "a.B", "x": 1, "y": {"_target_": "os.system", "command": "rm"}, "z": [1, 2]}
    assert said("callbacks", node) == [
        "callbacks.it=a.B(x: number, y: os.system(command: text), z: list of 2)"
    ]
    assert said("model", {"_target_": "rnnlab.tasks.forecaster.Forecaster"}) == [
        "model=rnnlab.tasks.forecaster.Forecaster() (the list has rnnlab.tasks.Forecaster)"
    ]
    assert said("trainer", {"strategy": "ddp_spawn", "plugins": None}) == ["trainer.strategy=text"]


@pytest.mark.parametrize("key", ["_convert_", "_recursive_", "_partial_"])
def test_a_cells_options_hold_none_of_hydras_words(key):
    node = {"_target_": "rnnlab.tasks.Forecaster", "options": {key: "all"}}
    (line,) = said("model", node)
    assert "options: mapping of 1" in line
    assert not said("model", node | {"options": {"variant": "full"}})


def test_a_cell_inside_what_ones_own_class_is_given_is_asked_for_like_any():
    def own(at, target, node):
        return target == "mine.Task"

    inside = {"_target_": "rnnlab.tasks.CharLM", "_partial_": True, "cell": "any.module.Cell"}
    assert list(refusals({"model": {"_target_": "mine.Task", "make": inside}}, own))
    assert not list(refusals({"model": {"_target_": "mine.Task", "make": inside | {"cell": "gru"}}}, own))
    for given in ({"options": {"cell": "any.module.Cell"}}, {"cell": "any.module.Cell"}):
        assert list(refusals({"data": {"_target_": "mine.Task", **given}}, own))
    assert not list(refusals({"data": {"_target_": "mine.Task", "options": {"cell": "A1"}}}, own))


@pytest.mark.parametrize("section", ["trainer", "checkpoint", "extra", "tags"])
def test_what_is_named_where_nothing_is_built_is_refused_for_it_would_be_imported(section):
    for node in ({"_partial_": {"_target_": "this.Zen"}}, [{"_target_": "this.Zen"}], {"cell": "this.Zen"}):
        (line,) = said(section, node)
        assert line.startswith(f"{section}=")
