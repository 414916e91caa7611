"""`CharLM`: predicts the next character of a text."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnnlab import streams
from rnnlab.data.chars import Segment
from rnnlab.data.spec import TextSpec
from rnnlab.data.vocabulary import Vocabulary
from rnnlab.errors import UserError
from rnnlab.memory import check_memory
from rnnlab.native.scoring import LOSS, Head, Scale
from rnnlab.recurrence.carry import Carry, joined, on_cpu, part
from rnnlab.recurrence.outline import Outline
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks.task import Panel, Probe, Scores, Task, given_ids

SHOWN = 3  # the likeliest characters that `meaning` names
PROMPT, LENGTH, TEMPERATURE = 20, 300, 0.8  # of a finished run's sample; the first two in characters


class CharLM(Task):
    """A stack over characters, one-hot or embedded, with a linear head on every step.

    forward: x (B, T) int64, state -> logits (B, T, V), state. Training is truncated backpropagation through
    time (Williams and Peng 1990): the state is carried, detached, from one segment to the next. Evaluation has
    its own carry, and does not change that of training. The loss is in nats per character. Raises UserError for a
    bidirectional stack.
    """

    kind = "text"
    spec: TextSpec
    metrics = ("nats", "bits", "perplexity")
    commands = (("generate", "rnnlab generate {run} --length 500 --temperature 0.8"), *Task.commands)

    def __init__(
        self,
        spec: TextSpec,
        seed: int = 0,
        *,
        embedding_size: int | None = None,
        init: str = "uniform",
        init_scale: float | None = None,
        forget_bias: float | Literal["auto"] | None = None,
        **recurrence: Any,
    ) -> None:
        super().__init__(spec, seed)
        if recurrence.get("bidirectional"):
            raise UserError("model.bidirectional: a language model cannot read the future; set it to false")
        size = spec["vocabulary_size"]
        check_memory(8.0 * size * (embedding_size or 0), f"model.embedding_size={embedding_size}")
        self.embedding = (
            None if embedding_size is None else nn.utils.skip_init(nn.Embedding, size, embedding_size)
        )
        self.stack = Stack(input_size=embedding_size or size, **recurrence)
        self.head = nn.utils.skip_init(Head, self.stack.output_size, size)
        self.carry, self.evaluation_carry = Carry(), Carry()
        self.initialise(
            [self.head] if self.embedding is None else [self.embedding, self.head],
            {"init": init, "init_scale": init_scale, "forget_bias": forget_bias},
        )

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.stack(self.stack_input(x)[0], state, dropout_at=self.dropout_at)
        return self.head(y), state

    def stack_input(self, x: Tensor) -> tuple[Tensor, None]:
        return x if self.embedding is None else self.embedding(x), None

    @property
    def of_characters(self) -> dict[str, int]:
        inputs = {"stack.layers.0.weight_ih": 1} if self.embedding is None else {"embedding.weight": 0}
        return inputs | {"head.weight": 0, "head.bias": 0}

    def outline(self) -> Outline:
        return Outline(
            stack=self.stack,
            head=self.head,
            reads="every",
            loss="cross_entropy",
            target=(-1,),
            seed=self.seed,
            indices=True,
            embedding=self.embedding,
        )

    def loss_units(self) -> tuple[str, float]:
        return "nats", 1.0

    def carried_loss(self, batch: Segment, carry: Carry) -> Tensor:
        logits, state = self(batch.x, carry.take(batch.first))
        carry.keep(state)
        return F.cross_entropy(logits.flatten(0, 1), batch.y.flatten())

    def loss(self, batch: Segment) -> Tensor:
        return self.carried_loss(batch, self.carry)

    def scores(self, batch: Segment) -> Scores:
        n = batch.y.numel()
        nats = self.carried_loss(batch, self.evaluation_carry) * n
        return {"loss": (nats, n), "nats": (nats, n)}

    def scoring(self) -> Scale:
        return Scale()

    def output_and_truth(self, batch: Segment) -> tuple[Tensor, Tensor]:
        logits, state = self(batch.x, self.evaluation_carry.take(batch.first))
        self.evaluation_carry.keep(state)
        return logits, batch.y

    def scores_from_sums(self, sums: Sequence[float], places: int) -> Scores:
        return {"loss": (sums[LOSS], places), "nats": (sums[LOSS], places)}

    def reported(self, means: dict[str, float]) -> dict[str, float]:
        nats = means["nats"]
        return {"nats": nats, "bits": nats / math.log(2), "perplexity": math.exp(min(nats, 700.0))}

    predicted_along = 1

    def predict_step(self, batch: Segment, batch_idx: int) -> Tensor:
        """The probabilities of each next character, (B, T, V)."""
        logits, state = self(batch.x, self.evaluation_carry.take(batch.first))
        self.evaluation_carry.keep(state)
        return logits.softmax(-1)

    def predict_given(self, x: Tensor) -> Tensor:
        """The probabilities (B, T, V) for x (B, T), ids of the vocabulary; begins with the initial state."""
        ids = given_ids(x, self.spec["vocabulary_size"], "ids of the vocabulary")
        return self(ids)[0].softmax(-1)

    def end_loss(self, y: Tensor, probe: Probe) -> Tensor:
        return F.cross_entropy(self.head(y[:, -1]), probe.y)

    def panels(self) -> tuple[Panel, ...]:
        return (Panel("nats", 1.0, log=False),)

    @torch.inference_mode()
    def text_sample(self, data: Any) -> str | None:
        """A header line, the first characters of the held-out part, and the characters that the model adds to them.

        They are drawn with seed 0, not with the run's.
        """
        if not hasattr(data, "rows"):
            return None
        split = data.held_out()
        prompt = data.rows(split)[0, :PROMPT].to(self.device)
        drawn = list(self.sample(prompt, LENGTH, temperature=TEMPERATURE, seed=0))
        vocabulary = Vocabulary.from_spec(self.spec)
        part = {"val": "validation", "train": "training"}[split]
        head = (
            f"# {LENGTH} characters at temperature {TEMPERATURE}, seed 0, after the first {len(prompt)} of the "
            f"{part} part: {vocabulary.decode(prompt)!r}\n"
        )
        return head + vocabulary.decode(prompt) + vocabulary.decode(drawn) + "\n"

    def parse(self, text: str) -> tuple[Tensor, list[str]]:
        # data.unknown may skip or replace unknown characters; in typed text they are an error
        return Vocabulary(self.spec["vocabulary"]).encode(text), list(text)

    def meaning(self, y: Tensor, subtracted: Tensor | None) -> str:
        p, vocabulary = y.softmax(0), Vocabulary.from_spec(self.spec)
        likeliest = p.sort(descending=True, stable=True).indices[:SHOWN].tolist()
        return "next: " + ", ".join(f"{vocabulary.decode([i])!r} {100 * float(p[i]):.0f}%" for i in likeliest)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        carry = self.carry.state_dict()
        if self.world is not None:
            carry = joined(self.world.gather(on_cpu(carry)))
        checkpoint["carry"] = carry

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "carry" in checkpoint:
            carry = checkpoint["carry"]
            self.carry.load_state_dict(carry if self.world is None else part(carry, self.world.part))

    @torch.inference_mode()
    def sample(
        self,
        prompt: Tensor,
        length: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[int]:
        """Yields the ids of `length` characters that follow `prompt`, a (T,) int64 tensor with T >= 1.

        `temperature` divides the logits (0 = always the likeliest); then only the `top_k` likeliest stay, and of
        these the fewest whose probabilities sum to at least `top_p` (Holtzman et al. 2020).
        """
        uniform = streams.generator(seed, "sample").random(length)
        logits, state = self(prompt[None])
        for u in uniform:
            sums = next_probabilities(logits[0, -1].cpu().double(), temperature, top_k, top_p).cumsum(0)
            # the first character whose cumulative sum exceeds the draw: its probability is above 0 even for a draw of 0
            index = int(torch.searchsorted(sums, float(u) * sums[-1], right=True))
            yield index
            logits, state = self(torch.tensor([[index]], device=prompt.device), state)


def next_probabilities(
    logits: Tensor, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The distribution (V,) that `CharLM.sample` draws from, given logits (V,) in float64."""
    if temperature == 0:
        return F.one_hot(logits.argmax(), len(logits)).double()
    p = torch.softmax(logits / temperature, dim=0)
    if top_k is not None or top_p is not None:
        sorted_p, order = p.sort(descending=True, stable=True)
        keep = torch.ones_like(p, dtype=torch.bool)
        if top_k is not None:
            keep[top_k:] = False
        if top_p is not None:
            sorted_p = sorted_p * keep / (sorted_p * keep).sum()
            keep &= sorted_p.cumsum(0) - sorted_p < top_p
        p = p * torch.zeros_like(keep).scatter(0, order, keep)
    return p / p.sum()
