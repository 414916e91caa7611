"""Whatever a folder holds, a terminal is sent letters: no command lets a stranger's escapes, marks or lines through."""

import csv
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

import rnnlab
import warm
from rnnlab import cli
from rnnlab.errors import UserError
from rnnlab.runs.yaml import to_yaml
from rnnlab.terminal.console import Console
from rnnlab.terminal.output import lasting
from rnnlab.terminal.screen import clean, one_line, say, screened

# sets the title, colours as rich never would, C1, direction, no width, markup, a line of its own, half a pair
ESCAPES = "\x1b]0;owned\x07\x1b[8;35;45m\x9b31m\x90q\u202egnp\u2066\u200b\u200d\ufeff\x00\x08\x7f\u2028"
EVIL = f"a{ESCAPES}[red]b[/red][link=http://evil]c[/link]:smile:\r\nFORGED line\tx"
OURS = re.compile(r"\x1b\[(?:\d{1,3}(?:;\d{1,3}){0,4})?m|\x1b\[\?25[lh]|\x1b\[\d*[AK]|\r(?=\n)")  # rich's own


def assert_clean(said: str, terminal: bool = False, prose: str = "") -> None:
    assert "\x1b[8;35;45m" not in said
    left = OURS.sub("", said) if terminal else said
    found = {
        c for c in left if c not in f"\n{prose}" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
    assert not found, (found, said)
    assert not re.search(r"^\s*FORGED", left, re.MULTILINE), said


def test_prose_and_lines():
    assert (
        clean("Zeile 1\n\tZeile 2 — naïve, 日本, \u05e2\u05d1")
        == "Zeile 1\n\tZeile 2 — naïve, 日本, \u05e2\u05d1"
    )
    # Persian
    assert (
        clean("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645")
        == "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    )
    assert clean("\x1b[31m\x07\x7f\x9b\u202e\udc9b") == "\u241b[31m\u2407\u2421\ufffd\ufffd\ufffd"
    invisible = "\u034f\u115f\u3164\uffa0\ufe00\U000e0100"  # a name with them looks like another
    assert clean(invisible) == "\ufffd" * len(invisible) and clean("\u2665\ufe0f") == "\u2665\ufe0f"
    assert one_line("a\nb\r\tc\u200d") == "a\u240ab\u240d\u2409c\ufffd"
    hidden = [
        chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]
    # what has a shape of its own stays: signs over numbers and verses, musical and shorthand ones
    kept = {unicodedata.name(c, "").split()[0] for c in hidden if one_line(c) == c}
    assert kept <= {"ARABIC", "SYRIAC", "KAITHI", "MUSICAL", "SHORTHAND", "EGYPTIAN"}, kept


def test_an_error_says_its_own_lines_alone(capsys):
    assert str(UserError("one", "two")) == "one\ntwo"
    cli._report("", UserError("x: one\nFORGED", "two"), trace=False)
    assert capsys.readouterr().err.splitlines() == []  # no message, nothing said
    cli._report("x", UserError("x: one\nFORGED", "two"), trace=False)
    assert capsys.readouterr().err.splitlines() == ["x: one\u240aFORGED", "two"]


def test_a_screen_lets_bars_go_back_and_nothing_else(capsys):
    out = sys.stdout
    with screened():
        print("\r 10%|###   | 1/10", end="")
        sys.stdout.write("\x1b[A")
        sys.stdout.write("\n\x1b[A\x1b[A")
        print("a\rb\x1b[A")
        say("x\ny", error=True)
    assert sys.stdout is out
    said = capsys.readouterr()
    assert (
        said.out == "\r 10%|###   | 1/10\x1b[A\n\x1b[A\x1b[Aa\u240db\u241b[A\n" and said.err == "x\u240ay\n"
    )


def test_a_terminal_of_another_encoding_and_a_name_that_is_none():
    code = "from rnnlab.cli import main; import sys; sys.exit(main(['report', 'out\\udcff\\u20ac']))"
    for encoding in ("ascii", "utf-8:strict", "ascii:surrogateescape"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}
        )
        assert done.returncode == 2 and b"Traceback" not in done.stderr and b"\xff" not in done.stderr


def test_a_stream_that_was_closed_is_open_for_the_programs_that_are_started():
    code = (
        "import os; from rnnlab.terminal.output import open_closed; open_closed(); "
        "os._exit(not all(map(os.get_inheritable, range(3))))"
    )
    command = f"{shlex.join([sys.executable, '-c', code])} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command]).returncode == 0


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_all_lines(monkeypatch):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    lines = "".join(f"{i}\n" for i in range(20_000))  # more than a pipe holds
    read = ThreadPoolExecutor(1).submit(lambda: (time.sleep(0.3), os.fdopen(reader).read())[1])
    with lasting("stdout"):
        print(lines, end="")
    sys.stdout.close()
    assert read.result() == lines


def test_the_console_takes_text_for_text():
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=300)
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    table.add_row(Text(ESCAPES, "bold"))
    console.print(EVIL, style="red")
    console.print(table)
    console.print(Text(ESCAPES))
    assert_clean(shown.getvalue(), terminal=True, prose="\u200d")
    assert (
        "[red]b[/red][link=http://evil]c[/link]:smile:" in shown.getvalue() and "\x1b[31m" in shown.getvalue()
    )


# ---------------------------------------------------------------------- every command over a stranger's folder


def everywhere(value):
    if isinstance(value, str):
        return EVIL
    if isinstance(value, list):
        return [*map(everywhere, value)]
    if isinstance(value, dict):
        kept = ("status", "_target_", "mode", "commit")
        evil = {k: v if k in kept else everywhere(v) for k, v in value.items()}
        return evil | ({EVIL: 0.5, f"metric/{EVIL}": 0.5} if any(k.endswith("mae") for k in evil) else {})
    return value


def poison(run: rnnlab.Run, name: str, all_of_it: bool) -> rnnlab.Run:
    """A copy of a run as a stranger might send it; not `all_of_it`: one whose model and data can still be built."""
    folder = run.folder.rename(run.folder.with_name(name))
    run = rnnlab.Run(folder)
    config, manifest = run.config, run.manifest
    (folder / "run.json").write_text(json.dumps(everywhere(run.record)))
    changed = everywhere(manifest) | {"data_hash": EVIL}
    changed["versions"][EVIL] = EVIL
    (folder / "manifest.json").write_text(json.dumps(changed))
    (folder / "overrides.yaml").write_text(to_yaml([EVIL, f"seed={EVIL}"]))
    config = everywhere(config) | {EVIL: EVIL} if all_of_it else config | {"name": EVIL, "seed": 1}
    (folder / "config.yaml").write_text(to_yaml(config))
    rows = list(csv.reader(run.metrics_file.open(newline="")))
    with run.metrics_file.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [[a, EVIL if b == "metric/mae" else b, c] for a, b, c in rows]
        )
    for kind, ending in (("samples", "txt"), ("figures", "png")):
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / f"{EVIL.replace('/', '').replace(chr(0), '')}.{ending}").write_text(EVIL)
    return run


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Path:
    """Two runs that can be read, one that cannot, one that failed, and a model of a text that holds escapes."""
    outputs = tmp_path_factory.mktemp("outputs")
    small = ("model.hidden_size=4", "trainer.threads=1", "trainer.accelerator=cpu", "callbacks=none",
             "model.engine=torch", f"paths.outputs={outputs}")  # fmt: skip
    series = ("experiment=sine", "data.n_points=200", "trainer.max_epochs=1", *small)
    name = EVIL.replace("/", "").replace("\x00", "")
    runs = [rnnlab.train(*series, f"seed={seed}") for seed in range(4)]
    poison(runs[0], f"a{name}", False)
    poison(runs[1], f"b{name}", False)
    poison(runs[2], f"c{name}", True)
    runs[3].update(status="failed", why=EVIL, label=EVIL)
    poison(runs[3], f"d{name}", True)
    text = outputs / "text.txt"
    text.write_text(f"{EVIL} and so on\n" * 200, newline="")
    run = rnnlab.train("data=chars", f"data.path={text}", "data.segment=20", "data.batch_size=8", "trainer.max_steps=2",
                       "name=text", *small)  # fmt: skip
    run.folder.rename(run.folder.with_name("writer"))
    (outputs / "sine").rename(outputs / "evil")
    return outputs


RUN, OTHER, BROKEN, FAILED, WRITER, ALL = "<a>", "<b>", "<c>", "<d>", "<writer>", "<all>"
COMMANDS = {
    "train": [[f"resume={RUN}", "trainer.max_epochs=2"], [EVIL], [f"--{EVIL}"], [f"model.cell={EVIL}"],
              [f"data=series data.path={EVIL}"], ["-m", f"seed=1,{EVIL}"], ["-sc", f"query={EVIL}"],
              [f"model.init_from={RUN}", f"paths.outputs={EVIL}"]],
    "find-lr": [[EVIL], [f"data=series data.path={EVIL}"], ["--batch-sizes", EVIL], [f"--{EVIL}"]],
    "evaluate": [[RUN], [BROKEN], [WRITER], [RUN, "--json"], [RUN, f"data.{EVIL}=1"], [RUN, "--split", EVIL]],
    "forecast": [[RUN, "--horizon", "5"], [BROKEN], [WRITER], [RUN, "--csv", f"/nowhere{EVIL}/x"]],
    "generate": [[RUN], [BROKEN], [WRITER, "--prompt", EVIL], [EVIL]],
    "export": [[RUN, "--to", "safetensors", "--out", "<out>/x"], [BROKEN, "--to", "torch"], [EVIL, "--to", "onnx"],
               [RUN, "--to", EVIL]],
    "report": [[ALL], [RUN], [BROKEN], [FAILED], [ALL, "--html", "<out>/x.html"], [EVIL], [ALL, "--csv", EVIL]],
    "compare": [[ALL, "data"], [ALL, EVIL], [RUN, EVIL], [EVIL, EVIL], [ALL, f"{EVIL}=1", "model=2"]],
    "board": [[EVIL], [f"--{EVIL}"], ["--port", EVIL]],
    "reproduce": [[RUN], [BROKEN], [FAILED], [ALL], [RUN, "--commit"], [ALL, "--sample", "2", "--json"], [EVIL]],
    "diff": [[RUN, OTHER], [RUN, BROKEN], [BROKEN, RUN], [RUN, EVIL], [EVIL, EVIL]],
    "archive": [[ALL, "--out", "<out>/x.zip"], [EVIL], [ALL, "--out", f"/nowhere{EVIL}"]],
    "unroll": [[RUN, "--input", "0.1 0.2"], [WRITER, "--input", EVIL], [BROKEN, "--input", "1"], ["--example", EVIL]],
    "doctor": [[EVIL]],
    "completion": [[EVIL]],
}  # fmt: skip


def words(asked: list[str], outputs: Path, out: Path) -> list[str]:
    evil = outputs / "evil"
    places = {f"<{p.name[0]}>": str(p) for p in evil.iterdir()} | {ALL: str(evil), "<out>": str(out)}
    places |= {WRITER: str(outputs / "text" / "writer")}
    for name, place in places.items():
        asked = [word.replace(name, place) for word in asked]
    return [word.replace("\x00", "") for word in asked]


def test_no_command_was_forgotten():
    assert COMMANDS.keys() == cli.commands().keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_lets_anything_through(command, outputs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(EVIL))
    said = ""
    for asked in COMMANDS[command]:
        if command == "generate" and WRITER in asked:
            continue  # on a terminal, below
        cli.main([command, *words(asked, outputs, tmp_path)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err, err
        assert_clean(out + err)
        said += out + err
    assert "\u241b" in said or "\\x1b" in said or "\\u001b" in said  # there was something to clean


def on_a_terminal(*argv: str, folder: Path) -> str:
    """What a pseudo-terminal is sent."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "160"}
    command = [sys.executable, "-m", "rnnlab", *argv]
    process = warm.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=folder, env=env)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    process.wait()
    return said.decode()


@pytest.mark.parametrize("command", ["report", "diff", "evaluate", "reproduce", "train"])
def test_on_a_terminal(command, outputs, tmp_path):
    said = on_a_terminal(command, *words(COMMANDS[command][0], outputs, tmp_path), folder=tmp_path)
    assert len(said) > 50 and "Traceback" not in said, said
    assert_clean(said, terminal=True)


def test_what_a_model_writes_is_shown_on_a_terminal_and_exact_in_a_file(outputs, tmp_path):
    argv = [
        "generate",
        str(outputs / "text" / "writer"),
        "--length",
        "300",
        "--temperature",
        "20",
        "--prompt",
        "a\x1b",
    ]
    shown = on_a_terminal(*argv, folder=tmp_path)
    assert shown.startswith("a\u241b") and "visible signs replace characters" in shown
    assert_clean(shown, terminal=True, prose="\t\u200d")
    command = [sys.executable, "-m", "rnnlab", *argv]
    with warm.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        out, err = done.communicate()
    assert out.startswith(b"a\x1b") and err == b""
    assert {"\x07", "\u202e"} & set(out.decode())


def test_a_sweep_over_a_strangers_experiment(outputs, tmp_path):
    """The table that moves, and the leaderboard."""
    conf = tmp_path / "conf" / "experiment"
    conf.mkdir(parents=True)
    (conf / "x.yaml").write_text(
        "# @package _global_\ndefaults: [{override /callbacks: none}]\n"
        + to_yaml({"name": f"x{EVIL.replace('/', '')}"})
    )
    said = on_a_terminal("train", "--config-dir", str(tmp_path / "conf"), "experiment=x", "-m", "seed=1,2", "data=sine",
                         "model=forecaster", "data.n_points=200", "trainer.max_epochs=1", "trainer.accelerator=cpu",
                         f"paths.outputs={tmp_path / 'o'}", "model.hidden_size=4", folder=tmp_path)  # fmt: skip
    assert_clean(said, terminal=True)
