"""char-rnn's defaults in plain torch, for comparison with experiment=shakespeare."""

import time

import torch
from torch import nn


def train(
    text: str, steps: int = 4000, every: int = 1000, cell: str = "LSTM", seed: int = 1
) -> dict[str, object]:
    """Trains two layers of 128 on 95% of `text`; returns {"seconds": of training, "nats": {step: validation loss}}."""
    torch.manual_seed(seed)
    vocabulary = sorted(set(text))
    index = {c: i for i, c in enumerate(vocabulary)}
    ids = torch.tensor([index[c] for c in text])
    B, T, V, H = 50, 50, len(vocabulary), 128
    segments = (len(ids) - 1) // (B * T)
    # char-rnn: the last 5% of every row are for validation
    n, cut = (segments * B * T, round(0.95 * segments) * T)
    x_all, y_all = ids[:n].view(B, -1), ids[1 : n + 1].view(B, -1)
    x = {"train": x_all[:, :cut], "val": x_all[:, cut:]}
    y = {"train": y_all[:, :cut], "val": y_all[:, cut:]}
    rnn, head = getattr(nn, cell)(V, H, 2, batch_first=True), nn.Linear(H, V)
    parameters = [*rnn.parameters(), *head.parameters()]
    for p in parameters:
        nn.init.uniform_(p, -0.08, 0.08)
    if cell == "LSTM":
        for layer in range(2):
            getattr(rnn, f"bias_ih_l{layer}").data[H : 2 * H] = 1.0
            getattr(rnn, f"bias_hh_l{layer}").data[H : 2 * H] = 0.0
    optimizer = torch.optim.RMSprop(parameters, lr=2e-3, alpha=0.95)

    def loss_of(part: str, t: int, state):
        a, b = x[part][:, t : t + T], y[part][:, t : t + T]
        out, state = rnn(nn.functional.one_hot(a, V).float(), state)
        return nn.functional.cross_entropy(head(out).flatten(0, 1), b.flatten()), state

    def validate() -> float:
        state, total, n = None, 0.0, 0
        with torch.no_grad():
            for t in range(0, x["val"].shape[1], T):
                loss, state = loss_of("val", t, state)
                m = min(T, x["val"].shape[1] - t)
                total, n = total + float(loss) * m, n + m
        return total / n

    nats, seconds, state, t = {}, 0.0, None, 0
    begin = time.perf_counter()
    for step in range(1, steps + 1):
        if t + T > x["train"].shape[1]:
            state, t = None, 0
        loss, state = loss_of("train", t, state)
        t += T
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(parameters, 5.0)
        optimizer.step()
        if step % every == 0:
            nats[step] = validate()
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "nats": nats}
