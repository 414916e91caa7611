"""Trainings of objects: the same runs as from a config, resumed, swept, reproduced, and used from their folders."""

import functools
import pathlib
import subprocess
import sys

import lightning
import numpy as np
import plain_project
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from torch import nn

import rnnlab
from rnnlab.cli import main
from rnnlab.data import Chars, Sine, Tokens

ASKED = ("trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.threads=1", "callbacks=none", "name=plain",
         "logger=none")  # fmt: skip


@pytest.fixture
def train(tmp_path):
    return functools.partial(rnnlab.train, *ASKED, f"paths.outputs={tmp_path}", quiet=True)


def test_objects_make_the_run_that_a_config_makes(tmp_path, train, capfd):
    objects = train(module=functools.partial(plain_project.Module, width=5), data=plain_project.WithTest())
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "data").mkdir()
    (tmp_path / "conf" / "model" / "own.yaml").write_text(
        "_target_: plain_project.Module\nwidth: 5\nlr: 0.01\n"
    )
    (tmp_path / "conf" / "data" / "own.yaml").write_text(
        "_target_: plain_project.WithTest\nworkers: 0\nn: 80\n"
    )
    config = rnnlab.train(*ASKED, "model=own", "data=own", f"paths.outputs={tmp_path / 'b'}",
                          config_dir=str(tmp_path / "conf"), quiet=True)  # fmt: skip
    assert objects.id == config.id and "+width-5+" in objects.folder.name
    assert objects.metrics_file.read_bytes() == config.metrics_file.read_bytes()
    # finished already, and not trained again
    assert (
        objects.record["created"]
        == train(module=functools.partial(plain_project.Module, width=5), data=plain_project.WithTest).record[
            "created"
        ]
    )
    assert "plain_project" in objects.manifest["sources"]
    assert main(["reproduce", str(objects.folder)]) == 0
    assert "bitwise" in capfd.readouterr().out
    assert len(objects.predict()) == 16 and objects.evaluate().metrics.keys() == {"loss/test"}


@pytest.mark.parametrize(
    "data", [Sine(n_points=200), Tokens(n_sequences=60), Chars(limit=3000, batch_size=4)]
)
def test_each_data_set_of_rnnlab_may_be_an_object(tmp_path, train, data):
    model = {"Sine": "forecaster", "Tokens": "classifier", "Chars": "char_lm"}[type(data).__name__]
    run = train(f"model={model}", "monitor=loss/val", data=data)
    assert run.status == "finished" and run.config["data"]["fractions"] == list(data.fractions)


def test_callbacks_and_loggers(tmp_path, train):
    run = train(
        "trainer.max_epochs=20",
        module=plain_project.Module(),
        data=plain_project.Data(),
        callbacks=[EarlyStopping("loss/val", min_delta=10.0, patience=1)],
        loggers=[CSVLogger(tmp_path / "logs", name="mine")],
    )
    assert "not_reproducible" not in run.manifest
    assert run.results["steps"] == 12  # two epochs of six
    assert list((tmp_path / "logs" / "mine").rglob("metrics.csv"))


def test_what_cannot_be_recorded_is_trained_as_it_is_and_said(tmp_path, train, capfd):
    module = plain_project.Module()
    with torch.no_grad():
        module.net[3].bias.fill_(100.0)
    run = train(module=module, data=plain_project.Data())
    (why,) = run.manifest["not_reproducible"]
    assert "net.3.bias differs" in why
    first = run.metrics["loss/train"][1][0]
    assert first > 5_000  # of the bias that was filled in
    assert run.model is module and run.evaluate().metrics["loss/val"] > 5_000
    assert main(["reproduce", str(run.folder)]) == 2
    assert "not reproducible: Module: it is not what" in capfd.readouterr().err
    program = f"import rnnlab; rnnlab.load({str(run.folder)!r}).model"
    path = {"PYTHONPATH": str(plain_project.__file__).rpartition("/")[0]}
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=path).stderr
    assert said.splitlines()[-1].startswith("rnnlab.errors.UserError: a Module was handed to rnnlab.train")
    again = train(module=module, data=plain_project.Data())
    assert again.folder != run.folder
    loud = rnnlab.train(*ASKED, f"paths.outputs={tmp_path}", module=module, data=plain_project.Data())
    assert loud.status == "finished" and "not reproducible: Module" in capfd.readouterr().err


def test_objects_in_a_sweep(tmp_path, train):
    asked = (*ASKED, f"paths.outputs={tmp_path}", "trainer.max_epochs=1")
    found = rnnlab.sweep(*asked, "model.width=3,4", "seed=0,1", module=plain_project.Module,
                         data=plain_project.Data, quiet=True)  # fmt: skip
    assert [(r.status, r.model.net[0].out_features) for r in found] == [("finished", 3)] * 2 + [
        ("finished", 4)
    ] * 2
    alone = rnnlab.train(*asked, f"paths.outputs={tmp_path / 'alone'}", "seed=1", module=functools.partial(
        plain_project.Module, width=4), data=plain_project.Data(), quiet=True)  # fmt: skip
    assert alone.folder.name == found[3].folder.name
    assert alone.metrics_file.read_bytes() == found[3].metrics_file.read_bytes()
    module = plain_project.Module()
    nn.init.zeros_(module.net[0].weight)
    with pytest.raises(
        rnnlab.UserError, match="a sweep trains in other processes, and Module cannot be made there"
    ):
        rnnlab.sweep(*asked, "seed=0,1", module=module, data=plain_project.Data)


SCRIPT = """
import sys, rnnlab
from torch import sigmoid, tanh

class Forgetting(rnnlab.Cell):
    gates, states = 2, 1
    def step(self, u, state):
        (h,) = state
        c, g = (u + self.recur(h)).chunk(2, dim=-1)
        h = sigmoid(g) * h + (1 - sigmoid(g)) * tanh(c)
        return h, (h,)

asked = ("experiment=sine", "trainer.max_epochs=1", "trainer.threads=1", "callbacks=none", "data.n_points=200",
         "trainer.accelerator=cpu", "model.engine=reference", f"paths.outputs={sys.argv[1]}")
if __name__ == "__main__":
    run = rnnlab.train(*asked, cell=Forgetting, quiet=True)
    print(run.folder, run.evaluate().metrics["mse"], run.predict().shape[0])
    print([r.status for r in rnnlab.sweep(*asked, "model.hidden_size=3,4", cell=Forgetting, quiet=True)])
"""


def test_a_cell_of_a_script_is_kept_and_runs_elsewhere_with_trust_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RNNLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "script.py").write_text(SCRIPT)
    said = subprocess.run(
        [sys.executable, "script.py", str(tmp_path / "outputs")], cwd=tmp_path, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    first, second = said.stdout.splitlines()
    folder, mse, n = first.split()
    assert int(n) > 5 and second == "['finished', 'finished']"
    assert "cell-Forgetting" in folder
    ((name, text),) = rnnlab.load(folder).manifest["kept_sources"].items()
    assert "class Forgetting" in text and rnnlab.load(folder).config["model"]["cell"] == f"{name}.Forgetting"
    (tmp_path / "script.py").unlink()
    with pytest.raises(rnnlab.UserError, match="if you trust it"):
        rnnlab.load(folder).evaluate()
    assert name not in sys.modules
    assert main(["evaluate", folder]) == 2
    assert rnnlab.load(folder, trust=True).evaluate().metrics["mse"] == float(mse)
    assert main(["reproduce", folder, "--trust"]) == 0
    assert "bitwise" in capsys.readouterr().out


def test_what_is_no_cell_costs_one_line(tmp_path):
    class NoCell:
        def step(self):
            return 1

    with pytest.raises(rnnlab.UserError, match="not a subclass of rnnlab"):
        rnnlab.train("experiment=sine", f"paths.outputs={tmp_path}", cell=NoCell)
    with pytest.raises(rnnlab.UserError, match=r"^cell: "):
        rnnlab.train("experiment=sine", f"paths.outputs={tmp_path}", cell=3)


class Wrapped(lightning.LightningDataModule):
    """Another data module's loaders, some options beside it."""

    def __init__(self, inner, options=None):
        super().__init__()
        self.inner, self.options = inner, options

    def setup(self, stage):
        self.inner.setup(stage)
        self.ready = True

    def train_dataloader(self):
        return self.inner.train_dataloader()

    def val_dataloader(self):
        return self.inner.val_dataloader()


class Around(plain_project.Module):
    """A network and an optimizer that it is given."""

    def __init__(self, net, optimizer_class, loss=nn.functional.mse_loss):
        super().__init__()
        self.net, self.optimizer_class, self.loss = net, optimizer_class, loss

    def configure_optimizers(self):
        return self.optimizer_class(self.parameters())


def nested(n=80, width=4):
    net = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 1))
    module = Around(net, functools.partial(torch.optim.SGD, lr=0.05), nn.functional.l1_loss)
    data = Wrapped(plain_project.Data(n=n), pathlib.Path("a"))
    data.setup("fit")  # it was used before
    return {"module": module, "data": data}


def test_objects_in_objects_train_resume_sweep_and_reproduce(tmp_path, train, capfd, monkeypatch):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    whole = train("trainer.max_epochs=3", **nested())
    assert "not_reproducible" not in whole.manifest and {"plain_project", "test_from_objects"} <= set(
        whole.manifest["sources"]
    )
    assert "loss-l1_loss" in whole.folder.name and whole.evaluate().metrics["loss/val"] > 0
    longer = train(**nested()).resume("trainer.max_epochs=3", quiet=True)
    last = [
        torch.load(r.last_checkpoint, weights_only=True)["state_dict"]["net.0.weight"]
        for r in (whole, longer)
    ]
    assert torch.equal(*last)
    assert main(["reproduce", str(whole.folder)]) == 0
    assert "bitwise" in capfd.readouterr().out
    asked = (*ASKED, f"paths.outputs={tmp_path / 'sweep'}", "data.inner.n=80,60")
    runs = rnnlab.sweep(*asked, **nested(), quiet=True)
    assert [(r.status, r.config["data"]["inner"]["n"]) for r in runs] == [("finished", 80), ("finished", 60)]
    with pytest.raises(rnnlab.UserError, match=r"data\.inner\.worker: no such key\. Did you mean workers"):
        train("data.inner.worker=3", **nested())
    assert train("data.inner.n=60", **nested()).metrics_file.read_bytes() == runs[1].metrics_file.read_bytes()


def test_data_handed_over_as_an_object_is_scored_by_its_parts(tmp_path, train):
    pandas = pytest.importorskip("pandas")
    from rnnlab.data import Series

    frame = pandas.DataFrame({"a": np.sin(np.arange(200) / 4)})
    run = train("model=forecaster", data=Series(frame, "a", window=10, horizon=2))
    assert run.evaluate(split="val").split == "val" and run.forecast(5).values.shape == (5, 1)
    for asked, split in (((), "all"), (("data.path=x.csv",), "test")):
        with pytest.raises(rnnlab.UserError, match="as an object, of which only the parts can be taken"):
            run.evaluate(*asked, split=split)
