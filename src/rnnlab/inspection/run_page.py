"""The report of one run as a page of HTML that needs nothing else."""

import base64
import shlex
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from rnnlab.inspection.learning import smoothed
from rnnlab.inspection.look import page
from rnnlab.ledger.run import Run
from rnnlab.sweeps.leaderboard import number
from rnnlab.sweeps.svg import Plot, plot
from rnnlab.training.dashboard import loss_units_of, manifest_rows
from rnnlab.training.terminal import facts, metrics_of

BLUE, ORANGE = "var(--blue)", "var(--orange)"
TITLES = {"train": "training", "val": "validation", "test": "test"}
PANEL = (440, 280)
DIFF = 20_000  # characters of a diff; manifest.json has it all

CAPTIONS = {
    "forecast": "Forecasts of the best weights beside the truth, and the learning curve.",
    "learning": "Learning, beside baselines and floor.",
    "gradient_through_time": "How much of the gradient reaches back: vanishing or exploding, seen directly.",
    "memory": "How far back the input must be kept for the loss to stay within 1%.",
    "states": "What the hidden units do, and how many are stuck or dead.",
    "recurrent_weights": "Eigenvalues of the recurrent weights; outside the circle they grow.",
    "horizon": "How the error grows when the model feeds on its own forecasts.",
    "writing": "What surprises the model in a passage that it never saw, and what it expects next.",
}


def run_page(run: Run) -> str:
    """Summary, curves, figures, samples, config, manifest and how to do it again."""
    record = run.record
    parts = [_head(run, record)]
    if record.get("why"):
        parts.append(f"<pre>{escape(str(record['why']))}</pre>")
    if run.results.get("best"):
        parts += ["<h2>Results</h2>", _results(run)]
        parts += [f"<p class=note>{escape(fact)}</p>" for fact in facts(run)]
    if curves := _curves(run):
        parts += ["<h2>Learning</h2>", curves]
    if figures := sorted(run.figures.glob("*.png")) if run.figures.is_dir() else []:
        parts += ["<h2>Figures</h2>", *map(_figure, figures)]
    for sample in sorted(run.samples.glob("*.txt")) if run.samples.is_dir() else []:
        text = sample.read_text(encoding="utf-8", errors="replace")
        parts += [f"<h2>Sample: {escape(sample.stem)}</h2>", f"<pre>{escape(text)}</pre>"]
    parts += ["<h2>How to do it again</h2>", _again(run)]
    parts += ["<h2>How it was made</h2>", _pairs(manifest_rows(run.manifest, run)), _folded(run)]
    return page(run.folder.name, "".join(parts))


def _head(run: Run, record: dict[str, Any]) -> str:
    label = record.get("label", "").replace("+", " ") or "as the experiment stands"
    status = record.get("status", "?")
    said = [f"seed {run.config.get('seed')}", f"id {record.get('id')}", f"{record.get('created', '')[:16]}"]
    if record.get("seconds"):
        said.append(f"{record['seconds']:,.1f} s for {run.results.get('steps', 0):,} steps")
    return (
        f"<h1>{escape(record.get('experiment', ''))}: {escape(label)} "
        f'<span class="chip {escape(status)}">{escape(status)}</span></h1>'
        f"<p class=lead>{escape(', '.join(filter(None, said)))}</p>"
    )


def _results(run: Run) -> str:
    """The table of the terminal, its rows best, last, baselines and floor, its columns metrics by part."""
    results = run.results
    best, last = results["best"], results.get("last") or {}
    scored: dict[str, dict[str, float]] = {
        part: {k: v for k, v in results.get(part, {}).items() if k != "loss"} for part in ("train", "test")
    }
    rows = [("first", f"best, step {best['step']:,}", scored | {"val": metrics_of(best)})]
    if last:
        rows.append(("", f"last, step {last['step']:,}", {"val": metrics_of(last)}))
    baselines, floor = results.get("baselines", {}), results.get("floor", {})
    for name in next(iter(baselines.values()), {}):
        rows.append(("aside", name, {part: found.get(name, {}) for part, found in baselines.items()}))
    if any(floor.values()):
        rows.append(("aside", "floor", floor))
    metrics = list(metrics_of(best) or scored["train"])
    parts = [part for part in TITLES if any(scores.get(part) for _, _, scores in rows)]
    heads = "".join(f"<th>{TITLES[part]} {escape(metric)}</th>" for part in parts for metric in metrics)
    lines = []
    for kind, name, scores in rows:
        cells = [number(scores.get(part, {}).get(metric)) for part in parts for metric in metrics]
        lines.append(
            f'<tr class="{kind}"><td>{escape(name)}</td>{"".join(f"<td>{c}</td>" for c in cells)}</tr>'
        )
    return (f"<div class=wide><table><thead><tr><th></th>{heads}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table></div>")  # fmt: skip


def _curves(run: Run) -> str:
    """Loss of training and validation, then every metric with its baselines and floor, then the gradient."""
    found, results = run.metrics, run.results
    lines = results.get("baselines", {}).get("val", {})
    floor = results.get("floor", {}).get("val", {})
    panels = []
    metric, factor = loss_units_of(run)
    levels = {name: scores[metric] / factor for name, scores in lines.items() if metric in scores}
    if metric in floor:
        levels["floor"] = floor[metric] / factor
    loss = [(t, c) for t, c in (("loss/train", BLUE), ("loss/val", ORANGE)) if t in found]
    panels.append(_panel("loss", [(found[tag], colour) for tag, colour in loss], levels))
    for tag in found:
        name = tag.removeprefix("metric/")
        if tag.startswith("metric/") and name not in ("rmse", "bits", "perplexity"):
            levels = {n: scores[name] for n, scores in lines.items() if name in scores}
            if name in floor:
                levels["floor"] = floor[name]
            panels.append(_panel(name, [(found[tag], ORANGE)], levels))
    for tag in ("optim/grad_norm", "optim/lr"):
        if tag in found and np.ptp(found[tag][1]) > 0:
            panels.append(_panel(tag.removeprefix("optim/").replace("_", " "), [(found[tag], BLUE)], {}))
    named = (("training", BLUE), ("validation", ORANGE))
    key = "".join(f'<span><i style="border-color:{colour}"></i>{name}</span>' for name, colour in named)
    drawn = [str(panel) for panel in panels if panel is not None]
    return (
        f"<div class=panels>{''.join(f'<div>{d}</div>' for d in drawn)}</div><p class=key>{key}</p>"
        if drawn
        else ""
    )


def _panel(title: str, curves: list[Any], levels: dict[str, float]) -> Plot | None:
    """Curves over steps, with lines across; without what is not finite and the highest few of the first steps."""
    shown = []
    for (steps, values), colour in curves:
        sound = np.isfinite(values)
        if sound.any():
            shown.append((*smoothed(steps[sound], values[sound]), colour))
    if not shown:
        return None
    values = np.concatenate([v for _, v, _ in shown])
    picture = plot(
        [int(s) for steps, _, _ in shown for s in (steps[0], steps[-1])],
        [float(values.min()), float(values.max())],
        PANEL, "optimizer step", title, log_x=False, levels=levels,
    )  # fmt: skip
    for steps, curve, colour in shown:
        if len(steps) == 1:
            picture.dot(int(steps[0]), float(curve[0]), colour, number(float(curve[0])))
        picture.line(list(zip(steps.tolist(), curve.tolist(), strict=True)), colour)
    return picture


def _figure(file: Path) -> str:
    content = base64.b64encode(file.read_bytes()).decode()
    caption = CAPTIONS.get(file.stem, file.stem.replace("_", " "))
    return (f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{content}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>")  # fmt: skip


def _again(run: Run) -> str:
    from rnnlab.ledger.yaml import read_yaml

    file = run.folder / "overrides.yaml"
    asked = [str(o) for o in read_yaml(file) or []] if file.is_file() else []
    code = run.manifest.get("code", {})
    lines = []
    if code.get("commit"):
        lines.append(f"git checkout {code['commit']}")
        if not code.get("clean"):
            lines.append("# and apply the diff of manifest.json: there were changes that were not committed")
    lines.append(shlex.join(["rnnlab", "train", *asked, "rerun=true"]))
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _pairs(rows: list[tuple[str, Any]]) -> str:
    cells = "".join(f"<tr><td>{escape(n)}</td><td>{escape(str(v))}</td></tr>" for n, v in rows if v)
    return f"<table class=pairs>{cells}</table>"


def _folded(run: Run) -> str:
    config = (run.folder / "config.yaml").read_text(encoding="utf-8")
    parts = [("The whole config", config)]
    if diff := run.manifest.get("code", {}).get("diff"):
        parts.append(("Changes that were not committed", diff[:DIFF]))
    trace = run.folder / "traceback.txt"
    if run.status == "failed" and trace.is_file():
        parts.append(("Traceback", trace.read_text(encoding="utf-8", errors="replace")))
    return "".join(f"<details><summary>{t}</summary><pre>{escape(c)}</pre></details>" for t, c in parts)
