"""What is wrong with a command's words is said in one line."""

import pytest

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import UserError


@pytest.fixture
def parser():
    parser = Arguments(prog="rnnlab tell")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--horizon", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--split", choices=("val", "test"))
    return parser


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "rnnlab tell: RUN is missing; see rnnlab tell --help"),
        (["r", "--horizn", "3"], "rnnlab tell --horizn: no such option. Did you mean --horizon?"),
        (
            ["r", "--steps"],
            "rnnlab tell --steps: no such option. Possible: --help, --horizon, --rate, --split, -h.",
        ),
        (["r", "--hlp"], "rnnlab tell --hlp: no such option. Did you mean --help?"),
        (["r", "--horizn=3"], "rnnlab tell --horizn=3: no such option. Did you mean --horizon?"),
        (["r", "--horizon", "abc"], "rnnlab tell: --horizon: 'abc' is not a whole number"),
        (["r", "--rate", "0,1"], "rnnlab tell: --rate: '0,1' is not a number"),
        (["r", "--horizon"], "rnnlab tell: --horizon: expected one argument"),
    ],
)
def test_one_line(parser, words, said, capsys):
    with pytest.raises(UserError) as error:
        parser.parse_intermixed_args(words)
    assert str(error.value) == said
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_words_too_many():
    parser = Arguments(prog="rnnlab tell")
    with pytest.raises(UserError, match=r"^rnnlab tell b c: more words than it takes"):
        parser.parse_args(["b", "c"])


def test_what_is_right_is_read_as_argparse_reads_it(parser):
    asked = parser.parse_intermixed_args(["r", "--horizon", "3", "data.seed=1"])
    assert (asked.run, asked.horizon, asked.overrides) == ("r", 3, ["data.seed=1"])
