"""torch's and Lightning's classes that an untrusted run may name, in addition to those with a schema of their own.

All of them only compute or show something. Their arguments are numbers, words and truth values. Classes that take a
callable or a module, send numbers to a server, or write to a folder of their own choice are left out.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, create_model

from rnnlab.config.fields import Count, Described, Flag, Natural, Number, OrUnlimited, Text
from rnnlab.config.node import Node
from rnnlab.config.training_schema import Interval, Unset

Numbers = list[Number]


def matching(pattern: str) -> Any:
    def check(text: str) -> str:
        if ".." in text or not re.fullmatch(pattern, text):
            raise ValueError("not such a name")
        return text

    return Annotated[str, AfterValidator(check)]


# a template for Lightning: words, and metrics in braces; no folder, and no attribute of a metric
FileName = matching(r"([\w =,.+-]|\{[\w/-]+(:\d{0,2}(\.\d{1,2})?[defg]?)?\})+")
Inside = matching(r"\{run_folder\}(/[\w =,.+-]+)*")  # a template that make_trainer fills in
Name = matching(r"[\w =,.+-]+|\{run_name\}")  # not empty: a logger's files would look like rnnlab's
Version = matching(r"[\w =,.+-]*") | Natural | None
Duration = matching(r"\d+:\d{1,2}:\d{1,2}:\d{1,2}")

AUTO = "auto"  # stands for the run's length, in the units of the schedule
Length = Annotated[Count | Literal["auto"], Described("a whole number of at least 1, or auto")]
ON_GRADIENTS = {"foreach": Unset, "maximize": Flag, "differentiable": Flag}
RATE = {"lr": Number, "weight_decay": Number, **ON_GRADIENTS, "capturable": Flag}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "ASGD": {**RATE, "lambd": Number, "alpha": Number, "t0": Number},
    "Adadelta": {**RATE, "rho": Number, "eps": Number},
    "Adafactor": {"lr": Number, "beta2_decay": Number, "d": Number, "weight_decay": Number, "maximize": Flag,
                  "foreach": Unset},
    "Adagrad": {"lr": Number, "weight_decay": Number, **ON_GRADIENTS, "lr_decay": Number,
                "initial_accumulator_value": Number, "eps": Number, "fused": Unset},
    "Adamax": {**RATE, "betas": Numbers, "eps": Number},
    "Muon": {"lr": Number, "weight_decay": Number, "momentum": Number, "nesterov": Flag, "eps": Number,
             "ns_steps": Count, "ns_coefficients": Numbers},
    "NAdam": {**RATE, "betas": Numbers, "eps": Number, "momentum_decay": Number, "decoupled_weight_decay": Flag},
    "RAdam": {**RATE, "betas": Numbers, "eps": Number, "decoupled_weight_decay": Flag},
    "Rprop": {"lr": Number, **ON_GRADIENTS, "capturable": Flag, "etas": Numbers, "step_sizes": Numbers},
}  # fmt: skip
SCHEDULERS: dict[str, dict[str, Any]] = {
    "ConstantLR": {"factor": Number, "total_iters": Natural | Length},
    "CosineAnnealingLR": {"T_max": Length, "eta_min": Number},
    "CosineAnnealingWarmRestarts": {"T_0": Length, "T_mult": Count, "eta_min": Number},
    "CyclicLR": {"base_lr": Number | Numbers, "max_lr": Number | Numbers, "step_size_up": Count,
                 "step_size_down": Count | None, "mode": Literal["triangular", "triangular2", "exp_range"],
                 "gamma": Number, "scale_mode": Literal["cycle", "iterations"], "cycle_momentum": Flag,
                 "base_momentum": Number, "max_momentum": Number},
    "LinearLR": {"start_factor": Number, "end_factor": Number, "total_iters": Natural | Length},
    "MultiStepLR": {"milestones": list[Natural], "gamma": Number},
    "OneCycleLR": {"max_lr": Number | Numbers, "total_steps": Length | None, "epochs": Count | None,
                   "steps_per_epoch": Count | None, "pct_start": Number, "anneal_strategy": Literal["cos", "linear"],
                   "cycle_momentum": Flag, "base_momentum": Number | Numbers, "max_momentum": Number | Numbers,
                   "div_factor": Number, "final_div_factor": Number, "three_phase": Flag},
    "PolynomialLR": {"total_iters": Natural | Length, "power": Number},
}  # fmt: skip
CALLBACKS: dict[str, dict[str, Any]] = {
    "DeviceStatsMonitor": {"cpu_stats": Unset},
    "LearningRateMonitor": {"logging_interval": Literal["step", "epoch"] | None, "log_momentum": Flag,
                            "log_weight_decay": Flag},
    # dirpath: it must write into the new run's folder
    "ModelCheckpoint": {"dirpath": None, "filename": FileName | None, "monitor": Text | None, "verbose": Flag,
                        "save_last": Unset | Literal["link"], "save_top_k": OrUnlimited, "save_weights_only": Flag,
                        "mode": Literal["min", "max"], "auto_insert_metric_name": Flag,
                        "every_n_train_steps": Natural | None, "every_n_epochs": Natural | None,
                        "save_on_train_epoch_end": Unset, "save_on_exception": Flag, "enable_version_counter": Flag},
    "ModelSummary": {"max_depth": OrUnlimited},
    "RichModelSummary": {"max_depth": OrUnlimited},
    "RichProgressBar": {"refresh_rate": Natural, "leave": Flag},
    "StochasticWeightAveraging": {"swa_lrs": Number | Numbers, "swa_epoch_start": Number, "annealing_epochs": Natural,
                                  "annealing_strategy": Literal["cos", "linear"]},
    "TQDMProgressBar": {"refresh_rate": Natural, "process_position": Natural, "leave": Flag},
    "Timer": {"duration": Duration | dict[str, Natural] | None,
              "interval": Literal["step", "epoch"], "verbose": Flag},
}  # fmt: skip
LOGGERS: dict[str, dict[str, Any]] = {
    "CSVLogger": {"save_dir": Inside, "name": Name, "version": Version, "prefix": Text,
                  "flush_logs_every_n_steps": Count},
    "TensorBoardLogger": {"save_dir": Inside, "name": Name, "version": Version, "prefix": Text,
                          "log_graph": Flag, "default_hp_metric": Flag},
}  # fmt: skip


def nodes(package: str, classes: dict[str, dict[str, Any]], **more: Any) -> dict[str, type[Node]]:
    """{dotted path: schema of the permitted arguments}."""
    found = {}
    for name, arguments in classes.items():
        fields: Any = {key: (kind, None) for key, kind in (arguments | more).items()}
        found[f"{package}.{name}"] = create_model(name, __base__=Node, **fields)
    return found


STOCK: dict[str, dict[str, type[Node]]] = {
    "optimizer": nodes("torch.optim", OPTIMIZERS),
    "scheduler": nodes("torch.optim.lr_scheduler", SCHEDULERS, interval=Interval),
    "callbacks": nodes("lightning.pytorch.callbacks", CALLBACKS),
    "logger": nodes("lightning.pytorch.loggers", LOGGERS),
}
