"""What `rnnlab export` writes gives the run's numbers where rnnlab is not."""

import ast
import json
import math
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import warm
from rnnlab.cells import Cell
from rnnlab.config.model_schema import CELLS
from rnnlab.errors import UserError
from rnnlab.export import equations, plain, program
from rnnlab.export.card import GIVEN, card
from rnnlab.export.export import export, write_safetensors
from rnnlab.export.onnx import TOLERANCE, apart, longer_inputs
from rnnlab.export.portable import Portable, portable, rounded
from rnnlab.recurrence.stack import Stack
from rnnlab.runs.run import Run
from rnnlab.tasks import CharLM, Classifier, Forecaster

TEXT = ("experiment=notebook/char_rnn", "trainer.threads=1", "trainer.accelerator=cpu", "callbacks=none",
        "trainer.max_steps=5", "trainer.val_check_interval=5")  # fmt: skip
FOREIGN = """
import sys, numpy, torch
sys.modules["rnnlab"] = None
out = torch.export.load(sys.argv[1]).module()(torch.from_numpy(numpy.load(sys.argv[2])))
numpy.save(sys.argv[3], out.detach().numpy())
"""


def raw(run, x):
    """The forecast in the units of the data, by hand."""
    spec, task = run.model.spec, run.model
    scaled = (torch.from_numpy(x) - torch.tensor(spec["input_shift"])) / torch.tensor(spec["input_scale"])
    with torch.no_grad():
        return (
            task(scaled) * torch.tensor(spec["target_scale"]) + torch.tensor(spec["target_shift"])
        ).numpy()


@pytest.fixture(autouse=True)
def checks_begin_warm(monkeypatch):
    warm.begin_warm("rnnlab.export.plain", put=monkeypatch.setattr)


X = np.sin(np.arange(3 * 25, dtype=np.float32)).reshape(3, 25, 1)


@pytest.mark.parametrize("options", [("model.cell=lstm",), ("model.cell=gru", "model.subtract_last=true")])
def test_onnx_takes_and_gives_the_units_of_the_data(small, options):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = small(*options)
    folder, checked = export(run, "onnx")
    assert checked.startswith("checked: onnxruntime agrees")
    (found,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"x": X})
    np.testing.assert_allclose(found, raw(run, X), rtol=0, atol=1e-5)


def test_a_model_whose_code_cannot_be_written_is_a_program_that_needs_no_rnnlab(small, tmp_path):
    run = small("model.cell=mgu", "model.engine=reference", "model.loss=student_t")
    folder, checked = export(run, "torch")
    assert checked.startswith("checked") and not (folder / "model.py").exists()
    assert "windows in their own scale" in (folder / "README.md").read_text()
    np.save(tmp_path / "x.npy", X)
    files = map(str, (folder / "model.pt2", tmp_path / "x.npy", tmp_path / "y.npy"))
    warm.run([sys.executable, "-I", "-c", FOREIGN, *files], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), raw(run, X), rtol=0, atol=1e-5)


SERIES = [
    ("model.cell=elman", "model.nonlinearity=relu", "model.bias=one"),
    (
        "model.cell=lstm",
        "model.num_layers=2",
        "data.horizon=3",
        "model.bidirectional=true",
        "model.initial_state=learned",
    ),
    ("model.cell=gru", "model.subtract_last=true", "model.initial_state=learned", "model.bias=none"),
    ("model.cell=lstm", "model.zoneout=0.2", "model.engine=reference"),
    ("model.cell=mgu", "model.engine=reference", "model.num_layers=2"),
    (
        "model.cell=peepholelstm",
        "model.engine=reference",
        "model.bidirectional=true",
        "model.initial_state=learned",
        "model.num_layers=2",
    ),
]


@pytest.mark.parametrize("options", SERIES, ids=lambda options: options[0])
def test_torch_code_gives_the_runs_forecasts_where_rnnlab_is_not(
    small, tmp_path, execute, options, monkeypatch
):
    if options is SERIES[0]:  # one check in an interpreter of its own
        monkeypatch.setattr("rnnlab.export.plain.subprocess", subprocess)
    run = small(*options)
    folder, checked = export(run, "torch", tmp_path / "away")
    assert checked.startswith("checked: in a process without rnnlab")
    x = torch.from_numpy(X)
    np.testing.assert_allclose(elsewhere(execute, folder, "model(x)", x=x), raw(run, X), rtol=0, atol=1e-5)
    text = (folder / "model.py").read_text()
    kind = run.model.stack.kind
    own = kind.torch_layer == "" or run.model.stack.cells[0].zoneout
    assert (f"class {kind.__name__}(nn.Module)" if own else f"nn.{kind.torch_layer}(") in text
    assert "import rnnlab" not in text
    assert (folder / "weights.pt").stat().st_size < 100_000


@pytest.fixture
def execute(monkeypatch):
    """Runs code in an export's folder, as if rnnlab were not there; what it defines."""

    def run(folder, code, **given):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        with monkeypatch.context() as inside:
            inside.setitem(sys.modules, "rnnlab", None)
            inside.delitem(sys.modules, "model", raising=False)
            exec(code, given)
            sys.modules.pop("model", None)
        return given

    return run


def elsewhere(execute, folder, call, **given):
    """What `call` of the exported `model` gives."""
    return (
        execute(folder, f"from model import load\nmodel = load()\nfound = {call}", **given)["found"]
        .detach()
        .numpy()
    )


TOKENS = ("data=tokens", "model=classifier", "data.n_sequences=120", "trainer.max_epochs=1", "trainer.threads=1",
          "trainer.accelerator=cpu", "callbacks=none", "model.engine=torch", "name=tokens")  # fmt: skip
OTHER = ("model.bidirectional=true", "model.output=softmax", "model.cell=gru", "model.initial_state=learned")
OWN = ("model.bidirectional=true", "model.cell=mgu", "model.engine=reference", "model.num_layers=2")


@pytest.mark.parametrize(
    ("to", "options"), [("torch", ()), ("torch", OTHER), ("torch", OWN), ("onnx", OTHER)]
)
def test_classifiers(shared, tmp_path, execute, options, to):
    run = shared(*options, base=TOKENS)
    folder, _ = export(run, to, tmp_path / "away")
    tokens, lengths = torch.arange(1, 25).reshape(4, 6), torch.tensor([6, 1, 3, 5])
    with torch.no_grad():
        want = run.model(tokens, lengths).numpy()
    if to == "torch":
        found = elsewhere(execute, folder, "model(tokens, lengths)", tokens=tokens, lengths=lengths)
    else:
        session = pytest.importorskip("onnxruntime").InferenceSession(folder / "model.onnx")
        (found,) = session.run(None, {"tokens": tokens.numpy(), "lengths": lengths.numpy()})
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "cornn", "layernormlstm"])
def test_torch_code_of_a_text_model_takes_and_gives_its_state(small, tmp_path, execute, cell):
    own = () if cell == "lstm" else ("model.engine=reference", "model.hidden_size=8")
    run = small(f"model.cell={cell}", "model.num_layers=2", *own, base=TEXT)
    folder, _ = export(run, "torch", tmp_path / "away")
    start = json.loads((folder / "start.json").read_text())
    given = {"tokens": torch.arange(22).reshape(2, 11) % 60,
             "states": [torch.tensor(s)[:, None].repeat(1, 2, 1) for s in start.values()]}  # fmt: skip
    code = (
        "import torch\nfrom model import load\nmodel = load()\nfirst, *after = model(tokens[:, :4], *states)\n"
        "second, *_ = model(tokens[:, 4:], *after)"
    )
    found = execute(folder, code, **given)
    with torch.no_grad():
        whole = run.model(given["tokens"])[0].numpy()
    halves = torch.cat([found["first"], found["second"]], 1).detach().numpy()
    np.testing.assert_allclose(halves, whole, rtol=0, atol=1e-5)


CARDS = [*((kind, to) for kind in ("series", "text", "tokens") for to in ("onnx", "torch")),
         ("series", "safetensors"), ("series", "program")]  # fmt: skip


@pytest.mark.parametrize(("kind", "to"), CARDS)
def test_the_cards_code_runs_as_it_stands(shared, tmp_path, execute, kind, to):
    pytest.importorskip({"onnx": "onnxruntime", "safetensors": "safetensors"}.get(to, "torch"))
    own = ("model.loss=student_t", "model.engine=torch") if to == "program" else ()
    run = shared(*own, **({} if kind == "series" else {"base": TEXT if kind == "text" else TOKENS}))
    folder, _ = export(run, "torch" if to == "program" else to, tmp_path / "away")
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    found = execute(folder, code)
    if to == "safetensors":
        assert found["weights"].keys() == run.model.state_dict().keys()
    else:
        assert len(found["forecast" if kind == "series" else "logits"]) == (2 if kind == "tokens" else 1)


OPTIONS = [{}, {"bidirectional": True, "initial_state": "learned"}, {"zoneout": 0.2, "bias": "one"}]


@pytest.mark.parametrize("cell", CELLS)
def test_the_equations_of_every_cell_as_code_give_its_numbers(cell):
    """In a namespace of torch alone, the weights drawn, two layers, rows of different lengths."""
    for options in OPTIONS:
        if cell == "slstm" and "zoneout" in options:
            options = {"bias": "one"}
        stack = Stack(
            input_size=2, cell=cell, hidden_size=4, engine="reference", num_layers=2, **options
        ).eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in stack.parameters():
                if parameter.dim() == 2:
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        text, weights = equations.code(stack)
        space = {"torch": torch, "nn": torch.nn}
        exec(text, space)
        model = space["Layers"]()
        model.load_state_dict(weights)
        x, lengths = torch.randn(3, 7, 2, generator=generator), torch.tensor([7, 2, 5])
        both = {"lengths": lengths} if stack.bidirectional else {}
        with torch.no_grad():
            (ours, last), (theirs, states) = stack(x, **both), model(x, **both)
        seen = torch.arange(7) < (lengths[:, None] if both else 7)
        assert float((ours - theirs)[seen.expand(3, 7)].abs().max()) < 1e-5, options
        if not both:
            assert all(
                torch.allclose(a, b, atol=1e-5) for a, b in zip(last[1], [s[1] for s in states], strict=True)
            )
        assert max(map(len, text.splitlines())) < 130 and "rnnlab" not in text


class Normed(Cell):
    """With parameters of submodules, and a constant of more than six digits."""

    def __init__(self, input_size, hidden_size, **common):
        super().__init__(input_size, hidden_size, **common)
        self.norm = nn.LayerNorm(hidden_size)
        self.deep = nn.ParameterList([nn.Parameter(torch.zeros(2 * hidden_size, hidden_size))])

    def step(self, u, state):
        (h,) = state
        a, b = nn.functional.linear(self.norm(h), self.deep[0]).chunk(2, -1)
        rest = torch.maximum(a, torch.tensor(1234.5678)) - 1234.5678
        h = torch.tanh(u + self.recur(h) * b) + rest + torch.where(a > b, 1.0, 0.0)
        return h, (h,)


def code_agrees(stack):
    """The weights of a stack's exported code, which must give the stack's own outputs."""
    text, weights = equations.code(stack)
    space = {"torch": torch, "nn": nn}
    exec(text, space)
    model = space["Layers"]()
    model.load_state_dict(weights)
    x = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model(x)[0], stack(x)[0])
    return weights


def test_the_parameters_of_submodules_and_all_digits_of_constants_are_in_the_code():
    weights = code_agrees(Stack(Normed, 2, 4, num_layers=2, engine="reference").eval())
    assert {"cells.0.norm_weight", "cells.1.deep_0"} < weights.keys()


class Spiking(Cell):
    gates, states = 1, 1

    def step(self, u, state):
        (h,) = state
        h = 0.9 * h + u + self.recur(torch.where(h > 0.1, 1.0, 0.0))
        return torch.where(h > 0.1, 1.0, 0.0), (h,)


def test_a_choice_of_two_whole_numbers_is_a_float():
    code_agrees(Stack(Spiking, 2, 4, engine="reference").eval())


class Spring(Cell):
    gates, states = 1, 2
    named_states = ("y", "lambda")

    def step(self, u, state):
        y, z = state
        z = z + 0.1 * torch.tanh(u + self.recur(y))
        return y + 0.1 * z, (y + 0.1 * z, z)


def test_names_of_states_that_cannot_be_arguments_are_not_used(tmp_path):
    spec = {"kind": "text", "vocabulary": ["a", "b"], "vocabulary_size": 2, "unknown": "error"}
    task = CharLM(spec, hidden_size=2, cell=Spring, engine="reference")
    assert list(portable(task).inputs) == ["tokens", "state0", "state1"]
    assert plain.write(portable(task), task, tmp_path, "x").startswith("checked")


@pytest.mark.parametrize("name", ["Model", "Layers", "Path"])
def test_a_cell_may_have_a_name_of_the_written_file(tmp_path, name):
    spec = {"kind": "text", "vocabulary": ["a", "b"], "vocabulary_size": 2, "unknown": "error"}
    task = CharLM(spec, hidden_size=2, cell=type(name, (Spring,), {}), engine="reference")
    assert plain.write(portable(task), task, tmp_path, "x").startswith("checked")


def test_rows_are_reversed_on_their_own_device():
    exec(equations.BACKWARD, space := {"torch": torch})
    for lengths in (torch.tensor([3, 2], device="meta"), torch.tensor([3, 2])):
        assert space["backward"](torch.zeros(2, 4, 3, device="meta"), lengths).shape == (2, 4, 3)


def test_code_that_gives_other_numbers_is_not_left_behind(small, tmp_path, monkeypatch):
    monkeypatch.setattr(plain, "SERIES", plain.SERIES.replace("self.input_scale", "(2 * self.input_scale)"))
    with pytest.raises(UserError, match="differs from the run by"):
        export(small(), "torch", tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_inputs_that_single_precision_rounds_are_told():
    spec = {"input_shift": [1e4, 1e8], "input_scale": [1.0, 0.5]}
    told = "Input 2 is so far from zero (1e+08) that single precision rounds it by 12 of its spread."
    assert rounded(spec) == told
    assert rounded(spec | {"input_scale": [1.0, 1e6]}) == ""


def test_what_is_not_a_number_on_one_side_alone_is_a_difference():
    one, gap = torch.ones(3), torch.tensor([1.0, math.nan, 1.0])
    far = torch.tensor([1.0, math.inf, 1.0])
    assert apart([(one, one), (gap, gap), (far, far)]) == 0.0
    for ours, theirs in ((one, gap), (gap, one), (one, far), (far, one), (far, 2 * far)):
        assert not apart([(one, one), (ours, theirs)]) <= TOLERANCE
    assert apart([(4 * one, 4 * one + 1e-3)]) == pytest.approx(2.5e-4, rel=1e-3)
    assert apart([(one + 0j, one + 1e-3j)]) == pytest.approx(1e-3)


def test_an_export_before_stays_until_the_next_one_is_checked(small, tmp_path, monkeypatch):
    run, folder = small(), tmp_path / "kept"
    export(run, "torch", folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    monkeypatch.setattr(plain, "SERIES", plain.SERIES.replace("self.input_scale", "(2 * self.input_scale)"))
    with pytest.raises(UserError, match="differs from the run by"):
        export(run, "torch", folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_what_onnx_cannot_hold_is_a_line_and_leaves_nothing(small, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")

    def fails(*_, **__):
        raise RuntimeError("no operation like this\nand a long trace")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(UserError, match=r"onnx: torch cannot export this model: no operation like this$"):
        export(small(), "onnx", tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_a_text_models_state_goes_in_and_comes_out(small):
    onnxruntime = pytest.importorskip("onnxruntime")
    run = small(base=TEXT)
    folder, _ = export(run, "onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    start = json.loads((folder / "start.json").read_text())
    state = {name: np.repeat(np.array(x, np.float32)[:, None], 2, 1) for name, x in start.items()}
    tokens = np.arange(2 * 11).reshape(2, 11) % len(json.loads((folder / "vocabulary.json").read_text()))
    first, *after = session.run(None, {"tokens": tokens[:, :4], **state})
    second, *_ = session.run(None, {"tokens": tokens[:, 4:], **dict(zip(state, after, strict=True))})
    with torch.no_grad():
        whole = run.model(torch.from_numpy(tokens))[0].numpy()
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=0, atol=1e-5)


def test_safetensors_hold_the_weights_asked_for(small):
    load = pytest.importorskip("safetensors.torch").load_file
    run = small("trainer.max_epochs=2")
    folder, _ = export(run, "safetensors", weights="last")
    kept = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    found = load(folder / "model.safetensors")
    assert found.keys() == kept.keys() and all(torch.equal(found[name], kept[name]) for name in kept)
    card = (folder / "README.md").read_text()
    assert run.manifest["data_hash"] in card and "persistence" in card and "hidden_size: 8" in card
    assert "| test | the run's best weights, not these |" in card
    ours = run.results["last"]["metrics"]["metric/mse"]
    assert re.search(rf"\| val \| this model \(last, validation\) \| .*mse {ours:.4g}", card)


def test_safetensors_hold_tied_weights_under_both_names(small, tmp_path):
    load = pytest.importorskip("safetensors.torch").load_file
    run = small()
    tied = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    write_safetensors(run, tied, tmp_path / "model.safetensors")
    found = load(tmp_path / "model.safetensors")
    assert torch.equal(found["1.weight"], tied[0].weight) and torch.equal(found["0.weight"], tied[0].weight)


def test_a_strangers_run_is_not_loaded(small):
    run = small()
    file = run.folder / "config.yaml"
    file.write_text(file.read_text().replace("rnnlab.tasks.Forecaster", "os.system"))
    with pytest.raises(UserError, match="trust"):
        export(run, "safetensors")


def test_a_strangers_names_are_no_code(small, tmp_path):
    """model.py is run when it is written: nothing of the id or of a folder's name may end its docstring."""
    run = small()
    evil = f'x"""\nopen({str(tmp_path / "BOOM")!r}, \'w\')\n"""\\'
    folder = tmp_path / 'a"""+str(1)+"""b' / run.folder.name
    shutil.copytree(run.folder, folder)
    (folder / "run.json").write_text(json.dumps(run.record | {"id": evil}))
    to, _ = export(Run(folder), "torch", tmp_path / "out")
    assert not (tmp_path / "BOOM").exists()
    (docstring,) = [
        node for node in ast.parse((to / "model.py").read_text()).body if isinstance(node, ast.Expr)
    ]
    assert "x'''" in docstring.value.value and "a'''+str(1)+'''b" in docstring.value.value


def test_torch_code_is_checked_where_torch_is_not_in_the_site_packages(small, tmp_path, monkeypatch):
    """As after `pip install --user` or `--target`: -I leaves such folders out, and -S all others."""

    def without_site(words, **options):
        return subprocess.run([words[0], "-S", *words[1:]], **options)

    monkeypatch.setattr("rnnlab.export.plain.subprocess.run", without_site)
    (tmp_path / "torch.py").write_text("raise SystemExit('the working folder is on the path')")
    run = small()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert export(run, "torch", tmp_path / "out")[1].startswith("checked")


SINE = {"kind": "series", "inputs": 1, "targets": 1, "window": 5, "horizon": 1, "target_index": [0],
        "season": None, "input_shift": [0.0], "input_scale": [1.0], "target_shift": [0.0],
        "target_scale": [1.0]}  # fmt: skip


def test_a_model_of_windows_of_one_step_takes_any_number_of_steps(tmp_path):
    task = Forecaster(SINE | {"window": 1}, hidden_size=2, cell="gru", engine="reference")
    assert program.write(portable(task), tmp_path / "model.pt2").startswith("checked")


def test_the_tokens_of_a_card_are_in_the_smallest_vocabulary():
    labelled = {"kind": "labelled", "vocab_size": 4, "classes": 2, "max_length": 4}
    text = {"kind": "text", "vocabulary": ["a", "b"], "vocabulary_size": 2, "unknown": "error"}
    for given in GIVEN["labelled"][:2]:
        exec(given, space := {"np": np, "torch": torch})
        found = Classifier(labelled, hidden_size=2, cell="gru")(
            *map(torch.as_tensor, (space["tokens"], space["lengths"]))
        )
        assert found.shape == (2,)
    for given in GIVEN["text"][:2]:
        exec(given.splitlines()[1], space := {"np": np, "torch": torch})
        assert CharLM(text, hidden_size=2, cell="gru")(torch.as_tensor(space["tokens"]))[0].shape == (1, 3, 2)


def test_inputs_of_a_fixed_size_are_checked_as_they_are():
    given = {"tokens": torch.ones(8, 5, dtype=torch.int64), "lengths": torch.arange(8) % 5 + 1}

    def inputs(**axes):
        return longer_inputs(Portable(nn.Identity(), given, axes, (), ""))

    fixed = inputs(tokens={}, lengths={})
    assert all(fixed[name] is given[name] for name in given)
    rows = inputs(tokens={0: "batch"}, lengths={0: "batch"})
    assert rows["tokens"].shape == (3, 5) and rows["lengths"].tolist() == [5, 1, 3]
    both = inputs(tokens={0: "batch", 1: "time"}, lengths={0: "batch"})
    assert both["tokens"].shape == (3, 7) and both["lengths"].tolist() == [7, 1, 4]


def test_the_words_about_an_output_are_those_of_its_kind():
    assert "centre of the distribution" not in portable(Forecaster(SINE, hidden_size=2, cell="gru")).words
    spread = Forecaster(SINE, hidden_size=2, cell="gru", loss="quantile")
    assert "It is the centre of the distribution; the quantiles are not exported." in portable(spread).words
    tokens = {"kind": "labelled", "vocab_size": 5, "classes": 2, "max_length": 4}
    for output, words in (("auto", "before the sigmoid"), ("softmax", "before the softmax")):
        assert words in portable(Classifier(tokens, hidden_size=2, cell="gru", output=output)).words


class Counting(Cell):
    gates = 1

    def step(self, u, state):
        (h,) = state
        a = u + self.recur(h)
        count = (a > 0).float() + (h > 0.1).float() + (~(a < 0.2)) * 2 + torch.where(a > 0, -1, 2)
        h = torch.tanh(a) * (1 - 0.1 * count) + 0.1 * (h > 0).float().mean(-1, keepdim=True)
        return h, (h,)


def test_a_condition_that_counts_is_a_float():
    code_agrees(Stack(Counting, 2, 4, num_layers=2, engine="reference").eval())


def test_a_name_ends_no_cell_of_the_cards_table(small, tmp_path):
    run = small()
    shutil.copytree(run.folder, tmp_path / "a\nb" / "run")
    file = tmp_path / "a\nb" / "run" / "run.json"
    record = json.loads(file.read_text())
    record["results"]["baselines"]["test"] = {"a|b\n<c>*": {"mse|x": 1.0}}
    file.write_text(json.dumps(record))
    text = card(Run(file.parent), "best", "", "", "")
    assert "| test | a\\|b\N{SYMBOL FOR LINE FEED}\\<c>\\* | mse\\|x 1 |\n" in text
    assert text.startswith("# a\N{SYMBOL FOR LINE FEED}b: run\n")
