"""Run files that cannot be used."""

from collections.abc import Iterator
from itertools import pairwise

from tests.bad_input.case import Case

LAUGHS = "a: &a [1, 1, 1, 1, 1]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklm")
)
DATA = "data: {train: train.xyz, valid: 1}\n"
MODEL = "model: {preset: botnet-small, energy_reference: mean, scale: none}\n"


def run(name: str, content: str | bytes, *says: str) -> Case:
    content = content if isinstance(content, bytes) else content.encode()
    return Case(name, "train bad.yaml", says, {"bad.yaml": content})


def section(name: str, others: str, table: str) -> Iterator[Case]:
    """One case a line, of a run file with these fields in a section: name | fields | what is said | ..."""
    for line in table.strip().splitlines():
        case, fields, *says = line.split(" | ")
        yield run(case, f"{others}{name}: {{{fields}}}\n", *says)


FILES = [
    Case("no run file", "train nothing.yaml", ("cannot read nothing.yaml: No such file",), {}),
    Case("folder for a run file", "train .", ("cannot read .: Is a directory",), {}),
    Case("data for a run file", "train train.xyz", ("train.xyz",), {}),
    run(
        "much data for a run file", "a" * 1_000_001, "bad.yaml is no run file: it has more than 1000000 bytes"
    ),
    run("empty run file", "", "bad.yaml must hold sections such as 'model:' and 'data:', but has nothing"),
    run(
        "list for a run file",
        "- model\n",
        "bad.yaml must hold sections such as 'model:' and 'data:', but has a list",
    ),
    run("broken yaml", "model: {cutoff: 5\n", "bad.yaml is not valid YAML"),
    run("tabs", "model:\n\tcutoff: 5\n", "bad.yaml is not valid YAML"),
    run("binary run file", b"\xff\xfe\x00", "cannot read bad.yaml"),
    run("code in yaml", "model: !!python/object/apply:os.mkdir [executed]\n", "bad.yaml is not valid YAML"),
    run(
        "field twice",
        "model:\n  cutoff: 5\n  cutoff: 4\n",
        "line 3: 'cutoff' is given twice, first in line 2",
    ),
    run("misspelt section", f"{DATA}modle: {{}}\n", "no section 'modle'. Did you mean 'model'?"),
    run("no data", "train: {}\n", "no section 'data'"),
    run("section of one word", f"{DATA}model: botnet\n", "section 'model' must hold fields, found 'botnet'"),
    run("section of a list", f"{DATA}train: [1]\n", "section 'train' must hold fields, found [1]"),
    run(
        "section twice", "model: {}\ntrain:\n'model': {}\n", "line 3: 'model' is given twice, first in line 1"
    ),
    run("twice in a line", "model: {cutoff: 5, cutoff: 5}\n", "line 1: 'cutoff' is given twice"),
    run("list for a name", "? [a]\n: 1\n", "bad.yaml is not valid YAML"),
    run("no date", "train: {max_epochs: 2001-13-45}\n", "bad.yaml is not valid YAML: month must be in 1..12"),
    run(
        "value within itself",
        "data: &a {train: [*a]}\n",
        "bad.yaml has more than 10000 values, or one within",
    ),
    run("a billion laughs", LAUGHS, "bad.yaml has more than 10000 values"),
    run("deep", "[" * 500, "bad.yaml is not valid YAML"),
]

MODEL_FIELDS = """
misspelt field | cutof: 5 | model has no field 'cutof'. Did you mean 'cutoff'?
number for a field | 1: 5 | model has no field '1'
unknown preset | preset: botnett | model.preset = 'botnett' is not a preset. Did you mean 'botnet
list for a preset | preset: [mace] | model.preset = ['mace'] is not a preset
misspelt choice | radial_basis: besel | model.radial_basis = 'besel' | Did you mean 'bessel'?
negative cutoff | cutoff: -5 | model.cutoff = -5 cannot be used | number (above 0)
cutoff in words | cutoff: far | model.cutoff = 'far' cannot be used
cutoff inf | cutoff: .inf | model.cutoff = inf cannot be used | finite number
truth for a number | l_max: true | model.l_max = true cannot be used | at most 6
half a layer | num_layers: 1.5 | model.num_layers = 1.5 cannot be used | integer
absurd number of layers | num_layers: 1000000 | model.num_layers = 1000000 | at most 8
absurd basis | num_radial: 1000000000000 | model.num_radial = 1000000000000 | at most
absurd width | radial_widths: [1000000000] | model.radial_widths = [1000000000] | at most
no irreps | hidden_irreps: '' | model.hidden_irreps = '' | cannot be read
irreps misspelt | hidden_irreps: 8x0e + 8x1 | model.hidden_irreps = '8x0e + 8x1' | '8x1' cannot be read
an irrep twice | hidden_irreps: 8x0e + 8x0e | model.hidden_irreps = '8x0e + 8x0e': irrep 0e occurs twice
no invariants | hidden_irreps: 8x1o | model.hidden_irreps = '8x1o' has no 0e | nothing to read the energy
irreps not reached | hidden_irreps: 8x0e + 8x0o | 0o can never be reached with l_max = 3
absurd degree | hidden_irreps: 8x0e + 1x99999o | 99999o
absurd channels | hidden_irreps: 10000000000x0e | 10000000000x0e | at most
no element | elements: [H, Q] | model.elements: 'Q' is not a chemical symbol
element twice | elements: [H, H] | model.elements names an element twice: H, H
no E0 | energy_reference: given | model.energy_reference = given needs isolated_energies
E0 not used | isolated_energies: {H: -13.6} | are given, but energy_reference = isolated
E0 nan | energy_reference: given, isolated_energies: {H: .nan} | model.isolated_energies.H = nan
yes for a choice | scale: no | model.scale = false cannot be used | Put it in quotes
readout of one layer | num_layers: 1, readout: every | model.readout has no effect
MLP without widths | radial_widths: [] | model.radial_network = mlp needs radial_widths
idle field | preset: painn, radial_widths: [8] | model.radial_widths has no effect
readout not reached | readout_width: 0, readout_activation: tanh | model.readout_activation has no
code not there | radial_basis: no_such_package:B | 'no_such_package:B' cannot be imported
no code | radial_basis: 'math:pi' | 'math:pi' is not a class or function, but a float
another's code | radial_basis: 'os:getcwd' | model.radial_basis = 'os:getcwd'
polynomials trained | radial_basis: legendre, trainable_radial: true | has nothing to train
envelope of power one | envelope: two_sided, envelope_power: 1 | forces jump at the cutoff | Set 2
too large a degree | l_max: 7 | model.l_max = 7 cannot be used | at least 0, at most 6
too many bodies | correlation: 7 | model.correlation = 7 cannot be used | at most 6
five channels' factors | correlation: 5 | model.correlation = 5 needs channel_coupling = complete
basis as weights | radial_network: none | model.radial_network = none needs channel_coupling = complete
complete and deep | channel_coupling: complete | is one layer of products; set num_layers = 1
elements of no network | preset: ace, radial_species: pair | needs radial functions with weights
two-body term of mace | preset: mace, pair_num_radial: 5 | model.pair_num_radial has no effect
envelope of no term | preset: ace, pair_num_radial: 0, pair_envelope: cosine | model.pair_envelope has no effect
exponents of no density | readout_function: finnis_sinclair, readout_exponents: [1, 0.5] | or one for each of the 64
exponent of zero | readout_function: finnis_sinclair, readout_exponents: 0 | readout_exponents = [0.0]: each must be
densities of an MLP | readout_function: finnis_sinclair, readout_width: 8 | model.readout_width has no effect
product without invariant | preset: ace, products: [[[0, 1, 0], [0, 1, 1]]] | has no invariant
product of too many | preset: ace-small, products: [[[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]] | has 4 factors
product outside | preset: ace, pair_num_radial: 0, products: [[[0, 10, 0]]] | has the factor [0, 10, 0] | between 1
product twice | preset: ace, products: [[[0, 1, 1], [0, 2, 1]], [[0, 2, 1], [0, 1, 1]]] | is listed twice
one knot | radial_knots: 1 | splines need two knots
number of no network | preset: ace, n_max: 5 | model.n_max has no effect with radial_network = none
degree of nothing | preset: ace, total_degree: [3, 0, 2, 1] | one positive number is needed, or one for each of the 4
norm of no network | preset: painn, radial_norm: layer | model.radial_norm has no effect with radial_network = linear
norm of one value | radial_widths: [8, 1], radial_norm: layer | = [8, 1]: less its mean, a single one is zero
norm of one channel | hidden_irreps: 1x0e + 4x1o, feature_norm: layer | needs two channels 0e or more
norm of linear ACE | preset: ace, feature_norm: layer | is one layer of products; set feature_norm = none
radial norm of ACE | preset: ace, radial_network: mlp, radial_norm: layer | set radial_norm = none
unknown norm | feature_norm: batch | model.feature_norm = 'batch' is not a choice
width of zero | radial_widths: [8, 0] | radial_widths = [8, 0]: every width must be at least 1
half precision | dtype: float16 | model.dtype = 'float16' | Did you mean 'float64'?
closed table | nonlinearity: 'torch:relu' | model.nonlinearity = 'torch:relu' is not a choice
E0 of no element | energy_reference: given, isolated_energies: {Hh: -1} | 'Hh' is not a chemical
E0 missing | elements: [H, C], energy_reference: given, isolated_energies: {H: -1} | model.isolated_energies lacks C
layer's self | first_layer: {self_connection: none} | set first_self_connection instead
layer's cutoff | first_layer: {cutoff: 3} | first_layer: 'cutoff' cannot differ between layers
layer's choice | first_layer: {nonlinearity: gte} | 'gte' is not a choice. Did you mean 'gate'?
layer's widths | first_layer: {radial_widths: [true]} | model.radial_widths = [true] cannot be
"""

DATA_FIELDS = """
no training file | valid: 1 | data.train is missing
number for a file | train: 3 | data.train = 3 cannot be used | list of text
no file in the list | train: [] | data.train is an empty list
file and fraction | train: train.xyz, valid: [train.xyz, 0.1] | data.valid | 0.1
fraction above one | train: train.xyz, valid: 1.5 | data.valid = 1.5 is not allowed
no fraction | train: train.xyz, valid: 0 | data.valid = 0 is not allowed
seed of a file | train: train.xyz, valid: train.xyz, seed: 1 | data.seed has no effect with valid
unknown unit | train: train.xyz, stress_unit: bar | data.stress_unit = 'bar' | Did you mean 'kbar'
one unit | train: train.xyz, energy_unit: Hartree | say in which unit the forces are, too
truth for a file | train: train.xyz, valid: true | data.valid = true is not a file
no validation file | train: train.xyz, valid: [] | data.valid = () is not allowed
misspelt unit | train: a, energy_unit: kcal, forces_unit: eV/A | Did you mean 'kcal/mol'?
sign | train: a, stress_sign: positive | data.stress_sign = 'positive' | compression, tension
negative weight | train: a, config_type_weights: {bulk: -1} | bulk = -1.0 is not allowed
negative seed | train: a, seed: -1 | data.seed = -1 cannot be used
"""

TRAIN_FIELDS = """
batches of two kinds | batch_size: 5, max_edges: 100 | both batch_size and max_edges
nothing to learn | energy_weight: 0, forces_weight: 0 | nothing would be learned
misspelt optimizer | optimizer: adm | train.optimizer = 'adm' | Did you mean 'adam'?
misspelt logger | loggers: [tensorbord] | 'tensorbord' | Did you mean 'tensorboard'?
one word for a list | loggers: csv | train.loggers = 'csv' cannot be used | Write [csv]
rates crossed | learning_rate: 1e-8 | train.min_learning_rate = 1e-06 is above
second stage missing | second_stage_learning_rate: 1e-3 | without train.second_stage_start
no epochs | max_epochs: 0 | train.max_epochs = 0 cannot be used | at least 1
misspelt schedule | schedule: cosin | train.schedule = 'cosin' | Did you mean 'cosine'?
unknown loss | forces_loss: l3 | train loss = 'l3' is not a choice
decay of one | ema_decay: 1.0 | train.ema_decay = 1.0 cannot be used | below 1
processes without a strategy | devices: 2 | set train.strategy = ddp
no model to start from | start_from: nothing | nothing: there is no such file
"""

CASES = [
    *FILES,
    *section("model", DATA, MODEL_FIELDS),
    *section("data", MODEL, DATA_FIELDS),
    *section("train", DATA + MODEL, TRAIN_FIELDS),
]
