"""Tasks, the LightningModules of rnnlab: a recurrent model with its loss."""

from rnnlab.tasks.char_lm import CharLM
from rnnlab.tasks.classifier import Classifier
from rnnlab.tasks.forecaster import Forecaster
from rnnlab.tasks.task import Panel, Probe, Task

__all__ = ["CharLM", "Classifier", "Forecaster", "Panel", "Probe", "Task"]
