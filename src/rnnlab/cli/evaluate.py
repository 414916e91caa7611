"""`rnnlab evaluate`: a run's metrics beside baselines and floor, on its own data or on new data.

rnnlab evaluate RUN                          the test part (without one, the validation part)
rnnlab evaluate RUN data.path=new.csv        a new file as a whole, in the scale of the run
rnnlab evaluate RUN --split val data.seed=7  a part of other data of the same kind
rnnlab evaluate RUN --by step                a forecaster's errors by step ahead (or by target, by series)
rnnlab evaluate RUN --backtest 5             forecasts from five origins in turn, without training again
"""

import argparse
import json
import math
from dataclasses import asdict
from typing import Any

from rnnlab.cli.arguments import Arguments
from rnnlab.terminal.screen import say


def main(argv: list[str]) -> int | None:
    parser = Arguments(
        prog="rnnlab evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument(
        "overrides", nargs="*", metavar="data.KEY=VALUE", help="other data than the run's own"
    )
    parser.add_argument(
        "--split", metavar="train|val|test|all", help="which part of the data; all: everything as one part"
    )
    parser.add_argument("--by", metavar="step|target|series", help="a forecaster's errors for each of these")
    parser.add_argument(
        "--backtest",
        type=int,
        metavar="N",
        help="a forecaster's errors from N origins (starts of forecasts) in turn",
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_trust()
    arguments = parser.parse_intermixed_args(argv)

    from rnnlab.api.evaluation import evaluate
    from rnnlab.runs.run import Run

    found = evaluate(Run.open(arguments.run), arguments.overrides, arguments.split, arguments.trust,
                     by=arguments.by, backtest=arguments.backtest)  # fmt: skip
    if arguments.json:
        told = {k: as_json(v) for k, v in asdict(found).items() if v is not None}
        say(*json.dumps(told, indent=2).splitlines())
        return None
    from rnnlab.terminal.scores import console

    for line in found.lines():
        console.print(line)
    return None


def as_json(value: Any) -> Any:
    """Not-a-number is null: JSON has none."""
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
