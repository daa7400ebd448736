"""What the parts of a battery share: the subject, where files are, what was skipped, and progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ase import Atoms

from multiace.battery.config import Battery
from multiace.battery.subject import Subject
from multiace.data.read import Frame, read_frames, read_structures
from multiace.errors import InputError
from multiace.train.sources import path_of

__all__ = ["Job", "Show", "search"]

Show = Callable[[str, int, int], None]
"""Called with a part, how much of it is done, and how much there is to do."""


class Job:
    """A battery at work on a subject.

    Args:
        subject: What is tested.
        battery: How.
        found: Each file of the battery and where it is; None where it is not.
        show: Progress.

    Attributes:
        skipped: Entries that could not be measured, and why.
    """

    def __init__(
        self, subject: Subject, battery: Battery, found: Mapping[str, str | None], show: Show
    ) -> None:
        self.subject = subject
        self.battery = battery
        self.found = found
        self.show = show
        self.skipped: dict[str, str] = {}

    @contextmanager
    def skipping(self, name: str) -> Iterator[None]:
        """Write down why an entry cannot be measured, and go on."""
        try:
            yield
        except InputError as reason:
            # An entry of another part may have the same name.
            self.skipped[name] = " ".join(filter(None, (self.skipped.get(name), str(reason))))

    def each(self, part: str, measure: Callable[[str, Any, str], dict[str, Any]]) -> dict[str, Any]:
        """Measure every entry of a part whose file is there.

        Args:
            part: Field of the battery.
            measure: From name, config and path of the file to results by name.
        """
        results: dict[str, Any] = {}
        entries = getattr(self.battery, part)
        for number, (name, config) in enumerate(entries.items()):
            self.show(part, number, len(entries))
            path = self.found[config.file]
            if path is not None:
                with self.skipping(name):
                    results |= measure(name, config, path)
        self.show(part, len(entries), len(entries))
        return results

    def frames(self, path: str) -> list[Frame]:
        """Read labelled structures; labels that are not there are told by who needs them."""
        return read_frames(path, self.subject.keys, strict=False)

    def structures(self) -> Iterator[Atoms]:
        """Yield the structures of each file that is there."""
        for path in self.found.values():
            if path is not None:
                yield from read_structures(path)


def search(battery: Battery, files: Sequence[str], folders: Sequence[str | Path]) -> dict[str, str | None]:
    """Find files: in the folders given, in those of the battery, and in ``$MULTIACE_DATA``.

    In each of them, or in a folder of the battery's name there.

    Returns:
        Where each file is, with the part of it that is taken (``@:100``), or None.
    """
    variable = os.environ.get("MULTIACE_DATA")
    roots = [Path(folder) for folder in (*folders, *battery.data, *([variable] if variable else []))]

    def find(file: str) -> str | None:
        places = [place / file for root in roots for place in (root, root / battery.name)]
        return next((str(place) for place in places if path_of(str(place)).is_file()), None)

    return {file: find(file) for file in files}
