"""A wheel works from any folder: its configs travel inside, and a user's own stand beside them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROBE = """
import json
from rnnlab.config import build, check, compose, config_folder
cfg = compose(["experiment=mine", "seed=5"], "myconf")
config = check(cfg)
print(json.dumps({
    "folder": str(config_folder()),
    "name": cfg.name,
    "shipped": check(compose(["experiment=sine"]))["name"],
    "data": str(build(config["data"], "data")),
    "cell": config["model"]["cell"],
    "built": str(build({"_target_": config["model"]["cell"], "hidden_size": 3}, "model.cell")),
}))
"""

MINE = '''
class Steps:
    """A data set of a user's own."""
    def __init__(self, height, seed): self.height, self.seed = height, seed
    def __str__(self): return f"steps {self.height} {self.seed}"

class Leaky:
    """A cell of a user's own, as far as the config is concerned."""
    def __init__(self, hidden_size): self.hidden_size = hidden_size
    def __str__(self): return f"leaky {self.hidden_size}"
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the built wheel in it, and nothing of this repository."""
    built, site = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return site


@pytest.fixture
def user(tmp_path):
    """An empty folder but for a user's own configs and module."""
    for group, name, text in (
        ("data", "steps", "_target_: mine.Steps\nheight: 2\nseed: ${seed}\n"),
        (
            "experiment",
            "mine",
            "# @package _global_\ndefaults:\n  - override /data: steps\n"
            "name: mine\nmodel:\n  cell: mine.Leaky\n",
        ),
    ):
        (tmp_path / "myconf" / group).mkdir(parents=True)
        (tmp_path / "myconf" / group / f"{name}.yaml").write_text(text)
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_a_user_outside_the_repository(installed, user):
    env = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=user, env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {
        "folder": str(installed / "rnnlab" / "conf"),
        "name": "mine",
        "shipped": "sine",
        "data": "steps 2 5",
        "cell": "mine.Leaky",
        "built": "leaky 3",
    }
    # the command finds the user's module beside which it is given
    asked = ["train", "--config-dir", "myconf", "experiment=mine", "data.hight=3"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "rnnlab", *asked] if sys.version_info >= (3, 11)
        else [sys.executable, "-m", "rnnlab", *asked],
        cwd=user, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "data.hight: no such key. Did you mean data.height?\n")


def test_type_checkers_take_the_types_of_the_wheel(installed):
    assert (installed / "rnnlab" / "py.typed").is_file()
