"""What a manifest says of code and machine: outside a repository, with changes, on a GPU that is only pretended."""

import importlib.metadata
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

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
    torch.ones(9, 9) @ torch.ones(
        9, 9
    )  # MKL reads it at its first use, and would keep it for the tests to come
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    private = str(tmp_path)[::-1]  # not written here, where the diff of this file would tell it
    monkeypatch.setenv("SOMETHING_PRIVATE", private)
    run = small()
    assert run.manifest["environment"]["MKL_CBWR"] == "COMPATIBLE"
    assert set(run.manifest["environment"]) <= set(manifest.DECISIVE)
    assert private not in run.manifest_file.read_text()
    assert run.manifest["machine"]["cores"] == os.cpu_count()
    assert run.manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
