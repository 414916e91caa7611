"""What a manifest says of code and machine: outside a repository, with changes, on a GPU that is only pretended."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from rnnlab.reproduce.commit import git as apply
from rnnlab.runs import manifest


@pytest.fixture
def fresh(monkeypatch):
    """What the module asks only once per process is asked anew."""
    for name in ("code", "machine"):
        monkeypatch.setattr(manifest, name, getattr(manifest, name).__wrapped__)


def git(folder, *words):
    author = ["-c", "user.name=someone", "-c", "user.email=someone@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True)


def test_outside_a_repository_the_packages_version_stands_for_the_code(fresh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "rnnlab" / "runs" / "manifest.py"))
    assert manifest.code() == {"rnnlab": importlib.metadata.version("rnnlab"), "commit": None}


def test_outside_a_repository_that_of_rnnlabs_own_sources_is_told(fresh, tmp_path, monkeypatch):
    sources, elsewhere = tmp_path / "checkout" / "rnnlab", tmp_path / "elsewhere"
    elsewhere.mkdir()
    sources.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(manifest, "__file__", str(sources / "runs" / "manifest.py"))
    (sources / "__init__.py").write_text("")
    git(sources.parent, "init", "-q")
    git(sources.parent, "commit", "-qm", "A", "--allow-empty")
    assert manifest.code()["commit"] is None  # it lies below a repository, but is not of it
    git(sources.parent, "add", "-A"), git(sources.parent, "commit", "-qm", "B")
    assert len(manifest.code()["commit"]) == 40 and manifest.code()["clean"]


def test_inside_one_the_commit_and_what_was_not_committed(fresh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://me:hunter2@example.org/it.git")
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", "-A"), git(tmp_path, "commit", "-qm", "A")
    clean = manifest.code()
    assert len(clean["commit"]) == 40 and clean["clean"] and clean["diff"] == ""
    (tmp_path / "a.py").write_text("a = 2\n")
    dirty = manifest.code()
    assert dirty["commit"] == clean["commit"] and not dirty["clean"] and "+a = 2" in dirty["diff"]
    assert "hunter2" not in json.dumps(dirty)


def test_what_was_not_committed_can_be_applied_whatever_git_shows_its_user(fresh, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    git(tmp_path, "init", "-q")
    file = tmp_path / "a.py"
    file.write_bytes(b"a = 1\r\nb = 1\r\n")
    git(tmp_path, "add", "-A"), git(tmp_path, "commit", "-qm", "A")
    for key, value in {"color.ui": "always", "diff.noprefix": "true", "diff.relative": "true"}.items():
        git(tmp_path, "config", key, value)
    changed = "a = 1\r\nb = 'é'\r\n".encode()
    file.write_bytes(changed)
    diff = manifest.code()["diff"]
    git(tmp_path, "checkout", "-q", "a.py")
    apply(tmp_path, "apply", "-", why="", given=diff)
    assert file.read_bytes() == changed
    file.write_bytes(b"a = '\xe9'\r\n")  # not in UTF-8
    assert "+a = '\ufffd'" in manifest.code()["diff"]


@pytest.mark.parametrize("kind", ["its own", "elsewhere", "bare"])
def test_a_repository_in_a_runs_folder_is_a_strangers(kind, fresh, tmp_path, monkeypatch):
    """Its config may name commands, which git runs before it compares files."""
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    monkeypatch.chdir(run / "figures" if kind == "its own" else run)
    git(run, "init", "-q")
    git(run, "commit", "-qm", "A", "--allow-empty")
    git(run, "config", "core.fsmonitor", f"touch {tmp_path / 'BOOM'}; false")
    assert manifest.Path.cwd() in manifest.repositories()
    if kind == "elsewhere":
        (run / ".git").rename(tmp_path / "elsewhere")
        (run / ".git").write_text("gitdir: ../elsewhere\n")
    if kind == "bare":
        git(run, "config", "core.bare", "true")
        for file in (run / ".git").iterdir():
            file.rename(run / file.name)
        (run / ".git").rmdir()
    (run / "run.json").touch()
    assert manifest.Path.cwd() not in manifest.repositories()
    manifest.code()
    assert not (tmp_path / "BOOM").exists()


def test_a_gpu_and_its_driver(fresh, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"Pretended {i}")

    def run(words, **_):
        assert words[0] == "nvidia-smi"
        return SimpleNamespace(returncode=0, stdout="550.54.15\n550.54.15\n")

    monkeypatch.setattr(manifest, "subprocess", SimpleNamespace(run=run))
    about = manifest.machine()
    assert about["gpus"] == ["Pretended 0", "Pretended 1"] and about["driver"] == "550.54.15"
    assert {"cuda", "cudnn"} <= about.keys()


def test_no_driver_is_no_failure(monkeypatch):
    def missing(words, **_):
        raise FileNotFoundError(words[0])

    monkeypatch.setattr(manifest.subprocess, "run", missing)
    assert manifest.gpu_driver() is None


def test_of_the_environment_only_what_changes_numbers_is_recorded(small, tmp_path, monkeypatch):
    # MKL reads it at its first use, and would keep it for the tests to come
    torch.ones(9, 9) @ torch.ones(9, 9)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    private = str(tmp_path)[::-1]  # not written here, where the diff of this file would tell it
    monkeypatch.setenv("SOMETHING_PRIVATE", private)
    run = small()
    assert run.manifest["environment"]["MKL_CBWR"] == "COMPATIBLE"
    assert set(run.manifest["environment"]) <= set(manifest.DECISIVE)
    assert private not in run.manifest_file.read_text()
    assert run.manifest["machine"]["cores"] == os.cpu_count()
    assert run.manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_repository_of_somebody_else_runs_nothing(tmp_path, monkeypatch):
    """Above the working folder: its config and its hooks name commands, for the status and the diff."""
    from rnnlab.runs import manifest

    top, boom = tmp_path / "theirs", tmp_path / "booms"
    inner = top / "inner"
    inner.mkdir(parents=True), boom.mkdir()
    for folder in (inner, top):
        git(folder, "init", "-q")
        (folder / "a.txt").write_text("a")
        (folder / ".gitattributes").write_text("*.txt filter=a=b diff=x\n")
        git(folder, "add", "-A"), git(folder, "commit", "-qm", "A")
        for key in ("core.fsmonitor", "filter.a=b.clean", "filter.a=b.process", "diff.x.textconv", "diff.x.command",
                    "diff.external", "core.sshCommand", "core.pager"):  # fmt: skip
            git(folder, "config", key, f"touch {boom}/{folder.name}-{key}; false")
        git(folder, "config", "filter.a=b.required", "true")
        for hook in ("post-index-change", "reference-transaction"):
            file = folder / ".git" / "hooks" / hook
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"#!/bin/sh\ntouch {boom}/{folder.name}-{hook}\n")
            file.chmod(0o755)
        (folder / "a.txt").write_text("b")
    (top / "sub").mkdir()
    monkeypatch.chdir(top / "sub")
    found = manifest.code.__wrapped__()
    assert len(found["commit"]) == 40 and found["clean"] is False and "-a\n" in found["diff"]
    assert not list(boom.iterdir())
    subprocess.run(["git", "status"], capture_output=True)
    assert list(boom.iterdir())  # as a plain git would


@pytest.mark.parametrize(
    ("version", "old"),
    [("2.30.9", True), ("1.8.3.1", True), ("2.31.0", False), ("2.39.5 (Apple Git-154)", False)],
)
def test_a_git_that_would_run_a_repositorys_filters_is_not_asked_for_changes(
    version, old, tmp_path, monkeypatch, capsys
):
    """Settings from the environment, which switch them off, it would not read."""
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("a")
    git(tmp_path, "add", "-A"), git(tmp_path, "commit", "-qm", "A")
    real, home = shutil.which("git"), tmp_path / "bin"
    home.mkdir()
    old_one = f"""#!/bin/sh
for word; do [ "$word" = version ] && echo "git version {version}" && exit; done
{"unset GIT_CONFIG_COUNT" if old else ":"}
exec {real} "$@"
"""
    (home / "git").write_text(old_one)
    (home / "git").chmod(0o755)
    git(tmp_path, "config", "filter.x.clean", f"touch {tmp_path}/BOOM; cat")
    (tmp_path / ".gitattributes").write_text("*.txt filter=x\n")
    (tmp_path / "a.txt").write_text("b")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    manifest._too_old.cache_clear()
    found = manifest.code.__wrapped__()
    manifest._too_old.cache_clear()
    assert len(found["commit"]) == 40 and found["clean"] is False and bool(found["diff"]) is not old
    assert not (tmp_path / "BOOM").exists()
    said = capsys.readouterr().err.strip().splitlines()
    assert [line.partition(" would run")[0] for line in said] == [f"git {version}"] * old


def test_a_missing_object_is_not_fetched(tmp_path, monkeypatch):
    """A repository that was cloned in part names a command by which it is to be completed."""
    from rnnlab.runs import manifest

    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("a")
    git(tmp_path, "add", "-A"), git(tmp_path, "commit", "-qm", "A")
    blob = subprocess.run(
        ["git", "rev-parse", "HEAD:a.txt"], cwd=tmp_path, capture_output=True, text=True
    ).stdout.strip()
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for key, value in {"remote.o.url": f"ext::touch {tmp_path}/BOOM", "remote.o.promisor": "true",
                       "extensions.partialClone": "o", "core.repositoryFormatVersion": "1",
                       "protocol.ext.allow": "always"}.items():  # fmt: skip
        git(tmp_path, "config", key, value)
    (tmp_path / "a.txt").write_text("b")
    monkeypatch.chdir(tmp_path)
    assert manifest.code.__wrapped__()["clean"] is False
    assert not (tmp_path / "BOOM").exists()
    subprocess.run(["git", "diff", "HEAD"], capture_output=True)
    assert (tmp_path / "BOOM").exists()  # as a plain git would


def test_a_users_own_settings_of_git_stay(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    for name, value in {"COUNT": "1", "KEY_0": "rnnlab.theirs", "VALUE_0": "kept"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    asked = tmp_path, {"filter.x.clean": "cat"}, "config"
    assert manifest._git(*asked, "rnnlab.theirs") == "kept\n"
    assert manifest._git(*asked, "filter.x.clean") == "cat\n"
