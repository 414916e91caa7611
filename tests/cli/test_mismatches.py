"""Every task before every kind of data that is not its own: one line, in each command."""

import shutil

import pytest

import rnnlab
from rnnlab.cli import main
from rnnlab.runs.yaml import to_yaml

QUICK = (
    "trainer.max_epochs=1",
    "model.engine=torch",
    "model.hidden_size=4",
    "trainer.accelerator=cpu",
    "callbacks=none",
)
DATA = {
    "forecaster": ("data=sine", "data.n_points=200"),
    "char_lm": ("data=chars", "data.limit=4000", "data.segment=20", "data.batch_size=8"),
    "classifier": ("data=tokens", "data.n_sequences=200", "data.vocab_size=50", "data.markers=5"),
}
PAIRS = [(task, kind) for task in DATA for kind in DATA if task != kind]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    return {task: rnnlab.train(*DATA[task], f"model={task}", *QUICK, f"paths.outputs={folder}", f"name={task}")
            for task in DATA}  # fmt: skip


def refused(capsys, *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(("task", "kind"), PAIRS)
def test_training_and_planning(tmp_path, capsys, task, kind):
    words = ["train", *DATA[kind], f"model={task}", *QUICK, f"paths.outputs={tmp_path}"]
    assert f"{task} does not fit data=" in refused(capsys, *words)
    assert f"{task} does not fit data=" in refused(capsys, *words, "-m", "seed=0,1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("task", "kind"), PAIRS)
@pytest.mark.parametrize("command", ["evaluate", "forecast", "generate", "reproduce"])
def test_using_a_run_whose_data_are_not_its_tasks(trained, tmp_path, capsys, task, kind, command):
    folder = tmp_path / "run"
    shutil.copytree(trained[task].folder, folder)
    (folder / "config.yaml").write_text(
        to_yaml(trained[task].config | {"data": trained[kind].config["data"]})
    )
    words = ["--prompt=e", "--length=3"] if command == "generate" else []
    if (task, command) == ("char_lm", "generate"):  # it asks no data
        assert main([command, str(folder), *words]) == 0
        return
    said = refused(capsys, command, str(folder), *words)
    assert len(said.splitlines()) == 1 and str(folder) in said


@pytest.mark.parametrize("task", DATA)
def test_evaluating_on_a_text_what_reads_none(trained, tmp_path, capsys, task):
    (tmp_path / "text.txt").write_text("the lazy dog\n" * 100)
    words = ["evaluate", str(trained[task].folder), f"data.path={tmp_path / 'text.txt'}"]
    if task != "char_lm":
        assert len(refused(capsys, *words).splitlines()) == 1
