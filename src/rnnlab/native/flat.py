"""Parameters, gradients and an optimizer's state as views of flat buffers that torch and the kernels share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

LINE = 16  # floats in a cache line: every parameter starts on one


@dataclass
class Flat:
    """The trained parameters of a module as views of the buffer `parameters`, their gradients as views of `gradients`.

    Both buffers are float32, of equal length, and start on a cache line. Parameter i takes `sizes[i]` floats from
    `offsets[i]` on. The padding between parameters is zero and stays zero.
    """

    parameters: Tensor
    gradients: Tensor
    names: list[str]
    views: list[nn.Parameter]
    offsets: list[int]
    sizes: list[int]
    spare: int
    """The offset of the space for weights that are computed from the parameters, and for their gradients."""

    def __post_init__(self) -> None:
        # the address that each parameter must have
        self.addresses = [view.data_ptr() for view in self.split(self.parameters)]
        self._gradients = list(self.split(self.gradients))
        self._places = [gradient.data_ptr() for gradient in self._gradients]

    def holds(self, module: nn.Module) -> bool:
        """Whether these are the module's parameters, and still views of the buffer."""
        now = list(module.parameters())
        fits = len(now) == len(self.views) and self.parameters.numel() == self.spare + room_of(module)
        return fits and all(
            p is view and p.data_ptr() == address
            for p, view, address in zip(now, self.views, self.addresses, strict=True)
        )

    def offset(self, parameter: Tensor | None) -> int:
        """The offset of a parameter; -1 for None. Raises ValueError for a parameter that is not among the views."""
        if parameter is None:
            return -1
        for view, offset in zip(self.views, self.offsets, strict=True):
            if view is parameter:
                return offset
        raise ValueError("a parameter of the model is not among the flat ones")

    def split(self, buffer: Tensor) -> Iterator[Tensor]:
        """Views of a buffer laid out as `parameters`, each in its parameter's shape."""
        for view, offset, size in zip(self.views, self.offsets, self.sizes, strict=True):
            yield buffer[offset : offset + size].view(view.shape)

    def attach(self) -> None:
        """Sets every parameter's `grad` to its view again, for example after `zero_grad`, which sets it to None.

        Raises ValueError where a parameter is no view of the buffer any more.
        """
        places = zip(self.views, self.addresses, self._gradients, strict=True)
        for i, (parameter, address, gradient) in enumerate(places):
            if parameter.data_ptr() != address:
                raise ValueError(
                    f"{self.names[i]} was moved out of its flat buffer; flatten the module again"
                )
            if gradient.data_ptr() != self._places[i]:  # `grad.data = ...`
                gradient.data = next(islice(self.split(self.gradients), i, None))
            if parameter.grad is not gradient:
                parameter.grad = gradient

    def take(self) -> None:
        """Copies gradients that were put in the place of the views into the buffer. All parameters must have one."""
        given = [
            (i, parameter.grad.clone())  # cloned: it may be another parameter's view
            for i, parameter in enumerate(self.views)
            if parameter.grad is not None and parameter.grad.data_ptr() != self._places[i]
        ]
        places = list(self.split(self.gradients)) if given else []
        for i, gradient in given:
            places[i].copy_(gradient)


def padded(floats: int) -> int:
    """`floats` rounded up to whole cache lines."""
    return -(-floats // LINE) * LINE


def cleared(floats: int) -> Tensor:
    """A float32 tensor of zeros (floats,) that starts on a cache line."""
    room = torch.zeros(floats + LINE)
    skip = -room.data_ptr() % 64 // 4
    return room[skip : skip + floats]


def room_of(module: nn.Module) -> int:
    """How many floats the weights need that torch.nn.utils.parametrize computes."""
    computed = [getattr(m, name) for m in module.modules() for name in getattr(m, "parametrizations", ())]
    return sum(padded(weight.numel()) for weight in computed)


def flatten(module: nn.Module) -> Flat:
    """Moves a module's parameters into one buffer, with their values; the parameter objects stay the same.

    Raises ValueError for a parameter that is not float32 on the CPU.
    """
    names, views = zip(*module.named_parameters(), strict=True)
    for name, parameter in zip(names, views, strict=True):
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            raise ValueError(
                f"{name} is {parameter.dtype} on {parameter.device}; the kernels train float32 on the cpu"
            )
    offsets, sizes, total = [], [], 0
    for parameter in views:
        offsets.append(total)
        sizes.append(parameter.numel())
        total += padded(parameter.numel())
    room = total + room_of(module)
    flat = Flat(cleared(room), cleared(room), list(names), list(views), offsets, sizes, total)
    for parameter, data in zip(views, flat.split(flat.parameters), strict=True):
        data.copy_(parameter.detach())
        parameter.data = data
    flat.attach()
    return flat


# {optimizer: {name in `Moments`: name in torch.optim's state}}
BUFFERS: dict[type, dict[str, str]] = {
    torch.optim.Adam: {"moment": "exp_avg", "square": "exp_avg_sq"},
    torch.optim.AdamW: {"moment": "exp_avg", "square": "exp_avg_sq"},
    torch.optim.SGD: {"moment": "momentum_buffer"},
    torch.optim.RMSprop: {"moment": "momentum_buffer", "square": "square_avg", "average": "grad_avg"},
}


@dataclass
class Moments:
    """An optimizer's state in flat buffers with the layout of the parameters; None for buffers that it does not use."""

    moment: Tensor | None
    square: Tensor | None
    average: Tensor | None
    steps: Tensor | None
    started: bool
    """Whether a step was taken: before the first step torch's state is empty."""

    def is_in(self, optimizer: torch.optim.Optimizer, flat: Flat) -> bool:
        """Whether the optimizer's state still consists of views of these buffers: it may have been replaced."""
        states = [optimizer.state.get(parameter) for parameter in flat.views]
        if not self.started:
            return not any(states)
        places: dict[str, tuple[Tensor | None, Sequence[int]]] = {}
        if self.steps is not None:
            places["step"] = self.steps, range(len(flat.views))
        for ours, name in used_buffers(optimizer).items():
            places[name] = getattr(self, ours), flat.offsets
        for name, (buffer, offsets) in places.items():
            if buffer is None:  # momentum was switched on since
                return False
            start = buffer.data_ptr()
            for state, offset in zip(states, offsets, strict=True):
                tensor = None if state is None else state.get(name)
                if not isinstance(tensor, Tensor) or tensor.data_ptr() != start + 4 * offset:
                    return False
        return True


def used_buffers(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """{name in `Moments`: torch's name} of the buffers that this optimizer uses."""
    group = optimizer.param_groups[0]
    needed = {"moment": group.get("momentum", 1) != 0, "average": bool(group.get("centered"))}
    return {ours: name for ours, name in BUFFERS[type(optimizer)].items() if needed.get(ours, True)}


def adopt(optimizer: torch.optim.Optimizer, flat: Flat) -> Moments:
    """Moves an optimizer's state into flat buffers, with its values; missing state starts at zero.

    Must be called again after `optimizer.load_state_dict`, which replaces the tensors. New state appears in the
    optimizer with the first step, as in torch: `install` puts it there.
    """
    buffers = {ours: cleared(flat.parameters.numel()) for ours in used_buffers(optimizer)}
    counted = not isinstance(optimizer, torch.optim.SGD)
    steps = torch.zeros(len(flat.views)) if counted else None
    started = False
    for ours, name in used_buffers(optimizer).items():
        for parameter, view in zip(flat.views, flat.split(buffers[ours]), strict=True):
            saved: Any = optimizer.state[parameter].get(name) if parameter in optimizer.state else None
            if saved is not None:
                view.copy_(saved)
                started = True
    for i, parameter in enumerate(flat.views):
        if steps is not None and parameter in optimizer.state:
            steps[i] = float(optimizer.state[parameter].get("step", 0))
    moments = Moments(buffers.get("moment"), buffers.get("square"), buffers.get("average"), steps, started)
    if started:
        install(optimizer, flat, moments)
    return moments


def install(optimizer: torch.optim.Optimizer, flat: Flat, moments: Moments) -> None:
    """Puts views of the flat buffers into the optimizer's state, so that torch and checkpoints find them."""
    for i, parameter in enumerate(flat.views):
        if moments.steps is not None:
            optimizer.state[parameter]["step"] = moments.steps[i]
    for ours, name in used_buffers(optimizer).items():
        for parameter, view in zip(flat.views, flat.split(getattr(moments, ours)), strict=True):
            optimizer.state[parameter][name] = view
