"""A run's folder from a stranger is data: each trap is refused with one line, and nothing of it runs."""

import json
import pickle
import stat
import zipfile

import pytest

from rnnlab.cli import main
from rnnlab.ledger.yaml import to_yaml


def refused(capsys, *argv: str) -> str:
    assert main(list(argv)) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1, said
    return said


def with_config(run, **changes) -> None:
    (run.folder / "config.yaml").write_text(to_yaml(run.config | changes))
    run.__dict__.pop("config")


TRAPS = {
    "plain": {"_target_": "os.system", "command": "touch BOOM"},
    "through a part": {"_target_": "torch.nn.modules.module.functools.partial"},
    "through a module": {"_target_": "rnnlab.training.train.shutil.rmtree", "path": "BOOM"},
    "hub": {"_target_": "torch.hub.load"},
    "nested": {"_target_": "lightning.pytorch.callbacks.LambdaCallback",
               "on_fit_start": {"_target_": "os.system", "command": "touch BOOM"}},
    "interpolated": {"_target_": "lightning.pytorch.callbacks.LambdaCallback",
                     "on_fit_start": "${oc.create:{_target_:os.system}}"},
    "not a text": {"_target_": ["os.system"]},
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_a_target_that_is_no_part(copied, capsys, trap, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with_config(copied, callbacks={"trap": TRAPS[trap]})
    said = refused(capsys, "reproduce", str(copied.folder))
    assert "--trust" in said or "not resolved" in said or "has no" in said
    assert not (tmp_path / "BOOM").exists()


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def test_a_pickle_in_a_checkpoint(copied, seeds, capsys):
    copied.best_checkpoint.write_bytes(pickle.dumps(Bomb()))
    assert "not a checkpoint that can be read safely" in refused(
        capsys, "diff", str(copied.folder), str(seeds[0].folder)
    )
    assert "not a checkpoint that can be read safely" in refused(capsys, "reproduce", str(copied.folder))


def aliases(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines)


YAML = {
    "a billion": aliases(9),
    "itself": "a: &a [*a]",
    "a million": "a: &a [1]\nb: [" + ", ".join(["*a"] * 300_000) + "]",
    "deep": "[" * 50_000,
    "tag": "!!python/object/apply:os.system ['touch BOOM']",
    "large": "a: " + "x" * 5_000_000,
}


@pytest.mark.parametrize("kind", YAML)
def test_yaml_that_is_more_than_it_looks(copied, capsys, kind, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (copied.folder / "config.yaml").write_text(YAML[kind])
    assert "config.yaml" in refused(capsys, "reproduce", str(copied.folder))
    assert not (tmp_path / "BOOM").exists()


def test_json_and_metrics_that_are_none(copied, seeds, capsys):
    copied.metrics_file.write_text("step,metric,value\n1,loss,__import__('os')\n")
    assert "metrics.csv: not a table" in refused(capsys, "diff", str(copied.folder), str(seeds[0].folder))
    (copied.folder / "run.json").write_text("[" * 100_000)
    assert "run.json: cannot be read as JSON" in refused(capsys, "reproduce", str(copied.folder))


def archive_with(path, name: str, content: bytes = b"x", mode: int = 0) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        about = zipfile.ZipInfo(name)
        about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, mode << 16
        archive.writestr(about, content)
    return str(path)


def test_archives_that_are_traps(tmp_path, capsys):
    for name in ("../../climbed", "/tmp/climbed-by-rnnlab-test", "a/../../b", "..\\b", "C:evil"):
        said = refused(capsys, "reproduce", archive_with(tmp_path / "climb.zip", name), "--sample", "1")
        assert "leads out of the archive" in said
    assert not (tmp_path.parent / "climbed").exists()
    link = archive_with(tmp_path / "link.zip", "exp/run", b"/etc/passwd", stat.S_IFLNK | 0o777)
    assert "is a link" in refused(capsys, "reproduce", link, "--sample", "1")
    bomb = archive_with(tmp_path / "bomb.zip", "exp/run/metrics.csv", bytes(50_000_000))
    assert "unfolds to 50,000,000 bytes" in refused(capsys, "reproduce", bomb, "--sample", "1")
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    assert "cannot be read as an archive" in refused(
        capsys, "reproduce", str(tmp_path / "no.zip"), "--sample", "1"
    )


def test_a_commit_that_is_an_option(copied, capsys):
    manifest = copied.manifest
    manifest["code"] = {"commit": "--upload-pack=touch BOOM", "diff": ""}
    copied.manifest_file.write_text(json.dumps(manifest))
    assert "no commit to go back to" in refused(capsys, "reproduce", str(copied.folder), "--commit")
    manifest["code"] = {"commit": "0" * 40, "diff": "diff --git a/x b/x"}
    copied.manifest_file.write_text(json.dumps(manifest))
    assert "--trust" in refused(capsys, "reproduce", str(copied.folder), "--commit")
