"""Extended XYZ, frame by frame: what a frame lacks is told with its number and line, nothing is skipped.

ASE's reader parses each frame. Read as a whole, a file would end at its first empty line, columns that
``Properties`` does not name would be dropped, and an error would not say where it is.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import IO, Any, NamedTuple

import ase
import numpy as np
from ase.io.extxyz import key_val_str_to_dict, read_xyz
from ase.io.formats import get_compression, open_with_compression

from multiace.errors import InputError, brief

__all__ = ["is_extxyz", "read_extxyz"]

COUNT = re.compile(rb"\s*(\d{1,9})\s*")
PROPERTIES = re.compile(r"(?:[^:\s]+:[RISL]:[1-9]\d{0,2}(?::|$))+(?<!:)")
MATRICES = re.compile(r'\b(?:Lattice|stress|virial)\s*=\s*("[^"]*"|\S*)')
VOIGT = re.compile(r"""(?<!\S)((?:stress|virial)\s*=\s*)(["'{\[])([^"'}\]]*)(["'}\]])""")
LONGEST = 16_000_000  # bytes of a line; no list of numbers is longer


class Block(NamedTuple):
    """The lines of one frame; ``number`` counts frames from 0, ``line`` lines from 1."""

    number: int
    line: int
    rows: list[bytes]


def is_extxyz(path: str) -> bool:
    """Whether the name of a file, compressed or not, is that of an extended XYZ file."""
    return get_compression(path)[0].lower().endswith((".xyz", ".extxyz"))


def read_extxyz(path: str, part: slice = slice(None)) -> Iterator[ase.Atoms]:
    """Yield the structures of a file.

    Args:
        path: The file, which may be compressed (.gz, .bz2, .xz).
        part: Which of its frames.

    Raises:
        InputError: If a frame is cut, or its lines do not fit its ``Properties``, or are no structure.
    """
    frames = blocks(path)
    forward = all(bound is None or bound >= 0 for bound in (part.start, part.stop, part.step))
    for block in islice(frames, part.start, part.stop, part.step) if forward else list(frames)[part]:
        yield structure(block, f"{path} frame {block.number}")


def blocks(path: str) -> Iterator[Block]:
    """Cut a file into frames: a number of atoms, a comment, and a line for each atom."""
    with open_with_compression(path, "rb") as file:
        number = line = 0
        lines = whole_lines(file, path)
        for first in lines:
            line += 1
            if not first.strip():
                continue
            count = atom_count(first, f"{path} line {line}")
            rows = list(islice(lines, count + 1))
            if len(rows) < count + 1:
                raise InputError(
                    f"{path} frame {number} (line {line}) ends after {max(len(rows) - 1, 0)} of {count} atoms; the "
                    "file is cut, or the number is wrong."
                )
            yield Block(number, line, [b"%d\n" % count, *rows])
            number, line = number + 1, line + len(rows)


def whole_lines(file: IO[bytes], path: str) -> Iterator[bytes]:
    """Yield the lines of a file, none of which may fill the memory."""
    for number, line in enumerate(iter(partial(file.readline, LONGEST), b""), 1):
        if len(line) == LONGEST:
            raise InputError(
                f"{path} line {number} is longer than {LONGEST} bytes; the file is damaged, or no extended XYZ."
            )
        yield line


def atom_count(text: bytes, where: str) -> int:
    """Read the first line of a frame."""
    match = COUNT.fullmatch(text.removeprefix(b"\xef\xbb\xbf"))
    if match is None or int(match[1]) == 0:
        raise InputError(
            f"{where} is {brief(text.decode(errors='replace'))!r}, but a frame of extended XYZ begins with its number "
            "of atoms, from 1 up; mend the file, or convert it."
        )
    return int(match[1])


def structure(block: Block, source: str) -> ase.Atoms:
    """Parse a frame."""
    source = f"{source} (line {block.line})"
    try:
        text = b"".join(block.rows).decode()
        info = comment(text.split("\n")[1].strip(), source)
        check_columns(block.rows[2:], info.get("Properties"), source)
        check_pbc(info.get("pbc", False), source)
        return next(read_xyz(io.StringIO(text), 0, properties_parser=lambda _: info))
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 text ({error.reason}); convert the file.") from None
    except KeyError as error:
        raise InputError(f"{source}: {error} is not a chemical symbol; write one, such as 'H'.") from None
    except Exception as error:  # whatever goes wrong in ASE's reader
        raise InputError(f"{source} cannot be read: {brief(error)}; mend this frame.") from None


def comment(line: str, source: str) -> dict[str, Any]:
    """Read the keys and values of the second line."""
    line = VOIGT.sub(nine_values, line)
    try:
        return key_val_str_to_dict(line)
    except Exception as error:  # whatever goes wrong in ASE's reader
        wrong = [match[0] for match in MATRICES.finditer(line) if len(match[1].split()) != 9]
        what = brief(", ".join(wrong)) or f"the second line ({brief(error)})"
        raise InputError(
            f"{source}: {what} cannot be read; Lattice takes nine numbers in quotes, stress and virial nine or six."
        ) from None


def nine_values(match: re.Match[str]) -> str:
    """Write the six values xx yy zz yz xz xy of a stress or virial as the nine that ASE's reader asks for."""
    key, opened, text, closed = match.groups()
    values = text.replace(",", " ").split()
    if len(values) != 6:
        return match[0]
    xx, yy, zz, yz, xz, xy = values
    return f"{key}{opened}{xx} {xy} {xz} {xy} {yy} {yz} {xz} {yz} {zz}{closed}"


def check_columns(rows: Sequence[bytes], properties: Any, source: str) -> None:
    """Refuse ``Properties`` without sense, and lines that have not their columns.

    Where a file gives no ``Properties``, whatever comes after symbol and position is a comment.
    """
    if properties is None:
        given, width, most = "symbol and position", 4, None
    else:
        if not PROPERTIES.fullmatch(str(properties)):
            raise InputError(
                f"{source}: Properties = {brief(properties)!r} cannot be read; it is name:type:columns of each "
                "quantity with type S, R, I or L, such as species:S:1:pos:R:3:forces:R:3."
            )
        fields = str(properties).split(":")
        names, columns = fields[::3], [int(number) for number in fields[2::3]]
        if len(set(names)) < len(names) or not {"pos", "positions"} & set(names):
            raise InputError(
                f"{source}: Properties = {brief(properties)!r} must have pos, and each name once."
            )
        given, width = "Properties", sum(columns)
        most = width
    for atom, row in enumerate(rows):
        found = len(row.split())
        if found < width or (most is not None and found > most):
            raise InputError(
                f"{source}: the line of atom {atom} has {found} columns, but {given} have {width}: "
                f"{brief(row.decode())!r}; mend the frame."
            )


def check_pbc(pbc: Any, source: str) -> None:
    """Refuse anything but one or three flags."""
    flags = np.asarray(pbc)
    if flags.dtype.kind not in "bi" or flags.shape not in ((), (3,)) or not np.isin(flags, (0, 1)).all():
        raise InputError(f'{source}: pbc = {brief(pbc)!r} must be three of T and F, such as pbc="T T F".')
