"""The private names of other packages that rnnlab uses, their purposes, and which of them an installed version lacks.

Any release may remove a private name. All are listed here, once; tests/test_private_names.py finds names that are not
listed, and names that a new version no longer has.
"""

import importlib
from collections.abc import Callable
from typing import Any

# {place: purpose}
NAMES: dict[str, str] = {
    "lightning.pytorch.loops.fit_loop:_FitLoop": "training/loop.py is one: a Trainer runs its `fit_loop`",
    "lightning.pytorch:Trainer()._logger_connector": "training/loop.py keeps what callbacks log with `self.log`",
    "lightning.pytorch:Trainer().fit_loop.epoch_loop._batches_that_stepped": "the step of what `self.log` logs",
    "lightning.pytorch:LightningModule()._jit_is_scripting": "torch.jit.trace asks a task for its `trainer`, too",
    "lightning.pytorch:LightningModule()._current_fx_name": "`self.log` asks which hook it is called in",
    "lightning.pytorch.utilities:CombinedLoader()._mode": "training/passes.py: how many batches several loaders give",
    "lightning.pytorch.callbacks:ModelCheckpoint()._every_n_train_steps": "a call of the kernels ends where it saves",
    "lightning.pytorch.callbacks:ModelCheckpoint()._last_global_step_saved": "kept over a resume, or it saves twice",
    "lightning.pytorch.callbacks:ModelCheckpoint()._last_checkpoint_saved": "kept over a resume, for save_last",
    "lightning.pytorch.callbacks:ModelCheckpoint()._defer_save_until_validation": "kept over a resume, likewise",
    "lightning.pytorch.loggers:TensorBoardLogger()._experiment": "whether a SummaryWriter has been made",
    "torch.optim.lr_scheduler:LambdaLR._initial_step": "a schedule's `_step_count` and an optimizer's `_opt_called`, "
    "which it sets: both count steps that the kernels take",
    "torch.nn:Module()._forward_hooks": "training/interventions.py: whole steps in C call no hook, and say so",
    "torch.nn:Module()._modules": "training/interventions.py: a few microseconds to see that none was replaced",
    "torch.nn:Module()._forward_pre_hooks": "likewise",
    "torch.nn:Module()._backward_hooks": "likewise; of a parameter, too",
    "torch.nn:Module()._backward_pre_hooks": "likewise",
    "torch.nn.modules.module:_has_any_global_hook": "likewise",
    "torch.nn:Parameter()._post_accumulate_grad_hooks": "the kernels' gradients go through autograd where there is one",
    "torch.nn:Parameter()._version": "runs/objects.py: whether weights were changed since they were drawn",
    "torch.optim:SGD()._optimizer_step_pre_hooks": "torch makes the update where an optimizer has hooks",
    "torch.optim:SGD()._optimizer_step_post_hooks": "likewise",
    "torch.optim.optimizer:_global_optimizer_pre_hooks": "likewise",
    "torch.optim.optimizer:_global_optimizer_post_hooks": "likewise",
    "torch:_C": "where the next two are",
    "torch:_C._autograd": "where the next one is",
    "torch:_C._autograd._top_saved_tensors_default_hooks": "whole steps in C save no tensors, and say so",
    "torch.overrides:_get_current_function_mode_stack": "whole steps in C call no operation of torch, and say so",
    "torch.utils._python_dispatch:_get_current_dispatch_mode_stack": "likewise",
    "torch.utils._device:DeviceContext": "a mode that changes no number",
    "torch._higher_order_ops.scan:scan": "recurrence/traced.py: a loop of any length in an exported graph",
    "torch:_dynamo": "recurrence/compiled.py: how many shapes are compiled, and what cannot be",
    "torch._dynamo.exc:TorchDynamoException": "the latter",
    "torch.distributed.distributed_c10d:_abort_process_group": "NCCL would wait for a rank that has died",
    "hydra._internal.config_loader_impl:ConfigLoaderImpl": "where the next one is",
    "hydra._internal.config_loader_impl:ConfigLoaderImpl._apply_overrides_to_config": "an error names each key that "
    "Hydra cannot set, without composing once for each",
    "numpy.random:RandomState()._bit_generator": "its kind, and whether it was made with a seed",
    "hydra._internal.core_plugins.basic_launcher:BasicLauncher": "serves programs that are not rnnlab's own",
    "hydra._internal.core_plugins.basic_sweeper:BasicSweeper": "plans for launchers that are not rnnlab's own",
    "hydra._internal.utils:get_args_parser": "the words that Hydra itself takes are those of `rnnlab train`, too",
    "hydra._internal.utils:get_args": "completion reads a half written command as Hydra does",
    "argparse:ArgumentParser()._actions": "the flags of a command, for the nearest right spelling",
}


def missing() -> list[str]:
    """The names that the installed versions lack, each with its purpose."""
    return [f"{where} ({why})" for where, why in NAMES.items() if not _is_there(where)]


def _is_there(where: str) -> bool:
    module, _, path = where.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            name, called, _ = part.partition("(")
            found = getattr(found, name)
            if called:
                make: Callable[..., Any] = found
                found = make(**ARGUMENTS.get(name, {}))
    except (ImportError, AttributeError):
        return False
    return True


ARGUMENTS: dict[str, dict[str, Any]] = {
    "Trainer": {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "accelerator": "cpu",
    },
    "CombinedLoader": {"iterables": []},
    "SGD": {"params": [{"params": []}]},
    "TensorBoardLogger": {"save_dir": "."},
}
