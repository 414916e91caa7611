"""A run's folder from a stranger is data: each trap is refused with one line, and nothing of it runs."""

import json
import pickle
import shutil
import stat
import zipfile
from html.parser import HTMLParser

import pytest

import rnnlab
from rnnlab.cli import main
from rnnlab.runs.yaml import to_yaml


def refused(capsys, *argv: str) -> str:
    assert main(list(argv)) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1, said
    return said


def with_config(run, **changes) -> None:
    (run.folder / "config.yaml").write_text(to_yaml(run.config | changes))


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
    "deep down": {"_target_": "lightning.pytorch.callbacks.LambdaCallback",
                  "on_fit_start": [{"a": {"b": [{"_target_": "subprocess.call", "args": ["touch", "BOOM"]}]}}]},
}  # fmt: skip


@pytest.mark.parametrize("trap", TRAPS)
def test_a_target_that_is_no_part(copied, capsys, trap, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with_config(copied, callbacks={"trap": TRAPS[trap]})
    said = refused(capsys, "reproduce", str(copied.folder))
    assert "--trust" in said or "not resolved" in said or "has no" in said
    assert not (tmp_path / "BOOM").exists()


@pytest.mark.parametrize("target", [{"_target_": "os.system", "_partial_": True}, ["os.system"], 3, None])
def test_a_model_of_no_class_is_refused_where_its_weights_are_loaded(copied, capsys, target):
    with_config(copied, model=copied.config["model"] | {"_target_": target})
    for command in ("evaluate", "forecast", "unroll"):
        refused(capsys, command, str(copied.folder), *(("--input", "0.1") if command == "unroll" else ()))


@pytest.mark.parametrize("trap", ["plain", "through a module", "deep down"])
def test_a_logger_is_not_even_built(copied, trap, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with_config(copied, logger={"trap": TRAPS[trap]})
    assert main(["reproduce", str(copied.folder)]) == 0
    assert not (tmp_path / "BOOM").exists()


@pytest.fixture
def writer(tmp_path):
    """A language model."""
    options = ("data=chars", "data.limit=4000", "data.segment=20", "data.batch_size=8", "model.hidden_size=4",
               "trainer.max_steps=2", "callbacks=none", "trainer.accelerator=cpu")  # fmt: skip
    return rnnlab.train(*options, f"paths.outputs={tmp_path / 'text'}")


@pytest.mark.parametrize(
    ("command", "section"),
    [("evaluate", "model"), ("evaluate", "data"), ("forecast", "model"), ("forecast", "data"),
     ("generate --prompt=the", "model")],
)  # fmt: skip
def test_using_a_run_builds_no_trap(request, capsys, command, section, tmp_path, monkeypatch):
    run = request.getfixturevalue("writer" if command.startswith("generate") else "copied")
    monkeypatch.chdir(tmp_path)
    with_config(run, **{section: run.config[section] | {"extra": TRAPS["plain"]}})
    name, *more = command.split()
    capsys.readouterr()
    said = refused(capsys, name, str(run.folder), *more)
    assert "(extra: os.system(command: text)), code outside rnnlab's list" in said and "--trust" in said
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


@pytest.mark.parametrize("command", ["evaluate", "reproduce", "model"])
def test_a_key_without_a_value(copied, capsys, command):
    config = copied.config
    config["model"]["options"] = {"extra": ["???"]}
    (copied.folder / "config.yaml").write_text(to_yaml(config))
    said = "config.yaml: model.options.extra.0 has no value; not the config.yaml of a run"
    if command == "model":
        with pytest.raises(rnnlab.UserError, match=r"model\.options\.extra\.0 has no value"):
            rnnlab.load(str(copied.folder)).model  # noqa: B018
    else:
        assert said in refused(capsys, command, str(copied.folder))


def test_json_and_metrics_that_are_none(copied, seeds, capsys):
    copied.metrics_file.write_text("step,metric,value\n1,loss,__import__('os')\n")
    assert "metrics.csv: not a table" in refused(capsys, "diff", str(copied.folder), str(seeds[0].folder))
    (copied.folder / "run.json").write_text("[" * 100_000)
    assert "run.json: cannot be read as JSON" in refused(capsys, "reproduce", str(copied.folder))


def test_files_of_a_giant_are_not_read(copied, seeds, capsys):
    """Holes, that take no room here."""
    for name, size in (("metrics.csv", 10**12), ("manifest.json", 10**11), ("run.json", 10**11)):
        with (copied.folder / name).open("ab") as f:
            f.truncate(size)
        argv = ["report"] if name == "run.json" else ["diff", str(seeds[0].folder)]
        assert f"{name}: larger than" in refused(capsys, *argv, str(copied.folder))
        shutil.copy(seeds[0].folder / name, copied.folder / name)


def test_a_checkpoint_that_unfolds(copied, seeds, capsys):
    with zipfile.ZipFile(copied.best_checkpoint) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(copied.best_checkpoint, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, bytes(50_000_000) if name.endswith("data/0") else content)
    assert copied.best_checkpoint.stat().st_size < 100_000
    said = refused(capsys, "diff", str(copied.folder), str(seeds[0].folder))
    assert "it is compressed, as no checkpoint is" in said


WRONG = {
    "best": {"results": {"best": {"value": "0.1"}}},
    "step": {"results": {"last": {"step": [1]}}},
    "baselines": {"results": {"baselines": {"val": {"mean": {"mse": None}}}}},
    "status": {"status": "<b>done</b>"},
    "seconds": {"seconds": "x"},
    "results": {"results": []},
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_record_of_other_types_is_none(copied, capsys, kind):
    (copied.folder / "run.json").write_text(json.dumps(copied.record | WRONG[kind]))
    for argv in (["report", str(copied.folder)], ["report", str(copied.folder.parent)]):
        assert "not the run.json of a run" in refused(capsys, *argv)


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Alerts(HTMLParser):
    """What a browser would run of a page's own making."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found, self.inside, self.texts = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        self.found += [(tag, k, v) for k, v in attributes if k.startswith("on") and "alert" in (v or "")]
        self.found += [
            (tag, k, v) for k, v in attributes if (v or "").strip().lower().startswith("javascript:")
        ]

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.texts.append(data)
        if self.inside == "script" and "alert(" in data:
            self.found.append((self.inside, data))


def everywhere(value):
    """The same structure with evil in every text, and in the names of metrics."""
    if isinstance(value, str):
        return EVIL
    if isinstance(value, list):
        return [*map(everywhere, value)]
    if isinstance(value, dict):
        evil = {
            k: v if k in ("status", "_target_", "monitor", "mode") else everywhere(v)
            for k, v in value.items()
        }
        return evil | ({EVIL: 0.5} if any(k.endswith("mae") for k in evil) else {})
    return value


def test_a_report_shows_what_is_evil_and_runs_none_of_it(copied, seeds, tmp_path, capsys):
    name = EVIL.replace("/", "")  # which no folder's name can have
    folder = copied.folder.with_name(name)
    copied.folder.rename(folder)
    run = rnnlab.Run(folder)
    (folder / "run.json").write_text(json.dumps(everywhere(run.record)))
    (folder / "manifest.json").write_text(json.dumps(everywhere(run.manifest)))
    (folder / "overrides.yaml").write_text(to_yaml([EVIL]))
    with_config(run, notes=EVIL, tags=[EVIL], name=EVIL, data=run.config["data"] | {"path": EVIL, EVIL: EVIL})
    table = run.metrics_file.read_text()
    run.metrics_file.write_text(table.replace("metric/mae", f'"{EVIL.replace(chr(34), chr(34) * 2)}"'))
    assert EVIL in rnnlab.Run(folder).metrics
    (folder / "samples").mkdir()
    (folder / "samples" / f"{name}.txt").write_text(EVIL)
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / f"{name}.png").write_bytes(b"no picture")
    shutil.copytree(seeds[1].folder, folder.with_name("another"))
    failed = folder.with_name("failed")
    shutil.copytree(seeds[2].folder, failed)
    rnnlab.Run(failed).update(status="failed", why=EVIL, label=EVIL)
    (tmp_path / "all").mkdir()
    assert main(["report", str(folder), "--html", str(tmp_path / "run.html")]) == 0
    assert main(["report", str(folder.parent), "--html", str(tmp_path / "all" / "index.html")]) == 0
    pages = [tmp_path / "run.html", tmp_path / "all" / "index.html", *folder.parent.glob("*/report.html")]
    assert len(pages) >= 4
    for page in pages:
        assert Alerts(page.read_text(encoding="utf-8")).found == [], page
    assert EVIL in "".join(Alerts((tmp_path / "run.html").read_text()).texts)


def archive_with(path, name: str, content: bytes = b"x", mode: int = 0) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        about = zipfile.ZipInfo(name)
        about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, mode << 16
        archive.writestr(about, content)
    return str(path)


def test_archives_that_are_traps(tmp_path, capsys):
    for name in ("../../climbed", "/tmp/climbed-by-rnnlab-test", "a/../../b", "..\\b"):
        said = refused(capsys, "reproduce", archive_with(tmp_path / "climb.zip", name), "--sample", "1")
        assert "leads out of the archive" in said
    assert not (tmp_path.parent / "climbed").exists()
    link = archive_with(tmp_path / "link.zip", "exp/run", b"/etc/passwd", stat.S_IFLNK | 0o777)
    assert "is a link" in refused(capsys, "reproduce", link, "--sample", "1")
    bomb = archive_with(tmp_path / "bomb.zip", "exp/run/run.json", bytes(50_000_000))
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
