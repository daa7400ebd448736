"""The exceptions that end a command with a sentence: what a user gave cannot be used, or a signal came."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "Interrupted", "brief", "did_you_mean"]


class InputError(ValueError):
    """Something the user gave cannot be used: what was received, what is allowed, what to do.

    The command line prints it as one sentence and exits with status 2; any other exception is a
    defect of multiace and keeps its traceback.
    """

    def __init__(self, sentence: str = "") -> None:
        super().__init__(" ".join(sentence.splitlines()))  # values that it quotes may have several lines


class Interrupted(KeyboardInterrupt):
    """A signal has ended the work in good order.

    Args:
        number: Of the signal.
        sentence: What is saved, and how to go on.

    Attributes:
        status: The exit status, 128 + the signal's number, as shells and batch systems report it.
    """

    def __init__(self, number: int, sentence: str = "") -> None:
        super().__init__(sentence)
        self.number, self.status = number, 128 + number


def did_you_mean(received: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest allowed word, or the list of all allowed words."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(str(received), allowed, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else f" Allowed: {', '.join(allowed)}."


def brief(value: object, length: int = 100) -> str:
    """Return the text of a value or an error on one line, cut where it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
