"""Data files that cannot be used."""

import gzip
import lzma

from tests.bad_input.case import COPPER, WATER, Case, spoilt

TRAIN = "train run.yaml data.train="
EVALUATE = "evaluate model.safetensors "
FORCES = ":forces:R:3"
CELL = "3.6 0 0 0 3.6 0 0 0 3.6"
NUMBERS = WATER.replace("species:S", "Z:I").replace("O", "8").replace("H", "1")
NO_FORCES = "\n".join(line.rsplit(maxsplit=3)[0] + " nan nan nan" for line in WATER.splitlines()[2:])
NO_FORCES = "\n".join(WATER.splitlines()[:2]) + f"\n{NO_FORCES}\n"
ISOLATED = "1\nenergy=-13.6\nH 0 0 0\n"


def file(name: str, content: bytes, *says: str, command: str = TRAIN, path: str = "bad.xyz") -> Case:
    """A command about a file, which the sentence names."""
    command = command + path if command.endswith(("=", " ")) else command
    return Case(name, command, (path, *says), {path: content})


def frame(name: str, good: str, old: str, new: str, *says: str, command: str = TRAIN) -> Case:
    """The third of four frames is wrong, and named."""
    return file(name, spoilt(good, (old, new)), "bad.xyz frame 2", *says, command=command)


def every_frame(name: str, good: str, old: str, new: str, *says: str, options: str = "") -> Case:
    """All frames are wrong, or the run file is for them."""
    content = good.replace(old, new).encode() * 4
    return Case(name, f"{TRAIN}bad.xyz {options}", says, {"bad.xyz": content})


CASES = [
    # --- files
    Case("no such file", f"{TRAIN}nothing.xyz", ("nothing.xyz does not exist", "check the path"), {}),
    Case("folder", f"{EVALUATE}.", (". is a folder; give the file in it",), {}),
    Case(
        "no labels",
        f"{EVALUATE}bad.xyz",
        ("bad: none of 1 structures has a label (keys found: my_energy)", "--energy-key"),
        {"bad.xyz": b"1\nmy_energy=1\nH 0 0 0\n"},
    ),
    file("empty", b"", "has no structures"),
    file("blank", b"\n \n\n", "has no structures"),
    file("bytes", bytes(range(256)), "line 1 is ", "begins with its number of atoms"),
    file("pdf", b"%PDF-1.4\n%abc\n", "line 1 is '%PDF-1.4'", "begins with its number of atoms"),
    file("csv", b"species,x,y,z\nH,0,0,0\n", "line 1 is 'species,x,y,z'"),
    file("utf-16", WATER.encode("utf-16"), "line 1 is ", "begins with its number of atoms"),
    file("latin-1", WATER.replace("energy", "by=Schrödinger energy").encode("latin-1"), "is not UTF-8 text"),
    file("bomb", gzip.compress(bytes(1_000_000)) * 70, "unpacks to more than 100 times", path="bad.xyz.gz"),
    file("bomb of frames", gzip.compress(WATER.encode() * 5_000) * 130, "unpacks to more", path="bad.xyz.gz"),
    file(
        "bomb of a cif",
        lzma.compress(bytes(1_000_000)) * 70,
        "than 100 times",
        path="bad.cif.xz",
        command=EVALUATE,
    ),
    file("endless line", b"1\n" + b"a" * 16_000_001, "bad.xyz line 2 is longer than 16000000 bytes"),
    file("cut in a frame", spoilt(WATER)[:-40], "frame 3 (line 16) ends after 2 of 3 atoms"),
    file("cut in a line", spoilt(WATER)[:-12], "frame 3", "atom 2 has 5 columns, but Properties have 7"),
    file("trajectory cut", b"- of UlmASE-Trajectory", "cannot be read", command=EVALUATE, path="bad.traj"),
    file("no database", b"hello", "cannot be read", command=EVALUATE, path="bad.db"),
    file("unknown format", b"hello", "of no format that ASE reads", command=EVALUATE, path="bad.note"),
    Case("no such frame", f"{EVALUATE}train.xyz@7:", ("train.xyz@7: has no structures",), {}),
    Case("no index", f"{EVALUATE}train.xyz@first", ("'first' selects no structures; write @5",), {}),
    Case("step of zero", f"{EVALUATE}train.xyz@::0", ("'::0' selects no structures",), {}),
    # --- frames
    file("more atoms than lines", spoilt(WATER, ("3\n", "4\n")), "frame 2 (line 11)", "atom 3 has 1 columns"),
    file("fewer atoms than lines", spoilt(WATER, ("3\n", "2\n")), "line 15 is 'H 0.0 -0.76"),
    file("absurd number of atoms", spoilt(WATER, ("3\n", "3" * 30 + "\n")), "line 11 is '333"),
    file(
        "more atoms than the file", spoilt(WATER, ("3\n", "900000000\n")), "ends after 8 of 900000000 atoms"
    ),
    file("negative number of atoms", spoilt(WATER, ("3\n", "-3\n")), "line 11 is '-3'"),
    file("no atoms", spoilt(WATER, ("3\n", "0\n")), "line 11 is '0'", "from 1 up"),
    frame("fewer columns", WATER, "O 0.0  0.00", "O 0.0", "atom 0 has 6 columns, but Properties have 7"),
    frame("more columns", WATER, "-0.2\n", "-0.2 8\n", "atom 1 has 8 columns, but Properties have 7"),
    frame("mixed columns", WATER, FORCES, "", "atom 0 has 7 columns, but Properties have 4"),
    frame("text for a number", WATER, "0.76", "left", "could not convert string to float: 'left'"),
    frame("misspelt Properties", WATER, ":R:3", ":R3", "Properties = 'species:S:1:pos:R3:forces:R:3' cannot"),
    frame("unknown type", WATER, ":R:3", ":Q:3", "Properties = ", "type S, R, I or L"),
    frame("absurd width", WATER, ":R:3", ":R:99999999999", "Properties = ", "cannot be read"),
    frame("no positions", WATER, "pos:", "place:", "must have pos"),
    frame("a name twice", WATER, "forces:", "pos:", "each name once"),
    frame("no element", WATER, "O 0.0", "Qq 0.0", "'Qq' is not a chemical symbol"),
    frame("dummy atom", WATER, "O 0.0", "X 0.0", "atom 0 has atomic number 0"),
    frame("atomic number", NUMBERS, "8 0.0", "300 0.0", "atom 0 has atomic number 300"),
    frame("position nan", WATER, "0.76", "nan", "atom 1 has position [0.0, nan, -0.48]"),
    frame("position inf", WATER, "0.76", "inf", "atom 1 has position [0.0, inf, -0.48]"),
    frame("atoms at one place", WATER, "H 0.0  0.76", "H 0.0 -0.76", "atoms H 1 and H 2 are at one place"),
    frame("element of no model", WATER, "O 0.0", "N 0.0", "element N of", command=EVALUATE),
    # --- cells
    frame(
        "cell of one number",
        COPPER,
        f'"{CELL}"',
        "3.6",
        "Lattice=3.6 cannot be read",
        "nine numbers in quotes",
    ),
    frame("cell of words", COPPER, CELL, "cubic", 'Lattice="cubic" cannot be read'),
    frame("cell nan", COPPER, CELL, CELL.replace("3.6", "nan", 1), "cell"),
    frame("cell without volume", COPPER, CELL, "3.6 0 0 3.6 0 0 0 0 3.6", "span no volume"),
    frame("zero cell", COPPER, CELL, "0 0 0 0 0 0 0 0 0", "span no volume"),
    frame(
        "cell in other units", COPPER, CELL, "3.6e-9 0 0 0 3.6e-9 0 0 0 3.6e-9", "images within the cutoff"
    ),
    frame("cell like a wire", COPPER, CELL, "3e4 0 0 0 3e4 0 0 0 2", "extends over 3e+04, 3e+04, 2 Å"),
    frame("endless cell", COPPER, CELL, "1e200 0 0 0 1e200 0 0 0 1e200", "shorter than 1e+08 Å"),
    frame("atoms far apart", WATER, "0.76", "9e7", "extends over ", "bring its parts together"),
    frame(
        "position lost", WATER, "0.76", "1e300", "atom 1 has position [0.0, 1e+300, -0.48]", "within 1e+08 Å"
    ),
    frame("two flags of periodicity", COPPER, "energy", 'pbc="T T" energy', "pbc = '[True, True]'"),
    frame("periodicity in words", COPPER, "energy", "pbc=yes energy", "pbc = 'yes'", 'pbc="T T F"'),
    # --- labels
    frame("energy inf", WATER, "energy=-10.5", "energy=inf", "energy = inf is infinite"),
    frame("energy of words", WATER, "energy=-10.5", "energy=low", "energy = 'low' is not numeric"),
    frame("two energies", WATER, "energy=-10.5", 'energy="1 2"', "the energy has 2 values"),
    frame("force inf", WATER, "0.5\n", "-inf\n", "forces = [[", "infinite"),
    frame("force of words", WATER, "0.5\n", "none\n", "could not convert string to float: 'none'"),
    frame("negative weight", WATER, "energy", "weight=-1 energy", "weight = -1", "a number from 0 up"),
    frame("weight nan", WATER, "energy", "config_weight=nan energy", "config_weight = nan", "from 0 up"),
    frame("stress of five values", COPPER, "energy", f'stress="{"1 " * 5}" energy', "nine or six"),
    frame("cell of six values", COPPER, CELL, "3.6 3.6 3.6 0 0 0", 'Lattice="3.6 3.6 3.6 0 0 0" cannot'),
    frame("stress inf", COPPER, "energy", f'stress="{"inf " * 9}" energy', "stress = [inf inf"),
    frame("lopsided virial", COPPER, "energy", 'virial="1 2 3 4 5 6 7 8 9" energy', "is not symmetric"),
    every_frame(
        "forces of two columns",
        WATER.replace(" 0.5", "").replace(" -0.2", "").replace(" -0.3", ""),
        "forces:R:3",
        "forces:R:2",
        "bad.xyz frame 0: forces have shape (3, 2); 3 atoms need (3, 3)",
    ),
    every_frame("misspelt energy", WATER, "energy", "enrgy", "none of the 3 training frames", "found: enrgy"),
    every_frame("misspelt forces", WATER, "forces", "force", "forces label", "found: energy, force)"),
    every_frame("energies nan", WATER, "-10.5", "nan", "none of the 3 training frames has an energy label"),
    every_frame("forces nan", NO_FORCES, "", "", "none of the 3 training frames has a forces label"),
    every_frame(
        "named key",
        WATER,
        "",
        "",
        "bad.xyz has 'E' (keys found: energy, forces). Set data.energy_key",
        options="data.energy_key=E",
    ),
    every_frame(
        "stress without a cell",
        WATER,
        "energy",
        'stress="1 0 0 0 1 0 0 0 1" energy',
        "bad.xyz frame 0 has a stress label, but it has no periodic cell",
        options="data.stress_key=stress",
    ),
    every_frame(
        "weighted stress without labels",
        COPPER,
        "",
        "",
        "train.stress_weight is 100.0, but none of the 3 training frames has a stress label",
        options="train.stress_weight=100",
    ),
    every_frame(
        "unknown kind of frame",
        WATER,
        "energy",
        "config_type=md energy",
        "data.config_type_weights names 'mdd'",
        "Did you mean 'md'?",
        options="'data.config_type_weights={mdd: 2}'",
    ),
    every_frame("isolated atoms alone", ISOLATED, "", "", "bad.xyz) has only isolated atoms"),
    every_frame(
        "no isolated atoms",
        WATER,
        "",
        "",
        "no isolated atom with an energy for H, O, which model.energy_reference = isolated needs",
        options="model.energy_reference=isolated",
    ),
    every_frame(
        "isolated atoms that disagree",
        WATER + ISOLATED + ISOLATED.replace("13.6", "12.6"),
        "",
        "",
        "isolated H has energy -13.6 eV in",
        "bad.xyz frame 1, but -12.6 eV in",
        options="model.energy_reference=isolated",
    ),
    every_frame(
        "forces all zero",
        WATER.replace("0.5", "0").replace("0.1 -0.2", "0 0").replace("-0.1 -0.3", "0 0"),
        "",
        "",
        "model.scale = rms_force would be zero",
        options="model.scale=rms_force",
    ),
    every_frame("all for validation", WATER, "", "", "data.valid = 4 takes 4 of 4", options="data.valid=4"),
    every_frame(
        "validation of another element",
        WATER,
        "",
        "",
        "data.valid has structures with Cu, but the model learns only H, O",
        options="data.valid=copper.xyz",
    ),
    file(
        "no split",
        b'{"frames": 3, "train": [0, 1], "valid": [1]}',
        "is not a split that multiace saved",
        command="train run.yaml data.valid=split.json",
        path="split.json",
    ),
    file(
        "split of other data",
        b'{"frames": 3, "train": [0, 1], "valid": [2]}',
        "splits 3 structures, but data.train has 4",
        command="train run.yaml data.valid=split.json",
        path="split.json",
    ),
]
