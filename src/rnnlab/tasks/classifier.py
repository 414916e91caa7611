"""`Classifier`: predicts one label for a whole sequence of tokens."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import BinaryAUROC, BinaryF1Score, MulticlassAUROC, MulticlassF1Score

from rnnlab.cells.choice import check_choice
from rnnlab.data.spec import LabelledSpec
from rnnlab.data.tokens import Labelled
from rnnlab.errors import UserError
from rnnlab.memory import check_memory
from rnnlab.native.scoring import LOSS, RIGHT, Head, Scale
from rnnlab.recurrence.outline import Outline
from rnnlab.recurrence.stack import Stack
from rnnlab.tasks.task import Panel, Probe, Scores, Task, given_ids


class Classifier(Task):
    """An embedding, a stack, and a linear head on the output at the last step of each sequence.

    forward: x (B, T) int64 padded on the right, lengths (B,) -> logits, (B,) for a sigmoid head over two
    classes, (B, classes) for softmax. A bidirectional stack gives the head its forward output at the last step and
    its backward output at the first. The loss is the cross-entropy in nats. f1 is that of class 1 or, for softmax, the
    mean over the classes, as auroc, in which classes that a part lacks do not count (NaN if it has one class alone).
    Raises UserError for an unknown `output`, and for a sigmoid head over more than two classes.
    """

    kind = "labelled"
    spec: LabelledSpec
    metrics = ("cross_entropy", "accuracy", "f1", "auroc")

    def __init__(
        self,
        spec: LabelledSpec,
        seed: int = 0,
        *,
        embedding_size: int = 32,
        output: Literal["auto", "sigmoid", "softmax"] = "auto",
        init: str = "uniform",
        init_scale: float | None = None,
        forget_bias: float | Literal["auto"] | None = None,
        **recurrence: Any,
    ) -> None:
        super().__init__(spec, seed)
        check_choice("model.output", output, ("auto", "sigmoid", "softmax"))
        self.classes = spec["classes"]
        if output == "sigmoid" and self.classes != 2:
            raise UserError(
                f"model.output=sigmoid is for two classes, and the data has {self.classes}: use softmax"
            )
        self.sigmoid = output == "sigmoid" or (output == "auto" and self.classes == 2)
        check_memory(8.0 * spec["vocab_size"] * embedding_size, f"model.embedding_size={embedding_size}")
        self.embedding = nn.utils.skip_init(nn.Embedding, spec["vocab_size"], embedding_size)
        self.stack = Stack(input_size=embedding_size, **recurrence)
        self.head = nn.utils.skip_init(Head, self.stack.output_size, 1 if self.sigmoid else self.classes)
        alone: dict[str, Any] = {"sync_on_compute": False}  # `reported` itself gathers from other processes
        if self.sigmoid:
            self.ranked: dict[str, Any] = {"f1": BinaryF1Score(**alone), "auroc": BinaryAUROC(**alone)}
        else:
            self.ranked = {
                "f1": MulticlassF1Score(self.classes, average="macro", **alone),
                "auroc": MulticlassAUROC(self.classes, average="none", **alone),
            }
        self._seen: list[tuple[Tensor, Tensor]] = []  # (scores, truth) of this process, for `reported`
        self._counts = torch.zeros(self.classes, dtype=torch.int64)  # sequences of each class, for `reported`
        self.initialise(
            [self.embedding, self.head], {"init": init, "init_scale": init_scale, "forget_bias": forget_bias}
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.stack(self.stack_input(x)[0], lengths=lengths, dropout_at=self.dropout_at)
        at = torch.arange(y.shape[0], device=y.device)
        return self.logits(y, y[at, lengths - 1, : self.stack.hidden_size])

    def logits(self, y: Tensor, last: Tensor) -> Tensor:
        """Logits from the stack's outputs y (B, T, output) and its forward output at each last step, `last` (B, H)."""
        logits = self.head(torch.cat([last, y[:, 0, self.stack.hidden_size :]], dim=-1))
        return logits.squeeze(-1) if self.sigmoid else logits

    def stack_input(self, x: Tensor) -> tuple[Tensor, None]:
        return self.embedding(x), None

    def outline(self) -> Outline:
        return Outline(
            stack=self.stack,
            head=self.head,
            reads="ends",
            loss="binary_cross_entropy" if self.sigmoid else "cross_entropy",
            target=(),
            seed=self.seed,
            indices=True,
            embedding=self.embedding,
        )

    def loss_units(self) -> tuple[str, float]:
        return "cross_entropy", 1.0

    def criterion(self, logits: Tensor, y: Tensor) -> Tensor:
        if self.sigmoid:
            return F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype))
        return F.cross_entropy(logits, y)

    def loss(self, batch: Labelled) -> Tensor:
        return self.criterion(self(batch.x, batch.lengths), batch.y)

    def scores(self, batch: Labelled) -> Scores:
        logits, n = self(batch.x, batch.lengths), len(batch.y)
        loss = self.criterion(logits, batch.y) * n
        predicted = (logits > 0).long() if self.sigmoid else logits.argmax(-1)
        self.rank(logits, batch.y)
        return {
            "loss": (loss, n),
            "cross_entropy": (loss, n),
            "accuracy": ((predicted == batch.y).sum().to(loss.dtype), n),
        }

    def scoring(self) -> Scale:
        return Scale()

    def output_and_truth(self, batch: Labelled) -> tuple[Tensor, Tensor]:
        return self(batch.x, batch.lengths), batch.y

    def scores_from_sums(self, sums: Sequence[float], places: int) -> Scores:
        loss = sums[LOSS], places
        return {"loss": loss, "cross_entropy": loss, "accuracy": (sums[RIGHT], places)}

    ranks = True

    def rank(self, said: Tensor, truth: Tensor) -> None:
        scores = (said.sigmoid() if self.sigmoid else said.softmax(-1)).detach().cpu()
        if self.world is not None:
            self._seen.append((scores, truth.cpu()))
            return
        self._collect(scores, truth.cpu())

    def _collect(self, scores: Tensor, truth: Tensor) -> None:
        for metric in self.ranked.values():
            metric.update(scores, truth)
        self._counts += torch.bincount(truth, minlength=self.classes)

    def forget(self) -> None:
        super().forget()
        self._seen.clear()
        self._counts.zero_()
        for metric in self.ranked.values():
            metric.reset()

    def predict_step(self, batch: Labelled, batch_idx: int) -> Tensor:
        """The probabilities of the classes (B, classes)."""
        return self.probabilities(self(batch.x, batch.lengths))

    def predict_given(self, x: Tensor) -> Tensor:
        """The probabilities of the classes (B, classes) for tokens x (B, T); 0 at the end of a row is padding."""
        tokens = given_ids(x, self.spec["vocab_size"], "whole numbers")
        lengths = (tokens != 0).sum(1)
        if bool(((tokens[:, 1:] != 0) & (tokens[:, :-1] == 0)).any()) or not bool(lengths.all()):
            raise UserError(
                "predict: token 0 is padding; it stands at the end of a row only, after at least one token"
            )
        return self.probabilities(self(tokens, lengths))

    def probabilities(self, logits: Tensor) -> Tensor:
        """The probabilities of the classes (B, classes), also for a sigmoid head."""
        return torch.stack([-logits, logits], -1).sigmoid() if self.sigmoid else logits.softmax(-1)

    def end_loss(self, y: Tensor, probe: Probe) -> Tensor:
        return self.criterion(self.logits(y, y[:, -1, : self.stack.hidden_size]), probe.y)

    def panels(self) -> tuple[Panel, ...]:
        return Panel("cross_entropy", 1.0, log=False), Panel("accuracy", None, log=False)

    def parse(self, text: str) -> tuple[Tensor, list[str]]:
        """Tokens as numbers, separated by spaces."""
        size = self.spec["vocab_size"]
        for word in text.split():
            if not word.isdecimal() or int(word) >= size:
                raise UserError(f"{word}: not a token from 0 to {size - 1}")
        return torch.tensor([int(word) for word in text.split()], dtype=torch.int64), text.split()

    def meaning(self, y: Tensor, subtracted: Tensor | None) -> str:
        p = self.probabilities(y.squeeze(-1) if self.sigmoid else y)
        best = int(p.argmax())
        return f"if it ended here: class {best} ({100 * float(p[best]):.0f}%)"

    def reported(self, means: dict[str, float]) -> dict[str, float]:
        if self.world is not None:
            for scores, truth in (seen for of_rank in self.world.gather(self._seen) for seen in of_rank):
                self._collect(scores, truth)
        found = {name: metric.compute() for name, metric in self.ranked.items()}
        # a class without members, or without others, has no area; torchmetrics gives it 0
        has_area = (self._counts > 0) & (self._counts < self._counts.sum())
        found["auroc"] = found["auroc"].reshape(-1)[has_area[1:] if self.sigmoid else has_area].mean()
        self.forget()
        return super().reported(means) | {name: float(value) for name, value in found.items()}
