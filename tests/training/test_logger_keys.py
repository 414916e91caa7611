"""A logger whose server would ask for a key is refused at planning, unless it finds one or sends nothing."""

import sys
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import WandbLogger

from rnnlab.cli import main
from rnnlab.training.logger_keys import missing

LOGGERS = "lightning.pytorch.loggers."
WANDB = {"_target_": f"{LOGGERS}WandbLogger"}
OURS = {"_target_": "rnnlab.training.tracking.Comet"}
THEIRS = {"_target_": f"{LOGGERS}CometLogger"}
NAMES = ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_ANONYMOUS", "WANDB_CONFIG_DIR", "WANDB_DIR", "NETRC",
         "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DISABLED", "COMET_API_KEY", "COMET_CONFIG")  # fmt: skip


class Mine(WandbLogger):
    """A user's own."""


@pytest.fixture(autouse=True)
def without_keys(tmp_path, monkeypatch):
    """A home and a working folder where nothing is."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def lines(node, quick=False):
    return list(missing({"trainer": {"fast_dev_run": quick}, "logger": {"one": node, "other": None}}))


@pytest.mark.parametrize("node", [WANDB, {"_target_": f"{__name__}.Mine"}, OURS, THEIRS])
def test_without_a_key_it_is_refused(node):
    (line,) = lines(node)
    assert line.startswith("logger.one: there is no key for ")
    assert not lines(node, quick=True)  # Lightning then logs nowhere


def test_the_line_names_the_server_that_was_asked_for(monkeypatch):
    assert "no key for api.wandb.ai: `wandb login`" in lines(WANDB)[0]
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:8080")
    assert "no key for localhost:8080: " in lines(WANDB)[0]


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        (WANDB, "WANDB_API_KEY", "k" * 40),
        (WANDB, "WANDB_MODE", "offline"),
        (WANDB, "WANDB_MODE", "disabled"),
        (WANDB, "WANDB_ANONYMOUS", "must"),
        (WANDB, "WANDB_IDENTITY_TOKEN_FILE", "token"),
        (OURS, "COMET_API_KEY", "k"),
        (THEIRS, "COMET_API_KEY", "k"),
    ],
)
def test_the_environment_has_a_key_or_says_that_nothing_is_sent(node, name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    assert not lines(node)
    monkeypatch.setenv(name, "")
    assert lines(node)


@pytest.mark.parametrize(
    ("node", "more"),
    [
        (WANDB, {"offline": True}),
        (WANDB, {"mode": "offline"}),
        (WANDB, {"anonymous": True}),
        (OURS, {"online": False}),
        (THEIRS, {"online": False}),
        (THEIRS, {"api_key": "k"}),
    ],
)
def test_an_argument_says_so(node, more):
    assert not lines(node | more)


def test_a_key_in_netrc_is_of_its_host(tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password k\n")
    assert not lines(WANDB)
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:8080")
    assert lines(WANDB)
    (tmp_path / "mine").write_text("machine localhost:8080 login user password k\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "mine"))
    assert not lines(WANDB)
    (tmp_path / "mine").write_text("machine of nothing that is known\n")
    assert lines(WANDB)


@pytest.mark.parametrize("place", [".config/wandb/settings", "wandb/settings"])
@pytest.mark.parametrize("line", ["mode = offline", "api_key = k%k"])
def test_wandbs_own_settings_are_read(place, line, tmp_path):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text("no settings\n")
    assert lines(WANDB)
    path.write_text("[default]\nbase_url = http://mine:1\n")
    assert "no key for mine:1" in lines(WANDB)[0]
    path.write_text(f"[default]\n{line}\n")
    assert not lines(WANDB)


def test_a_login_in_this_process_counts(monkeypatch):
    settings = SimpleNamespace(api_key="k")
    package = SimpleNamespace(setup=lambda: SimpleNamespace(settings=settings))
    monkeypatch.setitem(sys.modules, "wandb", package)
    assert not lines(WANDB)
    settings.api_key = None
    assert lines(WANDB)


@pytest.mark.parametrize("place", [".comet.config", "elsewhere"])
def test_comets_own_file_is_read(place, tmp_path, monkeypatch):
    monkeypatch.setenv("COMET_CONFIG", str(tmp_path / "elsewhere"))
    (tmp_path / place).write_text("[comet]\nworkspace = w\n")
    assert lines(OURS)
    (tmp_path / place).write_text("[comet]\napi_key = k\n")
    assert not lines(OURS)


def test_a_run_and_a_sweep_are_refused_before_anything_is_written(tmp_path, capsys):
    pytest.importorskip("wandb")
    asked = ["train", "data=sine", "data.n_points=200", "model.hidden_size=4", "trainer.max_epochs=1", "logger=wandb",
             "callbacks=none", "trainer.accelerator=cpu", f"paths.outputs={tmp_path / 'out'}"]  # fmt: skip
    for words in (asked, [*asked, "-m", "seed=0,1", "sweep.workers=1"]):
        assert main(words) == 2
        said = capsys.readouterr()
        assert (said.err + said.out).count("logger.wandb: there is no key for api.wandb.ai: ") == 1
        assert "Traceback" not in said.err and not (tmp_path / "out").exists()
