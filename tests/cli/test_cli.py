"""The command line: which code and which words for which mistake."""

import errno
import logging
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import pytest

import rnnlab
from rnnlab import cli
from rnnlab.cli import train as train_command
from rnnlab.errors import RunFailed, UserError
from rnnlab.runs.files import write_whole

BIN = Path(sys.executable).parent


def finished(objective):
    return types.SimpleNamespace(objective=objective, status="finished", record={}, folder=Path("run"))


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Runs `rnnlab train` without training: collects what `train(cfg, overrides)` is given."""
    calls = []

    def fake(cfg, overrides, **_):
        calls.append((cfg, overrides))
        return finished(float(cfg.seed))

    module = types.ModuleType("rnnlab.display")
    module.train = fake
    monkeypatch.setitem(sys.modules, "rnnlab.display", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    calls_of = types.SimpleNamespace(calls=calls, module=module)
    return calls_of


def said(capsys, *argv):
    code = cli.main(argv)
    out, err = capsys.readouterr()
    return code, out, err.strip()


def test_help_and_version(capsys):
    code, out, _ = said(capsys, "--help")
    assert code == 0
    assert [c for c in cli.COMMANDS if f"  {c} " in out] == list(cli.commands())
    assert said(capsys)[1] == out
    assert said(capsys, "--version")[1] == f"rnnlab {rnnlab.__version__}\n"


def test_an_unknown_command(capsys):
    assert said(capsys, "trian") == (2, "", "rnnlab trian: no such command. Did you mean train?")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["modl=3"], "modl: no such key. Did you mean model?"),
        (["model.hidden_size=-3"], "model.hidden_size=-3: must be a whole number of at least 1"),
        (["optimizer=adan"], "optimizer=adan: no such choice. Did you mean adam?"),
        (["seed=[1"], None),
        (["--seed", "3"], "--seed: no such option. A key of the config is set without dashes: KEY=VALUE."),
        (["--multrun"], "--multrun: no such option. Did you mean --multirun?"),
        (["--config-dir", "nope"], None),
        (["--resolve"], None),
        (["-m", "hydra/launcher=bassic"], "hydra/launcher=bassic: no such choice. Did you mean basic?"),
        (["hydra.run.dirr=3"], "hydra.run.dirr: no such key. Did you mean hydra.run.dir?"),
    ],
)
def test_mistakes_are_one_line_and_code_2(capsys, trained, argv, message):
    code, out, err = said(capsys, "train", *argv)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and "Traceback" not in err
    assert message is None or err == message
    assert trained.calls == []


def raising(error):
    def fake(cfg, overrides, **_):
        raise error

    return fake


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("data.path=x: no such file"), 2, "data.path=x: no such file"),
        (RunFailed("the loss is NaN at step 3"), 1, "the loss is NaN at step 3"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_of_a_run(capsys, trained, error, code, message):
    trained.module.train = raising(error)
    assert said(capsys, "train") == (code, "", message)


def test_a_table_has_rows(capsys, tmp_path):
    assert said(capsys, "report", str(tmp_path), "--rows", "0") == (2, "", "--rows 0: must be at least 1")


def test_a_fault_of_ours_keeps_its_trace(capsys, trained):
    trained.module.train = raising(ZeroDivisionError("ours"))
    code, _, err = said(capsys, "train")
    assert code == 1 and "Traceback" in err and err.endswith("ZeroDivisionError: ours")
    # and so does an error of Hydra's or OmegaConf's that comes from inside a run
    trained.module.train = lambda cfg, overrides, **_: cfg.no_such_key
    code, _, err = said(capsys, "train")
    assert code == 1 and "Traceback" in err and "no_such_key" in err


@pytest.mark.parametrize("variable", ["RNNLAB_DEBUG", "HYDRA_FULL_ERROR"])
def test_debugging_shows_every_trace(capsys, trained, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    code, _, err = said(capsys, "train", "modl=3")
    assert code == 2 and "Traceback" in err
    assert err.splitlines()[-1] == "modl: no such key. Did you mean model?"
    assert os.environ[variable] == "1"


def test_train_gets_the_config_and_leaves_no_trace_of_hydra(capsys, trained, tmp_path, monkeypatch):
    argv = list(sys.argv)
    assert said(capsys, "train", "seed=3", "--run", "model.cell=gru")[0] == 0
    ((cfg, overrides),) = trained.calls
    assert (cfg.seed, cfg.model.cell, overrides) == (3, "gru", ["seed=3", "model.cell=gru"])
    assert list(tmp_path.iterdir()) == []
    assert sys.argv == argv and "HYDRA_FULL_ERROR" not in os.environ


def test_a_multirun_trains_each_combination(capsys, trained):
    # Hydra's own sweeper runs the jobs in this process; ours have tests/sweeps
    stock = ["hydra/launcher=basic", "hydra/sweeper=basic", "paths.outputs=o"]
    assert said(capsys, "train", "seed=1,2", "-m", "model.cell=gru,lstm", *stock)[0] == 0
    assert [(c.seed, c.model.cell) for c, _ in trained.calls] == [
        (1, "gru"), (1, "lstm"), (2, "gru"), (2, "lstm")
    ]  # fmt: skip


def test_a_users_own_experiment(capsys, trained, tmp_path):
    from rnnlab.config import base_config, compose

    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\nseed: 7\n")
    bases = []

    def fake(cfg, overrides, **_):
        bases.append(base_config(overrides))  # finds the --config-dir of the run that goes on
        return finished(0.0)

    trained.module.train = fake
    assert said(capsys, "train", "experiment=mine", "seed=8", "--config-dir", "conf")[0] == 0
    assert bases == [compose(["experiment=mine"], "conf")]
    code, _, err = said(capsys, "train", "experiment=mina", "--config-dir", "conf")
    assert (code, err) == (2, "experiment=mina: no such choice. Did you mean mine?")


def test_showing_the_config(capsys, trained):
    code, out, _ = said(capsys, "train", "--cfg", "job", "--package", "optimizer", "optimizer.lr=0.5")
    assert code == 0 and "lr: 0.5" in out and trained.calls == []
    code, out, _ = said(capsys, "train", "--help")
    assert code == 0 and "optimizer: adam, adamw, rmsprop, sgd" in out


def test_launchers_can_send_the_task():
    assert pickle.loads(pickle.dumps(train_command.task)) is train_command.task


@pytest.mark.parametrize("words", [["--cfg", "hydra"], ["--cfg", "job"], ["--help"], ["--info", "defaults"]])
def test_what_hydra_showed_is_not_known_to_the_next_command(words, capsys):
    from hydra.core.hydra_config import HydraConfig

    root = logging.getLogger()
    before = HydraConfig.instance().cfg, root.level, root.handlers[:]
    assert said(capsys, "train", *words)[0] == 0
    assert (HydraConfig.instance().cfg, root.level, root.handlers) == before


def test_scripts_modules_and_console_are_the_same_code():
    scripts = Path(__file__).parents[2] / "scripts"
    asked = ["train", "--cfg", "job", "modl=3"]
    for start in ([str(scripts / "run.py")], ["-m", "rnnlab"]):
        done = subprocess.run([sys.executable, *start, *asked], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (2, "modl: no such key. Did you mean model?\n")


def test_neither_help_nor_config_import_torch():
    code = (
        "import sys; from rnnlab.cli import main\n"
        "main(['--help']); assert 'hydra' not in sys.modules\n"
        "main(['train', '--help']); main(['train', '--cfg', 'job'])\n"
        "assert not {'torch', 'lightning', 'matplotlib', 'pydantic'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(("columns", "widths"), [("", "110 120"), ("wide", "110 120"), ("70", "70 70")])
def test_the_width_that_a_shell_tells_is_taken_where_it_is_one(columns, widths):
    code = (
        "from rnnlab.sweeps import sweep; from rnnlab.terminal import run\n"
        "print(run.console.width, sweep.console.width)"
    )
    env = os.environ | {"COLUMNS": columns}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.split() == widths.split(), done.stderr


COMPLETE = """
eval "$(rnnlab {install})"
COMP_LINE={line!r}
COMP_POINT=${{#COMP_LINE}}
COMP_TYPE=9
_rnnlab rnnlab "" ""
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(line, install="completion bash"):
    script = COMPLETE.format(install=install, line=line)
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("rnnlab tr", ["train "]),
        ("rnnlab train experiment=notebook/n", ["notebook/next_value"]),
        ("rnnlab train seed=3 model=c", ["char_lm", "classifier"]),  # bash replaces what follows the =
        ("rnnlab train model.cell=l", ["layernormgru", "layernormlstm", "lem", "lru", "lstm"]),
        ("rnnlab train data=tokens trainer.accelerator=m", ["mps"]),
        ("rnnlab train data=chars model.hidden", ["model.hidden_size="]),
        ("rnnlab   train optimizer.we", ["optimizer.weight_decay="]),
    ],
)
def test_bash_completes_commands_groups_choices_and_keys(line, replies):
    assert completed(line) == replies


def test_hydras_way_of_installing_completion_works_for_two_words():
    assert completed("rnnlab train schedul", "train --shell-completion install=bash") == [
        "scheduler.", "scheduler="
    ]  # fmt: skip


def test_a_place_that_cannot_be_written_is_a_line_and_not_a_trace(monkeypatch, capsys, tmp_path):
    def write(argv):
        monkeypatch.setattr(Path, "open", refuse)
        write_whole(tmp_path / "report.html", b"")

    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    module = types.ModuleType("rnnlab.cli.report")
    module.main = write
    monkeypatch.setitem(sys.modules, "rnnlab.cli.report", module)
    assert said(capsys, "report") == (2, "", f"{tmp_path / 'report.html'}: Read-only file system")


def test_completion_runs_no_file_of_a_strangers(tmp_path):
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    for name in ("x$(touch BOOM)", "x`touch BOOM`", "xharmless", "x;touch BOOM"):
        (folder / f"{name}.yaml").write_text("# @package _global_\nseed: 1\n")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert completed("rnnlab train --config-dir conf experiment=x") == ["xharmless"]
        assert not (tmp_path / "BOOM").exists()
    finally:
        os.chdir(here)
