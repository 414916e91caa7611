"""A plain Lightning project in train, sweep, kill, resume and reproduce: the same bits."""

import os
import random
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import rnnlab
import warm

HERE = Path(__file__).parent
PLAIN = (
    "model=plain", "data=plain", "name=plain", "callbacks=none",
    "+callbacks.jolt._target_=plain_project.Jolt", "trainer.max_epochs=3", "trainer.accelerator=cpu",
    "trainer.threads=1", "checkpoint.every_n_steps=4",
)  # fmt: skip


CONFIGS = {
    "model/plain": "_target_: plain_project.Module\nwidth: 8\nlr: 0.01\n",
    "data/plain": "_target_: plain_project.Data\nworkers: 0\n",
    "model/own": "_target_: own_generators_project.Module\n",
    "data/own": "_target_: own_generators_project.Data\nworkers: 0\nown_sampler: false\n",
    "model/unseeded": "_target_: own_generators_project.UnseededModule\n",
    "data/unseeded": "_target_: own_generators_project.Unseeded\nworkers: 0\n",
    "model/module": "_target_: own_generators_project.ModuleFromModule\n",
    "data/module": "_target_: own_generators_project.DataFromModule\nworkers: 0\n",
    "data/late": "_target_: own_generators_project.DataFromLate\nworkers: 0\n",
    "data/WithTest": "_target_: plain_project.WithTest\n",
    "data/TrainAlone": "_target_: plain_project.TrainAlone\n",
}


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conf")
    for name, text in CONFIGS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    return str(folder)


def bits(run: rnnlab.Run) -> tuple:
    checkpoint = torch.load(run.last_checkpoint, weights_only=True)
    weights = {name: value.numpy().tobytes() for name, value in checkpoint["state_dict"].items()}
    return run.metrics_file.read_bytes(), weights, run.results


@pytest.fixture
def command(configs):
    def command(*words: str, begin=warm.run, **environment: str) -> subprocess.CompletedProcess:
        env = os.environ | {"PYTHONPATH": str(HERE)} | environment
        asked = ["--config-dir", configs] if words[0] == "train" else []
        if words[0] == "resume":
            words = ("train", f"resume={words[1]}", *words[2:])
        line = [sys.executable, "-m", "rnnlab", words[0], *asked, *words[1:]]
        return begin(line, env=env)

    return command


def fresh(line: list[str], env: dict[str, str]) -> subprocess.CompletedProcess:
    """In an interpreter that nobody has prepared: for generators that a module makes while it is imported."""
    return subprocess.run(line, env=env, capture_output=True, text=True, check=False)


def only(outputs: Path) -> rnnlab.Run:
    (record,) = outputs.rglob("run.json")
    return rnnlab.Run(record.parent)


@pytest.fixture
def train(tmp_path, configs):
    def train(folder: str, *words: str) -> rnnlab.Run:
        return rnnlab.train(*PLAIN, *words, f"paths.outputs={tmp_path / folder}", config_dir=configs)

    train.configs = configs
    return train


@pytest.fixture(scope="module")
def unbroken(configs, tmp_path_factory):
    """The run of the same words that nothing befell: trained once for all tests that compare with it."""

    @cache
    def unbroken(*words: str) -> tuple:
        folder = tmp_path_factory.mktemp("unbroken")
        return bits(rnnlab.train(*PLAIN, *words, f"paths.outputs={folder}", config_dir=configs))

    return unbroken


@pytest.mark.parametrize("workers", [0, 2])
def test_a_seed_gives_the_same_bits_whatever_was_drawn_before(train, workers):
    torch.manual_seed(1)
    first = train("a", f"data.workers={workers}")
    drawn = torch.rand(5), np.random.rand(5), random.random()
    second = train("b", f"data.workers={workers}")
    assert bits(first) == bits(second)
    assert bits(train("c", f"data.workers={workers}", "seed=1"))[1] != bits(first)[1]
    assert drawn is not None


def test_the_callers_generators_are_left_alone(train):
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    train("a")
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected


# epochs have 6 batches
@pytest.mark.parametrize(("step", "workers"), [(3, 0), (5, 2), (6, 0), (6, 2), (8, 2), (14, 0)])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(
    train, command, tmp_path, monkeypatch, unbroken, step, workers
):
    words = [f"data.workers={workers}", "trainer.val_check_interval=2"]
    monkeypatch.syspath_prepend(str(HERE))
    if step in (5, 14):
        done = command("train", *PLAIN, *words, f"paths.outputs={tmp_path / 'cut'}", DIE_AT=str(step))
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert only(tmp_path / "cut").status == "running"
    else:
        monkeypatch.setenv("DIE_AT", str(step))
        monkeypatch.setenv("DIE_OF", str(int(signal.SIGINT)))
        assert train("cut", *words).status == "stopped"
        monkeypatch.delenv("DIE_AT")
    assert bits(train("cut", *words)) == unbroken(*words)


@pytest.mark.parametrize(
    ("workers", "own_sampler", "step"),  # epochs have 6 batches
    [(0, False, 2), (0, False, 9), (0, True, 6), (0, True, 9), (2, False, 6), (2, False, 2)],
)
def test_generators_of_ones_own_and_workers_that_stay_go_on_to_the_same_bits(
    train, monkeypatch, unbroken, workers, own_sampler, step
):
    words = [
        "model=own",
        "data=own",
        f"data.workers={workers}",
        f"data.own_sampler={own_sampler}",
        "trainer.val_check_interval=3",
    ]
    whole = unbroken(*words)
    monkeypatch.setenv("DIE_AT", str(step))
    monkeypatch.setenv("DIE_OF", str(int(signal.SIGINT)))
    assert train("cut", *words).status == "stopped"
    monkeypatch.delenv("DIE_AT")
    assert bits(train("cut", *words)) == whole
    assert step != 2 or bits(train("again", *words)) == whole  # it isn't another for another step


def test_generators_without_a_seed_take_one_from_the_run(train, monkeypatch):
    before = random.Random.seed, random.seed
    words = ["model=unseeded", "data=unseeded", "data.workers=2", "trainer.val_check_interval=3"]
    whole = train("whole", *words)
    assert bits(train("again", *words)) == bits(whole)
    monkeypatch.setenv("DIE_AT", "8")
    monkeypatch.setenv("DIE_OF", str(int(signal.SIGINT)))
    assert train("cut", *words).status == "stopped"
    monkeypatch.delenv("DIE_AT")
    assert bits(train("cut", *words)) == bits(whole)
    assert bits(train("other", *words, "seed=1"))[1] != bits(whole)[1]
    drawn = {random.Random().random() for _ in range(3)} | {
        np.random.default_rng().random() for _ in range(3)
    }
    assert len(drawn) == 6 and (random.Random.seed, random.seed) == before  # the system seeds them again


def test_generators_that_a_module_made_when_it_was_imported(train, command, tmp_path, monkeypatch):
    words = ["model=module", "data=module", "data.workers=2", "trainer.val_check_interval=3"]

    def apart(folder, *more, **environment):
        done = command("train", *PLAIN, *words, *more, f"paths.outputs={tmp_path / folder}", begin=fresh,
                       **environment)  # fmt: skip
        return done, only(tmp_path / folder)

    done, cut = apart("cut", DIE_AT="8")
    assert done.returncode == -signal.SIGKILL and cut.status == "running"
    _, cut = apart("cut")
    monkeypatch.syspath_prepend(str(HERE))
    for folder in ("first", "second"):  # the second in a process that has drawn from them
        assert bits(train(folder, *words)) == bits(cut)


def test_generators_anywhere_in_a_module_that_a_function_imports(train, command, tmp_path, monkeypatch):
    """Without a seed they take the run's; with one, and for numbers drawn at the module's top, no seed changes them."""
    words = ["data=late", "data.workers=2", "trainer.max_epochs=2"]
    alone = {}
    for seed in ("0", "1"):
        asked = f"paths.outputs={tmp_path / f'alone-{seed}'}"
        done = command("train", *PLAIN, *words, f"seed={seed}", asked, begin=fresh)
        assert done.returncode == 0, done.stderr
        alone[seed] = bits(only(tmp_path / f"alone-{seed}"))
    assert alone["0"][1] != alone["1"][1]
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.delitem(sys.modules, "late_generators", raising=False)
    for i, seed in enumerate("101"):  # one after another in a process
        assert bits(train(f"here-{i}", *words, f"seed={seed}")) == alone[seed]


def test_epochs_with_a_generator_of_ones_own_differ_and_its_seed_decides(train, monkeypatch):
    """As in plain Lightning: the order is another in each epoch, and is not the run's seed's."""
    import own_generators_project as project

    seen: dict[str, list] = {}

    class Watched(project.Data):
        def loader(self, part, shuffle):
            loader = super().loader(part, shuffle)
            if shuffle:
                self.orders = []
                seen.setdefault(current[0], []).append(self.orders)
                inner = loader.sampler.__iter__
                loader.sampler.__class__ = type(
                    "Sampler",
                    (type(loader.sampler),),
                    {"__iter__": lambda s: iter(self.orders.append(list(inner())) or self.orders[-1])},
                )
            return loader

    monkeypatch.setattr(project, "Data", Watched)
    current = [""]
    for name, words in {"a": (), "b": ("seed=1",)}.items():
        current[0] = name
        train(name, "model=own", "data=own", *words)
    first, second = (seen[name][0] for name in "ab")
    assert first == second and first[0] != first[1] and sorted(first[0]) == sorted(first[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_in_a_sweep_has_the_bits_of_one_alone(train, command, tmp_path, workers):
    words = [*PLAIN, f"data.workers={workers}", "model.width=8,4", f"paths.outputs={tmp_path / 'sweep'}"]
    done = command("train", "-m", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = {run.config["model"]["width"]: run for run in rnnlab.runs(str(tmp_path / "sweep" / "plain"))}
    assert set(runs) == {4, 8}
    for width, run in runs.items():
        alone = train(f"alone-{width}", f"data.workers={workers}", f"model.width={width}")
        assert bits(run) == bits(alone)


def test_reproduce_says_bitwise(command, tmp_path):
    words = [*PLAIN, "data.workers=1", f"paths.outputs={tmp_path}"]
    assert command("train", *words).returncode == 0
    done = command("reproduce", str(only(tmp_path).folder), "--trust")
    assert done.returncode == 0 and "bitwise" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("data", "there"), [("plain", {"val"}), ("WithTest", {"val", "test"}), ("TrainAlone", set())]
)
def test_parts_that_are_not_there_are_left_out(train, data, there):
    run = train(data, f"data={data}")
    assert run.status == "finished"
    assert ("loss/val" in run.metrics) == ("val" in there)
    assert ("test" in run.results) == ("test" in there)
    if "test" in there:
        assert run.results["test"]["loss/test"] > 0 or run.results["test"]["loss"] > 0


def test_runs_of_our_own_keep_no_states(small):
    assert "generators" not in torch.load(small().last_checkpoint, weights_only=True)
