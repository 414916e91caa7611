"""Chooses the accelerator that trains a run, and says why."""

from rnnlab.errors import UserError, counted


def present() -> dict[str, str]:
    """The accelerators of this machine, best first, each with its name."""
    import torch

    found = {}
    if torch.cuda.is_available():
        n = torch.cuda.device_count()
        found["gpu"] = torch.cuda.get_device_name(0) + (f" and {n - 1} more" if n > 1 else "")
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found | {"cpu": counted(torch.get_num_threads(), "thread")}


def take(asked: str, there: dict[str, str] | None = None) -> tuple[str, str]:
    """The accelerator to use (cpu, gpu or mps) for `trainer.accelerator=asked`, and a sentence on why.

    Raises UserError where the asked one is not `there` (by default: on this machine).
    """
    there = present() if there is None else there
    described = ", ".join(f"{name} ({what})" for name, what in there.items())
    wanted = "gpu" if asked == "cuda" else asked
    if wanted == "auto":
        taken = next(iter(there))
        why = "the only one" if len(there) == 1 else "the first of gpu, mps, cpu that is there"
        return taken, f"asked auto; there: {described}; took {taken}, {why}"
    if wanted not in there:
        raise UserError(
            f"trainer.accelerator={asked}: there is none on this machine; there: {described}. "
            f"Use trainer.accelerator={next(iter(there))} or auto."
        )
    return wanted, f"asked {asked}; there: {described}; took {wanted}"
