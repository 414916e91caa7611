"""`rnnlab diff RUN_A RUN_B`: what differs between two runs, and the first step at which their curves differ."""

from rnnlab.cli.arguments import Arguments
from rnnlab.errors import counted
from rnnlab.terminal.screen import say

# sections that do not decide numbers
ASIDE = ("paths", "logger", "rerun", "resume", "resume_engine", "checkpoint")


def main(argv: list[str]) -> int:
    parser = Arguments(
        prog="rnnlab diff",
        description="Compares the config, code, versions, machine, data and curves of two runs.",
        epilog="exit code: 0 if curves and weights have the same bits, 3 if not",
    )
    parser.add_argument("run_a", metavar="RUN_A")
    parser.add_argument("run_b", metavar="RUN_B")
    asked = parser.parse_args(argv)

    from rnnlab.reproduce import differences
    from rnnlab.reproduce.curves import divergence
    from rnnlab.reproduce.verdict import CHECKPOINTS, differing_weights
    from rnnlab.runs.run import Run

    a, b = Run.open(asked.run_a), Run.open(asked.run_b)
    parts = {"config": differences.configs(a.config, b.config, ASIDE)}
    parts |= differences.manifests(a.manifest, b.manifest)
    for part, lines in parts.items():
        for line in lines:
            say(f"{part:10}{line}")
    for part in ("config", *differences.PARTS):
        if not parts.get(part):
            say(f"{part:10}the same")
    curves = divergence(a, b)
    say(f"{'curves':10}{curves}")
    there = {of: [getattr(run, of).is_file() for run in (a, b)] for of in CHECKPOINTS}
    both = [of for of, found in there.items() if all(found)]
    weights = differing_weights(a, b, both)
    if both:
        differ = f"{counted(len(weights), 'tensor')} differ{'s' * (len(weights) == 1)}"
        say(f"{'weights':10}{differ if weights else 'the same, bit for bit'}")
    for of, found in there.items():
        if found[0] != found[1]:  # an archive leaves out last.ckpt
            say(f"{'weights':10}only {(a if found[0] else b).folder} has {getattr(a, of).name}")
    alone = there["best_checkpoint"][0] != there["best_checkpoint"][1]
    return 0 if curves.bitwise and not weights and not alone else 3
