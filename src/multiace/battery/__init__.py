"""How a model does far beyond the errors of one test set: `multiace evaluate MODEL --battery NAME`."""

from multiace.battery.builtin import BATTERIES
from multiace.battery.config import Battery
from multiace.battery.parts import run

__all__ = ["BATTERIES", "Battery", "run"]
