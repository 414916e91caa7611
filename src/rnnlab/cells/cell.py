"""`Cell`, the base class of all cells: one layer of a recurrence in one direction, as a pure function of one step."""

import inspect
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import type_before_parametrizations

from rnnlab.cells.choice import check_choice
from rnnlab.cells.description import Gate
from rnnlab.cells.masks import MaskedProducts, Masks

State = tuple[Tensor, ...]
Bias = Literal["both", "one", "none"]
InitialState = Literal["zero", "learned"]


class Cell(nn.Module):
    """One layer, one direction. A cell of your own needs `gates`, `states` and `step`, and nothing else.

        class UGRNN(Cell):
            gates, states = 2, 1  # weight_ih is (2H, I), weight_hh (2H, H); one state (B, H)

            def step(self, u, state):  # u (B, 2H), the input already projected
                ...
                return h, (h,)  # the output (B, H), the next state

    With `named_gates`, `named_states`, `activate` and `equations`, the instruments, `rnnlab unroll` and TensorBoard's
    graph show its gates and states.

    Parameters carry torch's names: `weight_ih` (gates*H, I), `weight_hh` (gates*H, H), `bias_ih` and
    `bias_hh` (gates*H,). `bias="one"` leaves out `bias_hh`, as Keras does; `bias="none"` leaves out both.
    With `initial_state="learned"` there is `initial` (sum of state_blocks, H), shared by all rows of a batch.

    A cell may have more parameters, set in its constructor after `super().__init__`: matrices (k*H, m*H) for
    `functional.linear`, vectors (k*H,) and scalars; `initialise` sets their initial values. Keyword-only arguments
    of its constructor are its options: `model.options.NAME=VALUE`. An option that changes the gates or states
    must set `named_gates`, `recurrent_gates`, `named_states` or `state_blocks` on the instance before
    `super().__init__`, which makes the weights.

    A step that depends on its number takes it as a third argument: `step(self, u, state, t)`. t (B, 1) is 0 at the
    initial state, counts on with a carried state, and is 0 again after a reset.

    All methods are pure, without data-dependent control flow, so that they work with
    `torch.func.functional_call` and `vmap`. All parameters are zero until `rnnlab.recurrence.initialise` draws them.
    The constructor raises UserError for an unknown `bias` or `initial_state`.
    """

    gates: int = 1
    """Blocks of H rows in `weight_ih`: the projections of the input that one step needs."""
    recurrent_gates: int | None = None
    """Blocks of H rows in `weight_hh`; None: as many as gates; 0: there is no `weight_hh` and no `bias_hh`."""
    own_products: ClassVar[int] = 0
    """The number of H x H matrix products in a step, besides those with `weight_ih` and `weight_hh`."""
    states: int = 1
    """The number of tensors that go from one step to the next."""
    state_blocks: tuple[int, ...] = (1,)
    """The width of each state in units of H. Its length sets `states`."""
    coupled_states: ClassVar[bool] = False
    """Whether the states after the first are valid only together, so that zoneout must not mix old and new ones."""
    counts: ClassVar[bool] = False
    """Whether `step` takes the step's number. If so, an extra last state (B, H) counts the steps."""
    zoneout: tuple[float, ...] = ()
    """For each state, the chance that a unit keeps its old value in a step; () for no zoneout. A stack sets it."""
    recurrent_dropout: float = 0.0
    """The chance that a unit is left out of all products of a sequence. A stack sets it."""
    named_gates: tuple[Gate, ...] = ()
    """The blocks in the order of the weights' rows; () where a cell does not name them. Its length sets `gates`."""
    named_states: tuple[str, ...] = ()
    """The names of the states in the equations. Its length sets `states`."""
    equations: ClassVar[str] = "h' = the cell's own step of x and h"
    """One line for each quantity of a step, in order; x is the input, h the old state and h' the new one."""
    paper: ClassVar[str] = ""
    """The paper that the equations come from, as it is cited."""
    how: ClassVar[str] = "At each step the cell makes the new state out of the input and the old one."
    torch_layer: ClassVar[str] = ""
    """The layer of torch.nn with the same equations and order of weights. A subclass does not inherit it."""

    weight_ih: Tensor
    weight_hh: Tensor | None
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    initial: Tensor | None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "step" in own:
            cls.counts = "t" in inspect.signature(cls.step).parameters
        if "named_gates" in own:
            cls.gates = len(cls.named_gates)
        elif "step" in own:  # its equations differ from the parent's, whose names of the gates may be wrong
            cls.named_gates = ()
        # a subclass without its own step keeps the equations: torch.nn.utils.parametrize makes such subclasses
        dropped = ("torch_layer", "equations", "how", "paper") if "step" in own else ("torch_layer",)
        if "named_states" in own:
            cls.states = len(cls.named_states)
        if "state_blocks" in own:
            cls.states = len(cls.state_blocks)
        elif len(cls.state_blocks) != cls.states:
            cls.state_blocks = (1,) * cls.states
        for name in dropped:
            if name not in own:
                setattr(cls, name, vars(Cell)[name])

    def __init__(
        self, input_size: int, hidden_size: int, *, bias: Bias = "both", initial_state: InitialState = "zero"
    ) -> None:
        super().__init__()
        check_choice("model.bias", bias, get_args(Bias))
        check_choice("model.initial_state", initial_state, get_args(InitialState))
        self.input_size, self.hidden_size = input_size, hidden_size
        self.bias, self.initial_state = bias, initial_state
        self._count_blocks()
        rows = self.gates * hidden_size
        recurrent = rows if self.recurrent_gates is None else self.recurrent_gates * hidden_size
        self.weight_ih = nn.Parameter(torch.zeros(rows, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(recurrent, hidden_size)) if recurrent else None
        self.bias_ih = nn.Parameter(torch.zeros(rows)) if bias != "none" else None
        self.bias_hh = nn.Parameter(torch.zeros(recurrent)) if bias == "both" and recurrent else None
        learned = initial_state == "learned"
        self.initial = nn.Parameter(torch.zeros(sum(self.state_blocks), hidden_size)) if learned else None

    def _count_blocks(self) -> None:
        """Sets the numbers of gates and states from names on the instance, as `__init_subclass__` does for a class."""
        own = vars(self)
        if "named_gates" in own:
            self.gates = len(self.named_gates)
        if "state_blocks" in own or "named_states" in own:
            if "state_blocks" not in own:
                self.state_blocks = (1,) * len(self.named_states)
            self.states = len(self.state_blocks)

    def initialise(self, generator: np.random.Generator) -> None:
        """Sets, in place, parameters that need special initial values, with draws from the "init" stream.

        It is called after `model.init` has drawn all parameters that have two dimensions or more or are called
        bias...; the others still have the values from the constructor.
        """

    def project(self, x: Tensor) -> Tensor:
        """The input's part of all gates, (..., gates*H), for x (..., I) or for indices (...) of one-hots.

        It does not depend on the state, so a whole sequence is projected at once, before the loop over its steps.
        """
        if x.is_floating_point():
            return functional.linear(x, self.weight_ih, self.bias_ih)
        picked = functional.embedding(x, self.weight_ih.t())  # the columns that one-hots pick
        return picked if self.bias_ih is None else picked + self.bias_ih

    def recur(self, h: Tensor) -> Tensor:
        """The state's part of the gates, (B, recurrent_gates*H), for h (B, H). The cell must have a `weight_hh`."""
        assert self.weight_hh is not None
        return functional.linear(h, self.weight_hh, self.bias_hh)

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: from the projected input u (B, gates*H) and the state to the output (B, H) and the next state.

        A subclass defines `step(self, u, state)`, or `step(self, u, state, t)` with the step's number t (B, 1).
        """
        raise NotImplementedError(f"{type(self).__name__} has no step(self, u, state)")

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each state in units of H: `state_blocks`, and 1 for the count of steps, if there is one."""
        return (*self.state_blocks, 1) if self.counts else self.state_blocks

    def advance(self, u: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """One step as a stack takes it: `step`, with dropout, zoneout and the step's number where the cell has them.

        `state` has the form that `start` returns. Without `masks` nothing is dropped, and zoneout (Krueger et al. 2017)
        takes the expectation over its draws in training: each new state is the mean of old and new, weighted by the
        zoneout chance. If the output is one of the states, zoneout applies to it, too.
        """
        if masks is None and not (self.zoneout or self.counts):
            return self.step(u, state)
        own = state[: len(self.state_blocks)]
        number = (state[-1][:, :1],) if self.counts else ()
        drop = None if masks is None else masks.products
        step: Any = self.step
        with nullcontext() if drop is None else MaskedProducts(drop, self):
            y, new = step(u, own, *number)
        if self.zoneout:
            keep: Any = self.zoneout if masks is None or masks.keep is None else self._by_state(masks.keep)
            mixed = tuple(k * old + (1 - k) * now for k, old, now in zip(keep, own, new, strict=True))
            y = next((m for m, now in zip(mixed, new, strict=True) if now is y), y)
            new = mixed
        return y, (*new, state[-1] + 1) if self.counts else new

    def _by_state(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Splits a tensor (..., sum(state_blocks) * H) into one tensor for each state."""
        return tensor.split([k * self.hidden_size for k in self.state_blocks], dim=-1)

    def activate(self, u: Tensor, state: State) -> tuple[Tensor, ...]:
        """The values of `named_gates` in a step, in their order, (B, H) each; u and state as for `step`."""
        raise NotImplementedError(f"{type(self).__name__} has named_gates, and no activate(self, u, state)")

    def activations(self, u: Tensor, state: State) -> dict[str, Tensor]:
        """{name: (B, H)}, the values of the gates in a step; {} for a cell that does not name them."""
        names = [gate.name for gate in self.named_gates]
        activate: Any = self.activate  # takes the step's number where `step` does
        own = state[: len(self.state_blocks)]
        number = (state[-1][:, :1],) if self.counts else ()
        return dict(zip(names, activate(u, own, *number), strict=True)) if names else {}

    def gate_index(self, name: str) -> int | None:
        """The index of a gate's block of H rows in the weights; None where the cell has no gate of that name."""
        names = [gate.name for gate in self.named_gates]
        return names.index(name) if name in names else None

    @property
    def torch_function(self) -> Any:
        """The function of torch that `torch_layer` calls for a whole sequence."""
        return getattr(torch, self.torch_layer.lower())

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step from an unprojected input x, (B, I) or (B,) indices: the output (B, H) and the next state."""
        return self.advance(self.project(x), state)

    def start(self, batch: int) -> State:
        """The initial state: tensors (batch, k*H) for k in `widths`."""
        like = next(self.parameters())
        zeros = tuple(like.new_zeros(batch, k * self.hidden_size) for k in self.widths)
        initial = getattr(self, "initial", None)  # a cell that does not call this constructor has none
        if initial is None:
            return zeros
        learned = initial.split(list(self.state_blocks))
        return *(s.reshape(1, -1).expand(batch, -1) for s in learned), *zeros[len(learned) :]

    def extra_repr(self) -> str:
        shown = ("input_size", "hidden_size", "bias", "initial_state", "nonlinearity")
        return ", ".join(f"{name}={vars(self)[name]}" for name in shown if name in vars(self))


OF_A_MODULE = frozenset(vars(nn.Module()))


def equations_key(cell: Cell) -> tuple[object, ...]:
    """Equal for cells with the same equations: the class, all attributes and the shapes of parameters, without the
    width of the input. It cannot see values that a class looks up elsewhere, such as global variables.
    """
    return (type_before_parametrizations(cell), *_facts(cell))


def _facts(cell: Cell) -> Iterator[object]:
    for name, module in cell.named_modules():
        if module is not cell:
            yield name, type(module)
        for key, value in vars(module).items():
            if key not in OF_A_MODULE and not (module is cell and key == "input_size"):
                try:
                    hash(value)
                except TypeError:
                    value = repr(value)
                yield name, key, type(value), value
    for name, tensor in (*cell.named_parameters(), *cell.named_buffers()):
        yield name, isinstance(tensor, nn.Parameter), None if name == "weight_ih" else tuple(tensor.shape)
