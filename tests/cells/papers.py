"""The cells' recurrences once more, from their papers: NumPy loops over one row in float64, complex where they are.

Each takes the weights by name, x (T, I) and the state, a list of vectors, and gives the outputs (T, H) and the last
state. They share no code with the cells.
"""

import numpy as np


def expm(a):
    """The matrix exponential: a Taylor series of a / 2^k, squared k times."""
    k = max(0, int(np.ceil(np.log2(np.abs(a).sum() + 1e-9))) + 1)
    term = total = np.eye(len(a))
    for n in range(1, 25):
        term = term @ (a / 2**k) / n
        total = total + term
    for _ in range(k):
        total = total @ total
    return total


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.maximum(a, 0)


def blocks(vector, n):
    return np.split(vector, n)


def inputs(p, x):
    return p["weight_ih"] @ x + p.get("bias_ih", 0)


def recurrent(p, h):
    return p["weight_hh"] @ h + p.get("bias_hh", 0)


def loop(step):
    """A paper's step (p, x, state, **options) -> (output, state) over a sequence."""

    def run(p, x, state, **options):
        outputs = []
        for x_t in x:
            y, state = step(p, x_t, state, **options)
            outputs.append(y)
        return np.array(outputs), state

    return run


@loop
def peepholelstm(p, x, state, variant="vanilla"):
    h, c = state[:2]
    names = [n for n in "ifgo" if n != {"nig": "i", "nfg": "f", "nog": "o", "cifg": "f"}.get(variant)]
    a = dict(zip(names, blocks(inputs(p, x) + recurrent(p, h), len(names)), strict=True))
    if variant == "fgr":
        R = p["weight_gates"].reshape(3, len(h), 3, len(h))  # to i, f, o from i, f, o
        for to, name in enumerate("ifo"):
            a[name] = a[name] + sum(R[to, :, k] @ state[2 + k] for k in range(3))
    see = {n: 0.0 if variant == "np" else p.get(f"peephole_{n}", 0.0) for n in "ifo"}
    i = 1.0 if variant == "nig" else sigmoid(a["i"] + see["i"] * c)
    f = 1 - i if variant == "cifg" else 1.0 if variant == "nfg" else sigmoid(a["f"] + see["f"] * c)
    g = a["g"] if variant == "niaf" else np.tanh(a["g"])
    c = c * f + i * g
    o = 1.0 if variant == "nog" else sigmoid(a["o"] + see["o"] * c)
    h = o * (c if variant == "noaf" else np.tanh(c))
    return h, [h, c, i, f, o][: len(state)]


@loop
def janet(p, x, state, beta=1.0):
    (h,) = state
    s, n = blocks(inputs(p, x) + recurrent(p, h), 2)
    h = sigmoid(s) * h + (1 - sigmoid(s - beta)) * np.tanh(n)
    return h, [h]


@loop
def gruv3(p, x, state):
    (h,) = state
    ur, uz, un = blocks(inputs(p, x), 3)
    vr, vz = blocks(recurrent(p, h), 2)
    r, z = sigmoid(ur + vr), sigmoid(uz + vz)
    h = z * h + (1 - z) * np.tanh(un + p["weight_hn"] @ (r * h))
    return h, [h]


@loop
def mgu(p, x, state):
    (h,) = state
    uf, un = blocks(inputs(p, x), 2)
    f = sigmoid(uf + recurrent(p, h))
    h = (1 - f) * h + f * np.tanh(un + p["weight_hn"] @ (f * h))
    return h, [h]


@loop
def ugrnn(p, x, state):
    (h,) = state
    c, g = blocks(inputs(p, x) + recurrent(p, h), 2)
    h = sigmoid(g) * h + (1 - sigmoid(g)) * np.tanh(c)
    return h, [h]


@loop
def multiplicativelstm(p, x, state):
    h, c = state
    ui, uf, ug, uo, um = blocks(inputs(p, x), 5)
    Wi, Wf, Wg, Wo = blocks(p["weight_hm"], 4)
    m = um * recurrent(p, h)
    c = sigmoid(uf + Wf @ m) * c + sigmoid(ui + Wi @ m) * np.tanh(ug + Wg @ m)
    h = np.tanh(c) * sigmoid(uo + Wo @ m)
    return h, [h, c]


@loop
def rhn(p, x, state, depth=2):
    (s,) = state
    for layer in range(1, depth + 1):
        first = layer == 1
        a = (
            inputs(p, x) + recurrent(p, s)
            if first
            else p[f"weight_h{layer}"] @ s + p.get(f"bias_h{layer}", 0)
        )
        candidate, transform = np.tanh(a[: len(s)]), sigmoid(a[len(s) :])
        s = candidate * transform + s * (1 - transform)
    return s, [s]


def norm(a, gain):
    return gain * (a - a.mean()) / np.sqrt(a.var() + 1e-5)


@loop
def layernormlstm(p, x, state):
    h, c = state
    a = norm(p["weight_hh"] @ h, p["gain_state"]) + norm(p["weight_ih"] @ x, p["gain_input"])
    i, f, g, o = blocks(a + p.get("bias_ih", 0), 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(norm(c, p["gain_memory"]) + p["shift_memory"])
    return h, [h, c]


@loop
def layernormgru(p, x, state):
    (h,) = state
    n = len(h)
    u, v = p["weight_ih"] @ x, p["weight_hh"] @ h
    gi, gh = p["gain_input"], p["gain_state"]
    bi, bh = (np.zeros(3 * n) + p.get(name, 0) for name in ("bias_ih", "bias_hh"))
    gates = norm(u[: 2 * n], gi[: 2 * n]) + norm(v[: 2 * n], gh[: 2 * n]) + (bi + bh)[: 2 * n]
    r, z = blocks(sigmoid(gates), 2)
    new = norm(u[2 * n :], gi[2 * n :]) + bi[2 * n :] + r * (norm(v[2 * n :], gh[2 * n :]) + bh[2 * n :])
    h = (1 - z) * h + z * np.tanh(new)
    return h, [h]


@loop
def irnn(p, x, state, scale=1.0):
    (h,) = state
    h = relu(inputs(p, x) + recurrent(p, h))
    return h, [h]


@loop
def exprnn(p, x, state):
    (h,) = state
    upper = np.triu(p["parametrizations.weight_hh.original"], 1)
    a = inputs(p, x) + expm(upper - upper.T) @ h + p.get("bias_hh", 0)
    h = np.where(a == 0, 0, a / np.abs(a)) * relu(np.abs(a) + p["threshold"])
    return h, [h]


@loop
def antisymmetricrnn(p, x, state, epsilon=0.1, gamma=0.1):
    (h,) = state
    W = p["parametrizations.weight_hh.original"]
    h = h + epsilon * np.tanh((W - W.T - gamma * np.eye(len(h))) @ h + p.get("bias_hh", 0) + inputs(p, x))
    return h, [h]


@loop
def gatedantisymmetricrnn(p, x, state, epsilon=0.1, gamma=0.1):
    (h,) = state
    W = p["parametrizations.weight_hh.original"]
    v = (W - W.T - gamma * np.eye(len(h))) @ h + p.get("bias_hh", 0)
    un, uz = blocks(inputs(p, x), 2)
    h = h + epsilon * sigmoid(v + uz) * np.tanh(v + un)
    return h, [h]


@loop
def fastgrnn(p, x, state):
    (h,) = state
    a = inputs(p, x) + recurrent(p, h)
    z = sigmoid(a + p.get("bias_z", 0))
    h = (sigmoid(p["zeta"]) * (1 - z) + sigmoid(p["nu"])) * np.tanh(a) + z * h
    return h, [h]


@loop
def indrnn(p, x, state):
    (h,) = state
    h = relu(inputs(p, x) + p["recurrent"] * h)
    return h, [h]


@loop
def sru(p, x, state):
    (c,) = state
    n, f, r, skip = blocks(inputs(p, x), 4)
    f, r = sigmoid(f + p["forget_weight"] * c), sigmoid(r + p["reset_weight"] * c)
    c = f * c + (1 - f) * n
    return r * c + (1 - r) * skip, [c]


def qrnn(p, x, state):
    """The convolution over the whole sequence first, as the paper has it, then the pooling."""
    c, past = state
    H = len(c)
    W, b = p["weight_ih"], p.get("bias_ih", np.zeros(6 * H))
    shifted = np.vstack([past, x[:-1] @ W[3 * H :].T + b[3 * H :]])
    gates = x @ W[: 3 * H].T + b[: 3 * H] + shifted
    z, f, o = np.tanh(gates[:, :H]), sigmoid(gates[:, H : 2 * H]), sigmoid(gates[:, 2 * H :])
    outputs = []
    for z_t, f_t, o_t in zip(z, f, o, strict=True):
        c = f_t * c + (1 - f_t) * z_t
        outputs.append(o_t * c)
    return np.array(outputs), [c, W[3 * H :] @ x[-1] + b[3 * H :]]


def g(a):
    return np.where(a >= 0, a + 0.5, sigmoid(a))


def mingru(p, x, state, candidate="linear"):
    """All steps at once, as a sum over the past: what a parallel scan computes."""
    z, n = np.split(x @ p["weight_ih"].T + p.get("bias_ih", 0), 2, axis=1)
    z, n = sigmoid(z), g(n) if candidate == "positive" else n
    h = [summed(1 - z[: t + 1], z[: t + 1] * n[: t + 1], state[0]) for t in range(len(x))]
    return np.array(h), [h[-1]]


def minlstm(p, x, state, candidate="linear"):
    f, i, n = np.split(x @ p["weight_ih"].T + p.get("bias_ih", 0), 3, axis=1)
    f, i, n = sigmoid(f), sigmoid(i), g(n) if candidate == "positive" else n
    f, i = f / (f + i), i / (f + i)
    h = [summed(f[: t + 1], i[: t + 1] * n[: t + 1], state[0]) for t in range(len(x))]
    return np.array(h), [h[-1]]


def summed(kept, written, first):
    """The last of h_t = kept_t h_{t-1} + written_t."""
    # what is left of each step at the end
    left = np.vstack([np.cumprod(kept[::-1], axis=0)[::-1], np.ones_like(kept[:1])])
    return left[0] * first + (left[1:] * written).sum(axis=0)


def as_complex(s):
    real, imag = np.split(s, 2)
    return real + 1j * imag


def apart(s):
    return np.concatenate([s.real, s.imag])


@loop
def lru(p, x, state, eigenvalues="complex", **start):
    C, H = p["weight_c"], len(p["log_nu"])
    if eigenvalues == "real":
        (s,), (b, d) = state, blocks(inputs(p, x), 2)
        s = np.exp(-np.exp(p["log_nu"])) * s + np.exp(p["log_gamma"]) * b
        return C @ s + d, [s]
    real, imag, d = blocks(inputs(p, x), 3)
    pole = np.exp(-np.exp(p["log_nu"]) + 1j * np.exp(p["log_theta"]))
    s = pole * as_complex(state[0]) + np.exp(p["log_gamma"]) * (real + 1j * imag)
    # C's columns are its real and -imaginary part
    return ((C[:, :H] - 1j * C[:, H:]) @ s).real + d, [apart(s)]


@loop
def rglru(p, x, state):
    (h,) = state
    r, i, n = blocks(inputs(p, x), 3)
    a = sigmoid(p["decay"]) ** (8 * sigmoid(r))
    h = a * h + np.sqrt(1 - a**2) * sigmoid(i) * n
    return h, [h]


def transition(pole, dt, how):
    """s(dt) for ds/dt = pole s + b, of b = 1, by a matrix exponential or by solving the trapezoid rule."""
    if how == "bilinear":
        return (1 + dt * pole / 2) / (1 - dt * pole / 2), dt / (1 - dt * pole / 2)
    both = np.array([expm(np.array([[q * t, t], [0, 0]])) for q, t in zip(pole, dt, strict=True)])
    return both[:, 0, 0], both[:, 0, 1]


@loop
def s4d(p, x, state, pairs=4, discretisation="zoh"):
    H = len(p["d"])
    u = inputs(p, x)
    pole = -np.exp(p["log_damping"]) + 1j * p["frequency"]
    a, b = transition(pole, np.tile(np.exp(p["log_dt"]), pairs), discretisation)
    s = a * as_complex(state[0]) + b * np.tile(u, pairs)
    shown = ((p["c_real"] + 1j * p["c_imag"]) * s).reshape(pairs, H).sum(axis=0)
    return 2 * shown.real + p["d"] * u, [apart(s)]


@loop
def s5(p, x, state, discretisation="zoh"):
    real, imag, d = blocks(inputs(p, x), 3)
    pole = -np.exp(p["log_damping"]) + 1j * p["frequency"]
    a, b = transition(pole, np.exp(p["log_dt"]), discretisation)
    s = a * as_complex(state[0]) + b * (real + 1j * imag)
    C, H = p["weight_c"], len(real)
    return 2 * ((C[:, :H] - 1j * C[:, H:]) @ s).real + d, [apart(s)]


@loop
def cornn(p, x, state, dt=0.042, gamma=2.7, epsilon=4.7):
    y, z = state
    z = z + dt * (np.tanh(recurrent(p, y) + p["weight_hz"] @ z + inputs(p, x)) - gamma * y - epsilon * z)
    y = y + dt * z
    return y, [y, z]


@loop
def lem(p, x, state, dt=1.0):
    y, z = state
    u, v = blocks(inputs(p, x), 4), blocks(recurrent(p, y), 3)
    slow, fast = dt * sigmoid(u[0] + v[0]), dt * sigmoid(u[1] + v[1])
    z = (1 - fast) * z + fast * np.tanh(u[2] + v[2])
    y = (1 - slow) * y + slow * np.tanh(u[3] + p["weight_hn"] @ z)
    return y, [y, z]


@loop
def cfc(p, x, state, dt=1.0):
    f, start, end = blocks(inputs(p, x) + recurrent(p, state[0]), 3)
    h = sigmoid(-f * dt) * np.tanh(start) + (1 - sigmoid(-f * dt)) * np.tanh(end)
    return h, [h]


@loop
def slstm(p, x, state, forget="sigmoid"):
    """Without the stabiliser: c and n are those of the paper's equations (8) to (10), exponentials and all."""
    h, c, n, m = state
    c, n = c * np.exp(m), n * np.exp(m)
    i, f, g, o = blocks(inputs(p, x) + recurrent(p, h), 4)
    f = np.exp(f) if forget == "exp" else sigmoid(f)
    c, n = f * c + np.exp(i) * np.tanh(g), f * n + np.exp(i)
    h = sigmoid(o) * c / n
    return h, [h, c, n, np.zeros_like(m)]
