"""The design space, its published points, and the potential."""

from multiace.model.config import ModelConfig
from multiace.model.multi_ace import MultiACE
from multiace.model.potential import Potential, Prediction, Statistics
from multiace.model.presets import PRESETS

__all__ = ["PRESETS", "ModelConfig", "MultiACE", "Potential", "Prediction", "Statistics"]
