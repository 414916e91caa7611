"""Numbers that no counter holds, in every file of a run: a line that names the file, and the others go on."""

import json
import shutil
from pathlib import Path

import pytest

import rnnlab
from rnnlab.cli import main
from rnnlab.errors import UserError
from rnnlab.runs.files import endless, read_json, write_json
from rnnlab.runs.run import Run
from rnnlab.runs.yaml import read_yaml

HUGE = 10**400


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """An experiment of two runs."""
    options = ("experiment=sine", "model.hidden_size=4", "data.n_points=200", "trainer.max_epochs=1", "callbacks=none",
               "trainer.accelerator=cpu", "model.engine=torch")  # fmt: skip
    outputs = tmp_path_factory.mktemp("outputs")
    first, _ = (rnnlab.train(*options, f"seed={i}", f"paths.outputs={outputs}") for i in (0, 1))
    return first.folder.parent


@pytest.fixture
def pair(trained, tmp_path) -> tuple[rnnlab.Run, rnnlab.Run]:
    """Copies of the two: one to be spoilt, one to go on with."""
    shutil.copytree(trained, tmp_path / "exp")
    bad, good = sorted((tmp_path / "exp").iterdir())
    return rnnlab.Run(bad), rnnlab.Run(good)


def best(**changes):
    return {
        "results": {
            "best": {
                "value": 0.1,
                "step": 3,
                "epoch": 0,
                "monitor": "loss/val",
                "metrics": {"metric/mse": 0.1},
            }
            | changes
        }
    }


RECORDS = {
    "value": best(value=HUGE),
    "negative": best(value=-HUGE),
    "step": best(step=10**20),
    "a step below 0": best(step=-1),
    "a step that events cannot count": best(step=2**63),
    "half a step": best(step=0.5),
    "no step": best(step=float("nan")),
    "true": best(value=True),
    "a true step": best(step=True),
    "seconds": {"seconds": int("9" * 4000)},
    "true seconds": {"seconds": True},
    "steps": {"results": {"steps": 10**20}},
    "elsewhere": {"anything": [{"deep": HUGE}]},
    "half a best": {"results": {"best": {"value": 0.1}}},
    "a long label": {"label": "x" * 10**6},
}
LIVE = {
    "infinite": best(value=float("inf")),
    "none": best(value=float("nan")),
    "large": best(value=1e308, metrics={"metric/mse": 1e308, "metric/mae": -1e308}),
    "small": best(value=5e-324),
    "zero": best(value=0),
    "below 0": best(value=-1.5),
    "no time": {"seconds": 0},
    "time below 0": {"seconds": -1.0},
    "endless time": {"seconds": float("inf")},
    "no number of time": {"seconds": float("nan")},
    "last step": best(step=2**63 - 1),
    "a year": {"created": "9999-12-31T23:59:59", "started": "0000-00-00T00:00:00", "ended": "x"},
}


def commands(bad: rnnlab.Run, good: rnnlab.Run, out: Path) -> list[list[str]]:
    experiment = str(bad.folder.parent)
    return [["report", experiment], ["report", experiment, "--html", f"{out}/x.html"], ["report", str(bad.folder)],
            ["report", experiment, "--csv", f"{out}/x.csv"], ["report", experiment, "--json", f"{out}/x.json"],
            ["diff", str(bad.folder), str(good.folder)], ["archive", experiment, "--out", f"{out}/x.zip"]]  # fmt: skip


def said_by(capsys, pair, out: Path) -> dict[str, tuple[int, str]]:
    found = {}
    for argv in commands(*pair, out):
        code = main(argv)
        err = capsys.readouterr().err
        assert "Traceback" not in err and code in (0, 2, 3), (argv, err)
        assert len(err) < 2000 and len(err.splitlines()) <= 2, (argv, err)
        of_one = argv == ["report", str(pair[0].folder)]
        found["page" if of_one else argv[0]] = (code, err)
    return found


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_beyond_bounds_is_left_out(kind, pair, tmp_path, capsys):
    bad, _ = pair
    (bad.folder / "run.json").write_text(json.dumps(bad.record | RECORDS[kind]))
    said = said_by(capsys, pair, tmp_path)
    assert f"{bad.folder}/run.json" in said["archive"][1] and said["archive"][0] == 0
    with pytest.raises(UserError, match=r"run\.json"):
        assert rnnlab.Run(bad.folder).record


@pytest.mark.parametrize("kind", LIVE)
def test_a_record_at_its_bounds_is_shown(kind, pair, tmp_path, capsys):
    bad, _ = pair
    (bad.folder / "run.json").write_text(json.dumps(bad.record | LIVE[kind]))
    assert {code for code, _ in said_by(capsys, pair, tmp_path).values()} <= {0, 3}


@pytest.mark.parametrize("line", ["100000000000000000000,loss/val,0.1", "1,loss/val,x", "1,loss/val",
                                  f"{'9' * 5000},loss/val,1",
                                  f"1,{'x' * 200_000},1", "1.5,loss/val,1", "nan,loss/val,1"])  # fmt: skip
def test_metrics_beyond_bounds(line, pair, tmp_path, capsys):
    bad, _ = pair
    with bad.metrics_file.open("a") as file:
        file.write(f"{line}\n")
    said = said_by(capsys, pair, tmp_path)
    assert f"{bad.metrics_file}: not a table" in said["archive"][1]
    assert said["report"][0] == 0 and said["diff"][0] == said["page"][0] == 2


@pytest.mark.parametrize("value", ["9" * 401, "9" * 5000, "0x" + "f" * 1000, "0b" + "1" * 70, "1" + ":00" * 100_000,
                                   "1" + ":00" * 1000 + ".5", "-" + "9" * 30])  # fmt: skip
def test_numbers_of_a_config(value, pair, tmp_path, capsys):
    bad, _ = pair
    with (bad.folder / "config.yaml").open("a") as file:
        file.write(f"extra: {value}\n")
    said = said_by(capsys, pair, tmp_path)
    assert f"{bad.folder}/config.yaml: cannot be read as YAML" in said["archive"][1]


def test_where_a_number_ends(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"seed": 2**64 - 1, "n": -(2**64) + 1}))
    assert read_json(tmp_path / "x.json")["seed"] == 2**64 - 1
    (tmp_path / "x.yaml").write_text(f"seed: {2**64 - 1}\nx: 1e400\ny: .inf")
    assert read_yaml(tmp_path / "x.yaml") == {"seed": 2**64 - 1, "x": "1e400", "y": float("inf")}
    assert endless({"a": [1, {"b": 2**64}]}) == "a.1.b" and endless({"a": [1, True, "x", None, 1.0]}) == ""
    (tmp_path / "x.json").write_text('{"a": ' + "9" * 5000 + "}")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_json(tmp_path / "x.json")
    (tmp_path / "x.yaml").write_text("")
    assert read_yaml(tmp_path / "x.yaml") is None


def test_a_file_is_read_once_and_again_when_another_has_written_it(pair, monkeypatch):
    from rnnlab.runs import folder as module

    run, _ = pair
    reads = []
    for name in ("read_json", "read_yaml"):
        read = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, read=read: reads.append(path.name) or read(path))
    first = [(run.status, run.record, run.config, run.manifest, run.overrides) for _ in range(3)]
    assert first[0] == first[2]
    assert sorted(reads) == ["config.yaml", "manifest.json", "overrides.yaml", "run.json"]
    rnnlab.Run(run.folder).update(status="stopped")  # as another process would
    assert run.status == "stopped" and run.record["id"] == first[0][1]["id"]
    run.update(status="failed")
    assert run.status == "failed"
    run.remove()
    assert run.record == run.manifest == {} and run.overrides == []


@pytest.mark.parametrize(("changes", "why"), [
    ({"status": "gone"}, "status: Input should be 'queued', 'running'"),
    (best(step=-1), "results.best.step: Input should be greater than or equal to 0"),
    ({"results": {"best": {"value": 0.1}}}, "results.best: has no step or no metrics"),
    ({"engine": ["native"]}, "engine: Input should be a valid dictionary"),
])  # fmt: skip
def test_the_line_names_the_key(changes, why, pair):
    run, _ = pair
    (run.folder / "run.json").write_text(json.dumps(run.record | changes))
    with pytest.raises(UserError) as caught:
        assert rnnlab.Run(run.folder).record
    assert f"run.json: {why}" in str(caught.value) and str(caught.value).endswith("not the run.json of a run")


@pytest.mark.parametrize("said", ["x" * 200_000, "no file \udcff"], ids=["long", "no UTF-8"])
def test_whatever_an_error_says_its_run_can_be_read(said, tmp_path):
    run = Run(tmp_path)
    write_json(tmp_path / "run.json", {"id": "a", "status": "running"})
    with pytest.raises(RuntimeError), run.failing():
        raise RuntimeError(said)
    assert (run.id, run.status) == ("a", "failed")
    assert run.record["why"].startswith(f"RuntimeError: {said[:8]}")
    assert said[:8] in (tmp_path / "traceback.txt").read_text()
