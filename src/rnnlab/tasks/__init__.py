"""The LightningModules of rnnlab."""

from rnnlab.tasks.char_lm import CharLM
from rnnlab.tasks.classifier import Classifier
from rnnlab.tasks.forecaster import Forecaster
from rnnlab.tasks.task import Task

__all__ = ["CharLM", "Classifier", "Forecaster", "Task"]
