"""What a trained model refuses of new data, and what is not run without trust."""

import random
import shutil
from pathlib import Path

import pytest
from tables import table

import rnnlab
from rnnlab.cli.evaluate import main
from rnnlab.data import Tokens
from rnnlab.errors import UserError
from rnnlab.runs.data import changed


@pytest.mark.parametrize("part", ["model", "data"])
def test_code_outside_rnnlab_is_not_run_without_trust(sine, tmp_path, monkeypatch, part):
    shutil.copytree(sine.folder, tmp_path / "run")
    (tmp_path / "mine.py").write_text(
        "from rnnlab.data import Sine\nfrom rnnlab.tasks import Forecaster\nprint('imported')\n"
    )
    ours, foreign = {"model": ("rnnlab.tasks.Forecaster", "mine.Forecaster"),
                     "data": ("rnnlab.data.Sine", "mine.Sine")}[part]  # fmt: skip
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace(ours, foreign))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"{foreign}.*--trust"):
        main([str(tmp_path / "run")])
    main([str(tmp_path / "run"), "--trust"])


def test_a_text_with_other_characters_is_refused_or_skipped(text, tmp_path, capsys):
    (tmp_path / "new.txt").write_text("home zoo " * 5)
    run = str(text.folder)
    with pytest.raises(UserError, match=r"vocabulary: 'z' \(U\+007A\)"):
        main([run, f"data.path={tmp_path / 'new.txt'}", "data.unknown=error"])
    with pytest.raises(UserError, match="not trained with it"):
        main([run, f"data.path={tmp_path / 'new.txt'}", "data.unknown=replace"])
    main([run, f"data.path={tmp_path / 'new.txt'}", "data.unknown=skip", "--split", "all"])
    said = capsys.readouterr()
    assert "characters: 40" in said.out and "5 of 45 characters left out" in said.err  # the five z


def test_tokens_of_another_kind_are_refused():
    trained = Tokens(n_sequences=20, vocab_size=100, classes=2)
    trained.setup()
    assert Tokens(n_sequences=20, vocab_size=60, classes=2, seed=3).with_spec(trained.spec)
    with pytest.raises(UserError, match=r"data.vocab_size=101: .* 100"):
        Tokens(n_sequences=20, vocab_size=101, classes=2).with_spec(trained.spec)
    with pytest.raises(UserError, match=r"data.classes=3: .* 2"):
        Tokens(n_sequences=20, vocab_size=100, classes=3).with_spec(trained.spec)


def test_a_corpus_takes_the_place_of_the_runs_own_file(text):
    run = rnnlab.load(text.folder)
    assert run.config["data"]["path"]
    found = run.evaluate("data.corpus=pydoc", "data.limit=3000")
    assert found.data["content_hash"] != run.evaluate("data.limit=3000", split="all").data["content_hash"]


def test_passages_of_the_training_text_in_a_new_text_are_named(text, tmp_path, capsys):
    """A text that began with the training text was scored without a word."""
    own = Path(text.config["data"]["path"]).read_text()
    new = "".join(random.Random(3).choices(sorted(set(own)), k=640))
    known = "100% of the text also occurs, in pieces of up to 64 characters, in the text that the run was trained on"
    for name, content, said in (("piece", own[100:900], known), ("longer", own[:640] + new, known.replace("100", "50")),
                                ("new", new, "")):  # fmt: skip
        (tmp_path / name).write_text(content)
        assert text.evaluate(f"data.path={tmp_path / name}").split == "all"
        err = capsys.readouterr().err
        assert err.startswith(said) if said else not err, name


def test_remarks_on_other_parts_are_not_printed(tmp_path, capsys):
    (tmp_path / "own.txt").write_text("abcdefgh" * 200)
    run = rnnlab.train("data=chars", "model=char_lm", f"data.path={tmp_path / 'own.txt'}", "data.segment=8",
                       "data.batch_size=4", "trainer.max_steps=1", "trainer.accelerator=cpu", "model.hidden_size=2",
                       "data.fractions=[0.8,0.1,0.1]", "data.unknown=skip", f"paths.outputs={tmp_path}")  # fmt: skip
    (tmp_path / "own.txt").write_text("abcdefgh" * 170 + "abcdefzh" * 10 + "abcdefgh" * 20)
    capsys.readouterr()
    run.evaluate("data.unknown=skip", split="test")
    assert "part" not in capsys.readouterr().err.replace("its parts are cut", "")
    run.evaluate("data.unknown=skip", split="val")
    assert "the validation part: 10 of" in capsys.readouterr().err


def test_a_corpus_beside_a_file_is_refused(text, tmp_path):
    (tmp_path / "new.txt").write_text("a cage did home " * 20)
    said = r"^data\.corpus=pydoc: data\.path=.*new\.txt would be read instead; leave out one"
    with pytest.raises(UserError, match=said):
        text.evaluate("data.corpus=pydoc", f"data.path={tmp_path / 'new.txt'}")


def test_of_a_new_text_the_validation_part_is_its_own(text, tmp_path):
    """It was the text that the run validated on."""
    (tmp_path / "own.txt").write_text("home did a cage in " * 30)
    (tmp_path / "new.txt").write_text("a cage did home " * 200)
    shutil.copytree(text.folder, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("val_path: null", f"val_path: {tmp_path / 'own.txt'}"))
    new = f"data.path={tmp_path / 'new.txt'}"
    run = rnnlab.load(tmp_path / "run")
    assert run.config["data"]["val_path"]
    assert run.evaluate(new, split="val").metrics == text.evaluate(new, split="val").metrics
    given = run.evaluate(new, f"data.val_path={tmp_path / 'own.txt'}", split="val")
    assert given.metrics == run.evaluate(split="val").metrics


def test_of_a_whole_new_text_all_is_scored_also_by_a_run_that_was_cut_by_rows(tmp_path):
    (tmp_path / "a.txt").write_text("home did a cage " * 100)
    (tmp_path / "b.txt").write_text("a cage did home")
    run = rnnlab.train("data=chars", "data.split=rows", f"data.path={tmp_path / 'a.txt'}", "data.segment=20",
                       "data.batch_size=4", "model.hidden_size=4", "trainer.max_epochs=1", "trainer.accelerator=cpu",
                       "logger=none", "callbacks=none", f"paths.outputs={tmp_path}")  # fmt: skip
    found = run.evaluate(f"data.path={tmp_path / 'b.txt'}")
    assert found.split == "all" and found.facts["scored"] == len("a cage did home") - 1


def test_a_text_that_looks_like_a_number_stays_a_text(series, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "1e3", 60, shift=1.0)
    assert series.evaluate("data.path=1e3").split == "all"


def test_special_characters_in_a_text_take_quotes(series, tmp_path):
    for name, said in (("a,b.csv", "a text with a comma in quotes"), ("a=b.csv", "in VALUE take quotes")):
        new = table(tmp_path / name, 60, shift=1.0)
        with pytest.raises(UserError, match=said):
            series.evaluate(f"data.path={new}")
        assert series.evaluate(f"data.path='{new}'").split == "all"


def test_keys_of_data_within_the_data_can_be_changed():
    node = {"_target_": "mine.Data", "inner": {"_target_": "mine.Inner", "n": 2, "deep": {"a": 1}}, "n": 5}
    config = {"data": node, "seed": 0}
    found = changed(config, ["data.inner.n=3", "data.inner.deep.a=[1,2]", "data.n=4"])["data"]
    assert (found["inner"]["n"], found["inner"]["deep"]["a"], found["n"]) == (3, [1, 2], 4)
    assert node["inner"]["n"] == 2
    for wrong in ("data.inner._target_=os.system", "data.inner.m=3", "data.n.x=1", "data._inner.n=3"):
        with pytest.raises(UserError, match="no such key"):
            changed(config, [wrong])


def test_a_variable_of_the_environment_is_read_as_in_a_training(series, tmp_path, monkeypatch):
    new = table(tmp_path / "new.csv", 60, shift=1.0)
    monkeypatch.setenv("NEW", str(new))
    asked = "data.path=${oc.env:NEW}"
    assert series.evaluate(asked).metrics == series.evaluate(f"data.path={new}").metrics
    assert (series.predict(asked) == series.predict(f"data.path={new}")).all()
    with pytest.raises(UserError, match=r"^data\.path=.*Environment variable 'GONE' not found"):
        series.evaluate("data.path=${oc.env:GONE}")
    with pytest.raises(UserError, match=r"^data\.path=\$\{seed\}\.csv: Interpolation key 'seed' not found$"):
        series.evaluate("data.path=${seed}.csv")


def test_a_file_of_the_runs_own_among_others_and_another_text_of_validation_are_named(
    tmp_path, recwarn, capsys
):
    for name, line in (("a", "home did a cage "), ("b", "a cage did home ")):
        (tmp_path / f"{name}.txt").write_text(line * 60)
    run = rnnlab.train("data=chars", f"data.path=[{tmp_path / 'a.txt'},{tmp_path / 'b.txt'}]", "data.segment=8",
                       "data.batch_size=4", "model.hidden_size=4", "trainer.max_epochs=1", "trainer.accelerator=cpu",
                       "logger=none", "callbacks=none", f"paths.outputs={tmp_path}", quiet=True)  # fmt: skip
    capsys.readouterr()
    assert run.evaluate(f"data.path={tmp_path / 'b.txt'}").split == "all"
    assert (
        "data.path: the text that the run was trained on contains 1 file of these" in capsys.readouterr().err
    )
    assert run.evaluate(f"data.val_path={tmp_path / 'b.txt'}").split == "test"
    assert (
        "the test part of the run's own text is scored; --split val scores data.val_path"
        in capsys.readouterr().err
    )
