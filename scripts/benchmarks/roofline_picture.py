"""The picture of docs/performance.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

# Okabe and Ito's colours, and a different marker for each cell
STYLES = {
    "elman": ("#0072B2", "o", "Elman"),
    "gru": ("#D55E00", "s", "GRU"),
    "lstm": ("#009E73", "^", "LSTM"),
}
TITLES = {"h": "hidden size h", "T": "time steps T", "B": "rows of a batch B"}
INK = "#333333"


def draw(
    path: Path, points: Mapping[tuple[str, str, int], Any], swept: Mapping[str, Sequence[int]],
    base: Mapping[str, int], peak: float, sgemm: float,
) -> None:  # fmt: skip
    """Plots training rates over h, T and B, on logarithmic axes, with the roof; `peak` in GFLOP/s."""
    figure = Figure(figsize=(12, 4.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (name, values) in zip(panels, swept.items(), strict=True):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.axhspan(peak, 2 * peak, color="#dddddd", zorder=0)
        axes.axhline(peak, color=INK, linewidth=1.5)
        axes.axhline(sgemm * peak, color=INK, linewidth=1, linestyle=(0, (5, 3)))
        for cell, (color, mark, _) in STYLES.items():
            row = [points[name, cell, value] for value in values]
            axes.plot(
                values, [p.native * peak for p in row], color=color, marker=mark, markersize=6, linewidth=2
            )
            axes.plot(values, [p.torch * peak for p in row], color=color, marker=mark, markersize=4, linewidth=1,
                      linestyle=":", markerfacecolor="white")  # fmt: skip
        others = ", ".join(f"{other} = {value}" for other, value in base.items() if other != name)
        axes.set_title(f"{TITLES[name]}   ({others})", fontsize=11, color=INK)
        axes.xaxis.set_major_locator(FixedLocator(list(values)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{value:,}" for value in values], fontsize=9)
        axes.grid(axis="y", color="#eeeeee")
        axes.set_axisbelow(True)
        axes.tick_params(colors=INK)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    first, last = panels[0], panels[-1]
    first.set_ylabel("GFLOP/s of one core, training", color=INK)
    low = min(p.torch for p in points.values()) * peak
    first.set_ylim(low / 1.5, peak * 1.6)
    ticks = [
        tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256) if low / 1.5 <= tick <= peak * 1.6
    ]
    first.yaxis.set_major_locator(FixedLocator(ticks))
    first.yaxis.set_minor_locator(NullLocator())
    first.set_yticklabels([f"{tick:g}" for tick in ticks])
    first.text(
        swept["h"][0], peak * 1.06, f"roof: multiply-adds on registers, {peak:.0f}", fontsize=9, color=INK
    )
    last.text(
        swept["B"][-1],
        sgemm * peak * 1.06,
        f"torch's sgemm, {sgemm * peak:.0f}",
        fontsize=9,
        color=INK,
        ha="right",
    )
    for _, (color, mark, label) in STYLES.items():
        last.plot([], [], color=color, marker=mark, linewidth=2, label=f"{label}, native")
    for _, (color, mark, label) in STYLES.items():
        last.plot([], [], color=color, marker=mark, markerfacecolor="white", linewidth=1, linestyle=":",
                  label=f"{label}, plain torch loop")  # fmt: skip
    figure.legend(
        *last.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9
    )
    figure.savefig(path)
