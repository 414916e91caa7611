"""No file that a run leaves holds what is secret."""

import pytest

from rnnlab.runs.run import Run
from rnnlab.runs.run_path import Place
from rnnlab.runs.secrets import without_secrets
from rnnlab.sweeps.job import Job, record_failure

SECRETS = {
    "variable": "hunter2-of-the-environment",
    "key": "hunter2-of-a-key",
    "address": "hunter2-of-an-address",
}


@pytest.fixture
def told(small, monkeypatch):
    """A run that was told secrets, in every way, as part of what it does not need."""
    monkeypatch.setenv("SOME_API_KEY", SECRETS["variable"])
    return small(
        f"notes='by {SECRETS['variable']}'",
        f"+callbacks.stock={{_target_:test_secrets.Login,password:{SECRETS['key']}}}",
        f"tags=['https://me:{SECRETS['address']}@example.org/']",
    )


class Login(__import__("lightning").Callback):
    def __init__(self, password: str) -> None:
        assert password == SECRETS["key"]  # the run itself has it


def test_no_file_of_a_run_holds_a_secret(told):
    files = [path for path in told.folder.rglob("*") if path.is_file()]
    assert len(files) > 7 and any(path.name.startswith("events.out") for path in files)
    for path in files:
        assert b"hunter2" not in path.read_bytes(), path.name
    assert told.config["notes"] == "by <environment: SOME_API_KEY>"
    assert told.config["callbacks"]["stock"]["password"] == "<secret>"
    assert told.config["tags"] == ["https://<secret>@example.org/"]


def test_a_run_that_is_refused_before_its_training_tells_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", SECRETS["variable"])
    place = Place(tmp_path / "run", "a", "a", "")
    job = Job(0, {"name": "exp"}, place, [], [])
    record_failure(Run(place.folder), job, RuntimeError(f"no entry with {SECRETS['variable']}"))
    assert Run(place.folder).record["why"] == "RuntimeError: no entry with <environment: SOME_API_KEY>"
    assert "hunter2" not in (place.folder / "traceback.txt").read_text()


@pytest.mark.parametrize(
    "plain",
    [
        "model.hidden_size=64",
        "data.unknown_token=[?]",
        "a diff\n+password = given\n",
        {"unknown_token": "[?]", "monitor": "loss/val"},
        "data.path=s3://bucket/a@b.csv",
        "optimizer.key=a",
        {"password": None},
        ["a", 1, None, 0.5, True],
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_secret_stays(plain):
    assert without_secrets(plain) == plain


def test_a_secret_that_begins_with_another_is_hidden_whole(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "hunter2-")
    monkeypatch.setenv("B_TOKEN", "hunter2-and-more")
    assert without_secrets("a hunter2-and-more") == "a <environment: B_TOKEN>"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("+logger.wandb.api_key=abcdefgh", "+logger.wandb.api_key=<secret>"),
        ({"access_key": "x", "a": {"token": "y"}}, {"access_key": "<secret>", "a": {"token": "<secret>"}}),
        ("+callbacks.x={_target_:a.B,password:abc}", "+callbacks.x={_target_:a.B,password:<secret>}"),
        (["logger.mlflow.tracking_uri=https://u:p@host/x"], ["logger.mlflow.tracking_uri=https://<secret>@host/x"]),
        ("url = https://oauth2:abc@example.org/repo.git", "url = https://<secret>@example.org/repo.git"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_secret_does_not(given, kept):
    assert without_secrets(given) == kept
