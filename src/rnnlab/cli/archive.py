"""`rnnlab archive outputs/EXPERIMENT`: one file to attach to a paper."""

from pathlib import Path
from shlex import quote

from rnnlab.cli.arguments import Arguments
from rnnlab.terminal.screen import say


def main(argv: list[str]) -> None:
    parser = Arguments(
        prog="rnnlab archive",
        description="Packs configs, manifests, metrics, best checkpoints, the leaderboard and the commands of an "
        "experiment into one zip file; `rnnlab reproduce` can read it.",
    )
    parser.add_argument("experiment", help="an experiment's folder, such as outputs/sine")
    parser.add_argument("--out", metavar="FILE", help="where to write (default: EXPERIMENT.zip, here)")
    asked = parser.parse_args(argv)

    from rnnlab.reproduce import archive

    experiment = Path(asked.experiment)
    file = Path(asked.out or f"{experiment.resolve().name}.zip")
    n = archive.write(experiment, file)
    say(f"{n} run{'s' * (n > 1)} in {file} ({file.stat().st_size / 1e6:.1f} MB)")
    say(f"reproduce    rnnlab reproduce {quote(str(file))} --sample 1")
