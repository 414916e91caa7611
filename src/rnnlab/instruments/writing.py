"""`Writing`: samples of a character model, its loss on a held-out passage, and its predictions."""

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rnnlab.data.chars import Chars
from rnnlab.data.module import SequenceData
from rnnlab.data.vocabulary import Vocabulary
from rnnlab.figures.canvas import GREY, INK, NARROW, canvas, headline
from rnnlab.instruments.instrument import Instrument
from rnnlab.instruments.probe import Probe
from rnnlab.tasks.char_lm import CharLM
from rnnlab.tasks.task import Task

LINES, WIDTH = 5, 72  # the size of the coloured passage, in lines and characters
TRAIL, CANDIDATES = 24, 5  # positions at its end with predictions, and likely characters for each
NARROW_WIDTH, NARROW_TRAIL = 30, 10  # the same in a narrow figure
PROMPT, LENGTH = 20, 200
TEMPERATURES = (0.5, 0.8, 1.0)
WORST = 6.0  # nats from which on the colour stays the same
VISIBLE = {
    " ": "\N{OPEN BOX}",
    "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
    "\t": "\N{RIGHTWARDS ARROW}",
}


class Writing(Instrument):
    """A held-out passage coloured by the loss of each character, the likeliest characters at its last positions,
    and samples at several temperatures, always with seed 0.

    `passage_nats` is the mean loss in nats over the passage, read from the initial state on.
    """

    name, title = "writing", "what surprises it in a held-out text"

    def look(self, task: Task, seen: Probe, data: SequenceData) -> dict[str, float]:
        if not isinstance(task, CharLM) or not isinstance(data, Chars):
            return {}
        self.vocabulary = Vocabulary.from_spec(task.spec)
        self.ids = data.rows(data.held_out())[0, : LINES * WIDTH + 1].to(task.device)
        logits, _ = task(self.ids[None, :-1])
        self.log_p = torch.log_softmax(logits[0].cpu().double(), -1)  # (T, V)
        read = self.ids[1:].cpu()
        self.losses = -self.log_p[torch.arange(len(read)), read].numpy()
        self.remember(self.step, float(self.losses.mean()))
        return {"passage_nats": float(self.losses.mean())}

    def say(self, task: Task, data: SequenceData) -> str:
        assert isinstance(task, CharLM)  # `look` has measured it
        prompt = self.ids[:PROMPT]
        parts = [f"# weights of step {self.step:,}, seed 0, after {self.vocabulary.decode(prompt.cpu())!r}"]
        for temperature in TEMPERATURES:
            drawn = list(task.sample(prompt, LENGTH, temperature=temperature, seed=0))
            parts.append(f"--- temperature {temperature}\n{self.vocabulary.decode(drawn)}")
        return "\n".join(parts) + "\n"

    def draw(self, task: Task, data: SequenceData) -> Figure:
        across, trail = (NARROW_WIDTH, NARROW_TRAIL) if self.narrow else (WIDTH, TRAIL)
        lines = -(-len(self.losses) // across)
        figure = canvas(NARROW, 5.8) if self.narrow else canvas(11, 5.4)
        above, below = figure.subplots(2, 1, height_ratios=[lines, CANDIDATES + 1.6])
        colours, size = colormaps["YlOrRd"], 9.0 if self.narrow else 10.5
        text = [shown(self.vocabulary, int(i)) for i in self.ids[1:]]
        for i, (character, loss) in enumerate(zip(text, self.losses, strict=True)):
            x, y = i % across, i // across
            _cell(above, x, y, character, colours(min(loss / WORST, 1.0) * 0.8))
        _bare(above, across, lines)
        above.set_title(f"a held-out passage: pale 0 nats, red {WORST:g} and more", loc="left", fontsize=size)
        last = range(max(0, len(text) - trail), len(text))
        for column, i in enumerate(last):
            _cell(below, column, 0, text[i], colours(min(self.losses[i] / WORST, 1.0) * 0.8))
            best = np.argsort(-self.log_p[i].numpy())[:CANDIDATES]
            for rank, candidate in enumerate(best, 1):
                p = float(self.log_p[i, candidate].exp())
                hit = int(candidate) == int(self.ids[i + 1])
                _cell(below, column, rank + 0.4, shown(self.vocabulary, int(candidate)),
                      colormaps["Blues"](0.55 * p), f"{100 * p:.0f}", framed=hit)  # fmt: skip
        _bare(below, trail, CANDIDATES + 1.4)
        below.set_title("its end, and the likeliest in percent (framed: what came)" if self.narrow else
                        "the end of it, and below what was thought likeliest, in percent (framed: what came)",
                        loc="left", fontsize=size)  # fmt: skip
        headline(figure, f"{self.losses.mean():.3g} nats per character", self.when)
        return figure


def shown(vocabulary: Vocabulary, index: int) -> str:
    character = vocabulary.decode([index])
    character = VISIBLE.get(character, character)
    return character if character.isprintable() else "\N{MIDDLE DOT}"


def _cell(
    axes: Any, x: float, y: float, text: str, colour: Any, note: str = "", framed: bool = False
) -> None:
    inset = 0.03 if framed else 0.0
    side = 1 - 2 * inset
    edge, width = (INK, 1.3) if framed else ("white", 0.6)
    axes.add_patch(Rectangle((x + inset, y + inset), side, side, facecolor=colour, edgecolor=edge, lw=width))
    axes.text(x + (0.32 if note else 0.5), y + 0.54, _plain(text), ha="center", va="center", fontsize=10,
              family="monospace", color=INK, fontweight="bold" if framed else "normal",
              in_layout=False)  # fmt: skip
    if note:
        axes.text(x + 0.93, y + 0.56, note, ha="right", va="center", fontsize=7.5, color=INK, in_layout=False)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib would read $ as the beginning of a formula


def _bare(axes: Any, width: float, height: float) -> None:
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(color=GREY)
