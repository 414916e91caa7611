"""Reverse-mode differentiation of a step: from the gradients of its results to those of everything before.

At points without a derivative (relu at 0, the maximum of equal numbers, NaN) the rules are torch's.
"""

import math
from collections.abc import Callable, Mapping

from rnnlab.native.expressions import (
    LEAVES,
    ONE,
    ZERO,
    Expression,
    add,
    apply,
    constant,
    div,
    mul,
    neg,
    ordered,
    select,
    sub,
    total,
    uniform,
)

Rule = Callable[..., tuple[Expression, ...]]


def _times(partial: Expression, g: Expression) -> tuple[Expression, ...]:
    return (mul(partial, g),)


def _tie(
    a: Expression, b: Expression, larger: Expression, smaller: Expression, g: Expression
) -> tuple[Expression, ...]:
    """Gradients of max and min: all to one operand; half to each where they are equal."""
    half = mul(constant(0.5), g)
    equal = apply("equal", a, b)
    wins = apply("less", smaller, larger)
    return (select(equal, half, select(wins, g, ZERO)), select(equal, half, select(wins, ZERO, g)))


def _where_not_zero(b: Expression, value: Expression) -> Expression:
    return value if b.op == "constant" else select(apply("equal", b, ZERO), ZERO, value)


# a rule maps e (the expression), g (its gradient) and its operands a, b to the gradients of the operands
RULES: dict[str, Rule] = {
    "add": lambda e, g, a, b: (g, g),
    "sub": lambda e, g, a, b: (g, neg(g)),
    "mul": lambda e, g, a, b: (mul(g, b), mul(g, a)),
    # of a reciprocal without another division
    "div": lambda e, g, a, b: (div(g, b), neg(mul(mul(g, e) if a is ONE else div(g, b), e))),
    "neg": lambda e, g, a: (neg(g),),
    "tanh": lambda e, g, a: _times(sub(ONE, mul(e, e)), g),
    "sigmoid": lambda e, g, a: _times(sub(e, mul(e, e)), g),
    "relu": lambda e, g, a: (select(apply("less_equal", e, ZERO), ZERO, g),),  # NaN passes, as in torch
    "softplus": lambda e, g, a: _times(apply("sigmoid", a), g),
    "exp": lambda e, g, a: _times(e, g),
    "expm1": lambda e, g, a: _times(add(e, ONE), g),
    "log": lambda e, g, a: (div(g, a),),
    "log1p": lambda e, g, a: (div(g, add(ONE, a)),),
    "sqrt": lambda e, g, a: (div(g, mul(constant(2.0), e)),),
    "sin": lambda e, g, a: _times(apply("cos", a), g),
    "cos": lambda e, g, a: _times(neg(apply("sin", a)), g),
    "erf": lambda e, g, a: _times(mul(constant(2 / math.sqrt(math.pi)), apply("exp", neg(mul(a, a)))), g),
    "abs": lambda e, g, a: _times(apply("sign", a), g),
    "sign": lambda e, g, a: (ZERO,),
    "detach": lambda e, g, a: (ZERO,),
    "power": lambda e, g, a, b: (
        _where_not_zero(b, mul(g, mul(b, apply("power", a, sub(b, ONE))))),
        select(apply("equal", a, ZERO), ZERO, mul(g, mul(e, apply("log", a)))),
    ),
    "max": lambda e, g, a, b: _tie(a, b, a, b, g),
    "min": lambda e, g, a, b: _tie(a, b, b, a, g),
    "select": lambda e, g, c, a, b: (ZERO, select(c, g, ZERO), select(c, ZERO, g)),
    "sum": lambda e, g, a: (g,),
}


def gradients(results: Mapping[Expression, Expression]) -> dict[Expression, Expression]:
    """{expression: gradient} of everything that the results depend on, from {result: its gradient}.

    An expression that is equal for all units of a row has one gradient: the sum over the units.
    """
    order = ordered(results)
    same = uniform(order)
    found, by_unit = dict.fromkeys(order, ZERO), dict.fromkeys(same, ZERO)
    for e, g in results.items():
        into = by_unit if e in same else found
        into[e] = add(into[e], g)
    for e in reversed(order):
        if e in same:
            found[e] = add(found[e], total(by_unit[e]))
        g = found[e]
        if e.op in LEAVES or g is ZERO or e.op not in RULES:
            continue
        for a, part in zip(e.operands, RULES[e.op](e, g, *e.operands), strict=True):
            if part is not ZERO and a.op != "constant":
                into = by_unit if a in same and (e not in same or e.op == "sum") else found
                into[a] = add(into[a], part)
    return found
