"""`rnnlab reproduce --commit` for real: a repository of its own, a run at one commit, other numbers at the next."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_kills import RUN

from rnnlab.cli import main
from rnnlab.cli.reproduce import main as reproduce
from rnnlab.errors import UserError
from rnnlab.reproduce.commit import git as quiet_git
from rnnlab.runs import manifest
from tortures.death import ended, fork

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A run trained at commit A, in a repository where B, which scales every training loss, is checked out."""
    folder = tmp_path_factory.mktemp("repository")
    aside = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for name in ("src", "conf"):
        shutil.copytree(PROJECT / name, folder / name, ignore=aside)
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("outputs/\n__pycache__/\n")
    a = commit(folder, "A")

    def train() -> int:  # by the code that was copied just now
        os.chdir(folder)
        manifest.code.cache_clear()
        return main(["train", *RUN])

    assert ended(fork(train, folder.with_name("log"))) == 0
    task = folder / "src" / "rnnlab" / "tasks" / "task.py"
    before = task.read_text()
    task.write_text(before.replace(" = self.loss(batch)\n", " = 1.5 * self.loss(batch)\n"))
    assert task.read_text() != before
    b = commit(folder, "B")
    (run,) = (folder / "outputs" / "sine").glob("*/run.json")
    return folder, run.parent, a, b


def git(folder: Path, *words: str) -> str:
    author = ["-c", "user.name=someone", "-c", "user.email=someone@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *author, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD")


def rnnlab(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    words = (sys.executable, "-m", "rnnlab", *words)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_with_todays_code_it_differs_and_with_its_own_it_is_the_same_bits(repository):
    folder, run, a, b = repository
    assert json.loads((run / "manifest.json").read_text())["code"]["commit"] == a
    today = rnnlab(folder, "reproduce", str(run), "--json")
    (found,) = json.loads(today.stdout)
    assert found["verdict"] == "different" and today.returncode == 5
    commits, sources = found["differs"]["code"]
    assert commits == f"commit: {a[:12]} -> {b[:12]}"
    assert sources.startswith("the sources that decide numbers: ")
    then = rnnlab(folder, "reproduce", str(run), "--commit", "--json")
    assert then.returncode == 0, then.stdout + then.stderr
    (found,) = json.loads(then.stdout)
    assert found["verdict"] == "bitwise" and found["differs"] == {}
    assert git(folder, "worktree", "list").count("\n") == 0, "a worktree was left"
    assert git(folder, "status", "--porcelain") == ""


def test_a_repository_of_somebody_else_runs_no_hook_and_no_filter(tmp_path):
    """The commit's code is what was asked for; what the repository's own config names was not."""
    home, boom = tmp_path / "theirs", tmp_path / "booms"
    home.mkdir(), boom.mkdir()
    git(home, "init", "-q")
    (home / "a.txt").write_text("a")
    (home / ".gitattributes").write_text("*.txt filter=x\n")
    commit(home, "A")
    for what in ("clean", "smudge"):
        git(home, "config", f"filter.x.{what}", f"touch {boom}/{what}; cat")
    hook = home / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {boom}/hook\n"), hook.chmod(0o755)
    changes = "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n"
    for tree, asks in ((tmp_path / "tree", quiet_git), (tmp_path / "other", None)):
        words = ("worktree", "add", "--detach", "--quiet", str(tree), "HEAD")
        if asks is None:
            git(home, *words)
        else:
            asks(home, *words, why="no worktree")
            asks(tree, "apply", "-", why="no diff", given=changes)
            assert (tree / "a.txt").read_text() == "b\n" and not list(boom.iterdir())
    assert {"smudge", "hook"} <= {one.name for one in boom.iterdir()}  # as a plain git would


def test_what_was_not_committed_is_applied_where_it_is_trusted(repository, tmp_path):
    """The same run, as it were at B with the changes that make A of it."""
    folder, run, a, b = repository
    dirty = tmp_path / run.name
    shutil.copytree(run, dirty)
    manifest = json.loads((dirty / "manifest.json").read_text())
    manifest["code"] |= {"commit": b, "clean": False, "diff": git(folder, "diff", b, a) + "\n"}
    (dirty / "manifest.json").write_text(json.dumps(manifest))
    refused = rnnlab(folder, "reproduce", str(dirty), "--commit")
    assert refused.returncode == 2 and "which --trust applies" in refused.stderr
    done = rnnlab(folder, "reproduce", str(dirty), "--commit", "--trust", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout)
    assert found["verdict"] == "bitwise" and found["differs"] == {}


def test_what_is_asked_of_the_old_code_does_not_draw_again(small, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "rnnlab.reproduce.commit.with_its_code", lambda run, words, trust: asked.append(words)
    )
    runs = [small("seed=1"), small("seed=2")]
    for words in (("--sample", "1", "--seed", "1", "--rtol", "1"), ("--rtol=0.5", "--js", "--sam=1")):
        reproduce([str(tmp_path / "sine"), *words, "--commit", "--into", str(tmp_path / "1")])
    into = f"--into={tmp_path / '1'}"
    assert [words[1:] for words in asked] == [["--rtol=1.0", into], ["--rtol=0.5", into, "--json"]]
    assert {words[0] for words in asked} <= {str(run.folder) for run in runs}


def test_a_git_that_is_too_old_is_refused_by_the_option(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_too_old", lambda: True)
    with pytest.raises(UserError, match=r"^--commit: needs git 2\.31 or newer$"):
        quiet_git(tmp_path, "status", why="no worktree")
