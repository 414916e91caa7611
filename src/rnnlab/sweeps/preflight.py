"""What is wrong with a sweep, all of it, before anything is trained."""

import itertools
from typing import Any

from rnnlab.errors import UserError
from rnnlab.runs.identity import leaves
from rnnlab.runs.sources import KNOWN
from rnnlab.sweeps.grid import Point
from rnnlab.sweeps.plan import Plan, Planned
from rnnlab.sweeps.probe import Scout

LISTED = 30  # reasons that are shown


def check_parts(plan: Plan, scout: Scout) -> None:
    """Makes invalid the points that name a class of the user's own which cannot be imported."""
    known: dict[Any, dict[str, str]] = {}
    asked = [_foreign(planned, known) for planned in plan.runs]
    faults = scout.faults({at: target for parts in known.values() for at, target in parts.items()})
    if not faults:
        return
    runs, plan.runs = plan.runs, []
    for planned, parts in zip(runs, asked, strict=True):
        if problems := [faults[target] for target in parts.values() if target in faults]:
            plan.invalid.append((planned.point, problems))
        else:
            plan.runs.append(planned)


def _foreign(planned: Planned, known: dict[Any, dict[str, str]]) -> dict[str, str]:
    """{place in the config: dotted path} of the parts that are not rnnlab's, torch's or Lightning's."""
    cells = [a.value for a in planned.point if a.plain and a.key.endswith(".cell")]
    key = (id(planned.template), *cells)
    if key not in known:
        named = {k: v for k, v in leaves(planned.config()).items() if k.endswith(("._target_", ".cell"))}
        known[key] = {k: v for k, v in named.items() if "." in str(v) and not v.startswith(KNOWN)}
    return known[key]


def preflight(plan: Plan, on_invalid: str) -> list[str]:
    """The lines that are said of points that are left out; [] where all are right.

    Each reason stands once, with the points that it concerns. Raises UserError with all of them, unless they are to
    be skipped and others are left.
    """
    if not plan.invalid:
        if not plan.runs:
            raise UserError("the sweep has no points; sweep.exclude leaves none")
        return []
    reasons: dict[str, list[Point]] = {}
    for point, problems in plan.invalid:
        for problem in problems:
            reasons.setdefault(problem, []).append(point)
    lines = []
    for reason, points in itertools.islice(reasons.items(), LISTED):
        lines.append(reason)
        texts = [" ".join(a.text for a in p if a.key in plan.swept) for p in points[:3]]
        where = "; ".join(t for t in texts if t)
        more = f"; and {len(points) - 3:,} more" if len(points) > 3 else ""
        lines += [f"    at {where}{more}"] if where else []
    lines += [f"and {len(reasons) - LISTED:,} other reasons"] if len(reasons) > LISTED else []
    in_all = len(plan.invalid) + len(plan.runs) + plan.excluded + plan.repeated
    if on_invalid == "skip" and plan.runs:
        head = f"{len(plan.invalid):,} of {in_all:,} points cannot be, and are left out:"
        return [head, *(f"  {line}" for line in lines)]
    others = " sweep.on_invalid=skip goes on without them." if plan.runs else ""
    head = f"{len(plan.invalid):,} of {in_all:,} points cannot be:"
    raise UserError(head, *lines, f"Nothing was started.{others}")
