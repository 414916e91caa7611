"""bf16-mixed: its products are what bf16.h says, on every machine; training under it is what float32's is."""

import ctypes

import numpy as np
import pytest
import torch
from programs import Case, built_with, relative_error, torchs_gradients
from test_bits import outcome, same

import rnnlab
from rnnlab.native import bindings as library

NORMAL = np.float32(2.0**-126)


class Left(ctypes.Structure):
    _fields_ = [
        ("pointer", ctypes.c_void_p),
        *((n, ctypes.c_size_t) for n in ("stride", "blocks", "length", "apart")),
    ]


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def flushed(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < NORMAL, np.copysign(np.float32(0), x), x).astype(np.float32)


def rounded(x: np.ndarray) -> np.ndarray:
    """To bfloat16 by torch, after subnormal numbers have become zeros; as float32."""
    return torch.from_numpy(flushed(x)).bfloat16().float().numpy()


def sums(left: np.ndarray, right: np.ndarray, start: np.ndarray) -> np.ndarray:
    """start + left @ right (R, K) (K, C), term by term as bf16.h says. float64 holds each product exactly, and a sum of
    one and a float32 closely enough to be rounded as once.
    """
    a, b, total = rounded(left).astype(float), rounded(right).astype(float), start
    for first in range(0, a.shape[1], 32):
        chains = [np.zeros_like(start), np.zeros_like(start)]
        for k in range(first, min(first + 32, a.shape[1])):
            chains[k % 2] = flushed((a[:, k, None] * b[k] + chains[k % 2]).astype(np.float32))
        total = flushed(flushed(total) + flushed(chains[0] + chains[1]))
    return total


def drawn(draw: np.random.Generator, size: float, *shape: int) -> np.ndarray:
    """Normal numbers of many sizes around `size`."""
    return (draw.standard_normal(shape) * size * 2.0 ** draw.integers(-6, 6, shape)).astype(np.float32)


SCALES = {"usual": 1.0, "subnormal products": 2.0**-63, "subnormal numbers": 2.0**-128, "large": 2.0**55}


@pytest.mark.parametrize("scale", SCALES)
def test_products_are_what_the_header_says(scale):
    draw, c = np.random.default_rng(1), library.library("bf16-mixed").c
    size = SCALES[scale]
    for rows, blocks, length, columns in ((1, 1, 9, 16), (5, 1, 32, 48), (25, 3, 33, 32), (40, 2, 600, 16)):
        k, apart = blocks * length, (length + 15) // 16 * 16
        x, w = drawn(draw, size, rows, blocks, length), drawn(draw, 1.0 if size < 1 else size, columns, k)
        start, out = drawn(draw, size, rows, columns), np.zeros((rows, columns), np.float32)
        held = np.full((rows, blocks, apart), np.nan, np.float32)  # behind a stretch nothing is read
        held[:, :, :length] = x
        panels = np.zeros((k + 31) // 32 * 16 * columns, np.float32)
        by_rows = panels.copy()
        for column, row in enumerate(w):
            c.pack_column(pointer(panels), ctypes.c_size_t(column), ctypes.c_size_t(columns), pointer(row),
                          ctypes.c_size_t(k))  # fmt: skip
        turned = np.ascontiguousarray(w.T)
        for i, row in enumerate(turned):
            sizes = map(ctypes.c_size_t, (1, columns, columns))
            c.pack_row(pointer(by_rows), ctypes.c_size_t(i), ctypes.c_size_t(k), pointer(row), *sizes)
        assert panels.tobytes() == by_rows.tobytes()
        left = Left(held.ctypes.data, blocks * apart, blocks, length, apart)
        c.product(ctypes.c_size_t(rows), ctypes.c_size_t(columns), left, pointer(panels), pointer(start),
                  ctypes.c_size_t(columns), pointer(out), ctypes.c_size_t(columns))  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            np.testing.assert_array_equal(out, sums(x.reshape(rows, k), w.T, start))


@pytest.mark.parametrize("scale", SCALES)
def test_outer_products_are_what_the_header_says(scale):
    draw, c = np.random.default_rng(2), library.library("bf16-mixed").c
    size = SCALES[scale]
    for rows, m, n in ((9, 16, 16), (32, 48, 32), (77, 32, 272), (160, 16, 48)):
        d, x, start = drawn(draw, size, rows, m), drawn(draw, 1.0, rows, n), drawn(draw, size, m, n)
        out = start.copy()
        ahead = [ctypes.c_size_t(i) for i in (m, m, n, n, n)]
        c.add_outer(ctypes.c_size_t(rows), pointer(d), ahead[0], ahead[1], pointer(x), ahead[2], ahead[3],
                    pointer(out), ahead[4])  # fmt: skip
        np.testing.assert_array_equal(out, sums(d.T, x, start))


def test_numbers_that_are_none_stay_so():
    c = library.library("bf16-mixed").c
    strange = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    strange.view(np.uint32)[0] = 0x7F800001  # a NaN that cutting off would make infinite
    x, out = np.zeros((4, 16), np.float32), np.zeros((4, 16), np.float32)
    x[:, 0] = strange
    panels, one = np.zeros(16 * 16, np.float32), np.ones(16, np.float32)
    c.pack_column(pointer(panels), ctypes.c_size_t(0), ctypes.c_size_t(16), pointer(one), ctypes.c_size_t(16))
    left = Left(x.ctypes.data, 16, 1, 16, 0)
    c.product(ctypes.c_size_t(4), ctypes.c_size_t(16), left, pointer(panels), None, ctypes.c_size_t(0),
              pointer(out), ctypes.c_size_t(16))  # fmt: skip
    np.testing.assert_array_equal(out[:, 0], strange)


CELLS = ("elman", "gru", "lstm")


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_as_near_as_bfloat16_allows(cell):
    case = Case("text", 20, 15, cell=cell, hidden_size=40, num_layers=2)
    mixed = case.program(precision="bf16-mixed")
    loss, found = mixed.gradients(0), [v.clone() for v in mixed.flat.split(mixed.flat.gradients)]
    wanted, truth = torchs_gradients(case, 0, torch.float64, "reference")
    assert 1e-6 < abs(loss - wanted) / wanted < 1e-3
    assert 1e-4 < relative_error(found, truth) < 1e-2


def test_the_same_bits_without_the_instruction():  # and without AVX-512: test_bits.py
    if library.status()["isa"] != "AVX-512":
        pytest.skip("not an x86-64 machine with AVX-512")
    usual = outcome("bf16")
    with built_with("-mno-amx-bf16", "-mno-avx512bf16"):
        assert same(usual, outcome("bf16"))


def test_a_run_of_its_own_beside_float32s(tmp_path):
    def train(*more: str):
        return rnnlab.train("experiment=sine", "data.n_points=300", "model.cell=gru", "model.hidden_size=24",
                            "scheduler=constant", "logger=none", "~callbacks.pictures", f"paths.outputs={tmp_path}",
                            *more, quiet=True)  # fmt: skip

    long, mixed = ("trainer.max_epochs=12",), ("trainer.precision=bf16-mixed",)
    plain, half = train(*long), train(*long, *mixed)
    assert (half.manifest["engine"]["name"], half.manifest["engine"]["steps"]) == ("native", "native")
    assert plain.id != half.id
    a, b = (np.array(run.metrics["loss/val"][1]) for run in (plain, half))
    assert 0 < np.abs(a - b).max() < 0.02 * a.max()
    kept = half.evaluate()
    assert kept.metrics["mse"] == pytest.approx(half.results["test"]["mse"], rel=1e-6)
    short = train("trainer.max_epochs=5", *mixed)
    went_on = short.resume("trainer.max_epochs=12", quiet=True)
    assert (went_on.folder / "metrics.csv").read_bytes() == (half.folder / "metrics.csv").read_bytes()
