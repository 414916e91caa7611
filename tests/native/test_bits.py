"""What must not change a bit: threads, steps a call, the compiler's options, the width of the vectors."""

import shutil

import pytest
import torch
from programs import Case, built_with

from rnnlab.native import bindings as library

CASES = {
    "elman": {
        "kind": "series",
        "batch": 50,
        "steps": 7,
        "cell": "elman",
        "hidden_size": 33,
        "num_layers": 2,
        "inputs": 3,
    },
    "gru": {
        "kind": "text",
        "batch": 70,
        "steps": 9,
        "cell": "gru",
        "hidden_size": 40,
        "num_layers": 2,
        "dropout": 0.2,
    },
    "lstm": {
        "kind": "labelled",
        "batch": 64,
        "steps": 11,
        "cell": "lstm",
        "hidden_size": 24,
        "bidirectional": True,
    },
    "drawn": {
        "kind": "text",
        "batch": 50,
        "steps": 9,
        "cell": "lstm",
        "hidden_size": 24,
        "num_layers": 2,
        "dropout": 0.2,
        "input_dropout": 0.1,
        "recurrent_dropout": 0.3,
        "zoneout": 0.2,
        "zoneout_cell": 0.5,
    },
}
CASES["sru"] = {"kind": "series", "batch": 70, "steps": 9, "cell": "sru", "hidden_size": 24, "inputs": 2}
CASES["peepholes"] = {"kind": "labelled", "batch": 64, "steps": 7, "cell": "peepholelstm", "hidden_size": 20}
CASES["mirrored"] = {
    "kind": "labelled", "batch": 64, "steps": 7, "cell": "gatedantisymmetricrnn", "hidden_size": 20,
    "bidirectional": True,
}  # fmt: skip
CASES["bf16"] = {key: value for key, value in CASES["gru"].items() if key != "dropout"}
PRECISIONS = {"bf16": "bf16-mixed"}


def outcome(name: str, per_call: int = 12, threads: int = 1) -> list[torch.Tensor]:
    case = Case(**CASES[name])
    program = case.program(precision=PRECISIONS.get(name), clip_val=1.0, threads=threads)
    losses, norms = [], []
    for at in range(0, 12, per_call):
        did = program.run(case.names(12)[at : at + per_call], [0.01] * len(range(12)[at : at + per_call]), at)
        losses.append(did.losses)
        norms.append(did.norms)
    state = [program.moments.moment, program.moments.square, program.moments.steps]
    return [program.flat.parameters, *state, torch.cat(losses), torch.cat(norms)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True)) and not bool(a[-2].isnan().any())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("threads", [2, 3])
def test_threads(name, threads):
    assert same(outcome(name), outcome(name, threads=threads))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("per_call", [1, 5])
def test_steps_a_call(name, per_call):
    assert same(outcome(name), outcome(name, per_call=per_call))


@pytest.mark.parametrize("name", CASES)
def test_single_kernels(name):
    case = Case(**CASES[name])
    program, losses, norms = case.program(precision=PRECISIONS.get(name), clip_val=1.0), [], []
    for i, batch in enumerate(case.names(12)):
        losses.append(program.gradients(batch, i))
        norms.append(program.update(0.01))
    parameters, *_, whole_losses, whole_norms = outcome(name)
    assert torch.equal(program.flat.parameters, parameters)
    assert losses == whole_losses.tolist()
    assert norms == whole_norms.tolist()


OTHER_BUILDS = {"O2": ("-O2",), "AVX2": ("-march=x86-64-v3",), "O1 AVX2": ("-march=x86-64-v3", "-O1")}


@pytest.mark.parametrize("flags", OTHER_BUILDS)
def test_other_builds(flags):
    if "AVX2" in flags and library.status()["isa"] not in ("AVX2", "AVX-512"):
        pytest.skip("not an x86-64 machine with AVX2")
    usual = {name: outcome(name) for name in CASES}
    with built_with(*OTHER_BUILDS[flags]):
        assert all(same(usual[name], outcome(name)) for name in CASES)


def test_other_compiler():
    clang = shutil.which("clang")
    if clang is None or "clang" in library.status()["compiler"]:
        pytest.skip("there is no second compiler here")
    usual = {name: outcome(name) for name in CASES}
    with built_with(compiler=clang):
        assert all(same(usual[name], outcome(name)) for name in CASES)
