"""The report of one run as a self-contained HTML page."""

import base64
import shlex
from html import escape
from pathlib import Path
from typing import Any

from rnnlab.regular_files import read_file
from rnnlab.report import units
from rnnlab.report.curves import run_curves
from rnnlab.report.entry import spelled
from rnnlab.report.numbers import number
from rnnlab.report.style import page
from rnnlab.runs.manifest import config_folders, manifest_rows
from rnnlab.runs.record import EARLY, Record
from rnnlab.runs.run import Run
from rnnlab.terminal.run import facts
from rnnlab.terminal.scores import PARTS, score_rows

CLASSES = {"bold": "first", "": "", "dim": "aside"}  # {style in the terminal: CSS class}
MANY, LARGE = 100, 20_000_000  # the most files of one kind in a page, and the most bytes of each
DIFF = 20_000  # the most characters of a diff; manifest.json has all of it

CAPTIONS = {
    "forecast": "Forecasts of the best weights beside the truth, and the learning curve.",
    "learning": "Learning, beside baselines and floor.",
}
INSTRUMENTS = {
    "gradient_through_time": "How much of the loss's gradient reaches back to earlier steps, by step of the training: "
    "a line that falls to the left vanishes, one that rises explodes.",
    "memory": "How far back the input must be kept for the loss to stay within 1%.",
    "states": "What the hidden units do over one sequence, and how many are stuck or dead.",
    "recurrent_weights": "Eigenvalues of the recurrent weights: along those outside the circle a state would grow if "
    "no activation function bounded it.",
    "horizon": "How the error grows when the model feeds on its own forecasts.",
    "writing": "What surprises the model in a passage that it never saw, and what it expects next.",
}
SAMPLES = {"sample": "A sample of the best weights", "writing": "Samples at several temperatures"}


def run_page(run: Run) -> str:
    """The HTML with summary, curves, figures, samples, config, manifest and the commands to reproduce the run."""
    record = run.record
    parts = [_head(run, record)]
    if record.get("why"):
        parts.append(f"<pre>{escape(str(record['why']))}</pre>")
    if run.results.get("best"):
        parts += ["<h2>Results</h2>", _results(run)]
        parts += [f"<p class=note>{escape(fact)}</p>" for fact in facts(run)]
    if curves := run_curves(run):
        parts += ["<h2>Learning</h2>", curves]
    figures, not_drawn = held(run, run.figures, "*.png")
    if figures:
        parts += ["<h2>Figures</h2>", _whose(run, figures), *map(_figure, figures)]
    samples, not_quoted = held(run, run.samples, "*.txt")
    for sample in samples:
        text = read_file(sample).decode(errors="replace")
        parts += [f"<h2>{escape(SAMPLES.get(sample.stem, sample.name))}</h2>", f"<pre>{escape(text)}</pre>"]
    parts += [f"<p class=note>{escape(left_out)}</p>" for left_out in (*not_drawn, *not_quoted)]
    if (looked_into := units.recorded(run)) is not None:
        parts.append(units.section(looked_into))
    parts += ["<h2>How to do it again</h2>", _again(run)]
    parts += ["<h2>How it was made</h2>", _pairs(_made(run)), _folded(run)]
    more = (units.STYLE, units.SCRIPT) if looked_into is not None else ()
    return page(run.folder.name, "".join(parts), *more)


def held(run: Run, folder: Path, pattern: str) -> tuple[list[Path], list[str]]:
    """The files of the run that the page may contain, and a line for each other file.

    Symbolic links are left out: they could lead to any file of the reader, and the page may be passed on.
    """
    sound: list[Path] = []
    left_out: list[str] = []
    for file in sorted(folder.glob(pattern)) if folder.is_dir() else ():
        own = file.resolve().is_relative_to(run.folder.resolve()) and file.is_file()
        if not own:
            left_out.append(f"{file.name} is left out: it is no file of the run's folder.")
        elif len(sound) == MANY or file.stat().st_size > LARGE:
            left_out.append(
                f"{file.name} is left out: a page holds {MANY} files, each of {LARGE:,} bytes at most."
            )
        else:
            sound.append(file)
    return sound, left_out[:MANY]


def _head(run: Run, record: Record) -> str:
    label = spelled(record.get("label", "")) or "as the experiment stands"
    status = record.get("status", "?")
    said = [f"seed {run.config.get('seed')}", f"id {record.get('id')}", f"{record.get('created', '')[:16]}"]
    if status == EARLY:
        said.append(f"{EARLY} by {record.get('why', '')}")
    if record.get("seconds"):
        said.append(f"{record['seconds']:,.1f} s for {run.results.get('steps', 0):,} steps")
    return (
        f"<h1>{escape(record.get('experiment', ''))}: {escape(label)} "
        f'<span class="chip {escape(status)}">{escape(status)}</span></h1>'
        f"<p class=lead>{escape(', '.join(filter(None, said)))}</p>"
    )


def _results(run: Run) -> str:
    """The table of results, as in the terminal: rows best, last, baselines and floor; columns metrics by part."""
    metrics, rows = score_rows(run.results)
    parts = [part for part in PARTS if any(scores.get(part) for _, scores, _ in rows)]
    heads = "".join(f"<th>{PARTS[part]} {escape(metric)}</th>" for part in parts for metric in metrics)
    lines = []
    for name, scores, style in rows:
        cells = [number(scores.get(part, {}).get(metric)) for part in parts for metric in metrics]
        lines.append(
            f'<tr class="{CLASSES[style]}"><td>{escape(name)}</td>{"".join(f"<td>{c}</td>" for c in cells)}</tr>'
        )
    return (f"<div class=wide><table><thead><tr><th></th>{heads}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table></div>")  # fmt: skip


def _whose(run: Run, figures: list[Path]) -> str:
    """Says which weights the figures show, where best and last differ."""
    best, steps = run.results.get("best", {}).get("step"), run.results.get("steps")
    if not {file.stem for file in figures} & INSTRUMENTS.keys() or best is None or best == steps:
        return ""
    return (f"<p class=note>What instruments show is the training: the last weights, of step {steps:,}. Forecasts, "
            f"samples and the test part's results are of the best, of step {best:,}.</p>")  # fmt: skip


def _figure(file: Path) -> str:
    content = base64.b64encode(read_file(file)).decode()
    caption = (CAPTIONS | INSTRUMENTS).get(file.stem, file.stem.replace("_", " "))
    return (f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{content}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>")  # fmt: skip


def _again(run: Run) -> str:
    asked = [o for o in run.overrides if o != "rerun=true"]
    code = run.manifest.get("code", {})
    lines = []
    if code.get("commit"):
        lines.append(f"git checkout {code['commit']}")
        if not code.get("clean"):
            lines.append("# and apply the diff of manifest.json: there were changes that were not committed")
    folders = config_folders(run.manifest.get("command", []))[-1:]
    given = [word for folder in folders for word in ("--config-dir", folder)]
    lines.append(shlex.join(["rnnlab", "train", *given, *asked, "rerun=true"]))
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _made(run: Run) -> list[tuple[str, Any]]:
    rows = dict(manifest_rows(run.manifest, run.folder))
    return [*(rows | {"folder": run.folder.absolute()}).items()]


def _pairs(rows: list[tuple[str, Any]]) -> str:
    cells = "".join(f"<tr><td>{escape(n)}</td><td>{escape(str(v))}</td></tr>" for n, v in rows if v)
    return f"<table class=pairs>{cells}</table>"


def _folded(run: Run) -> str:
    config = read_file(run.folder / "config.yaml").decode(errors="replace")
    parts = [("The whole config", config)]
    if diff := run.manifest.get("code", {}).get("diff"):
        parts.append(("Changes that were not committed", diff[:DIFF]))
    trace = run.folder / "traceback.txt"
    if run.status == "failed" and held(run, run.folder, trace.name)[0]:
        parts.append(("Traceback", read_file(trace).decode(errors="replace")))
    return "".join(f"<details><summary>{t}</summary><pre>{escape(c)}</pre></details>" for t, c in parts)
