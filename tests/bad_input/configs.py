"""Run files that cannot be used."""

from itertools import pairwise

from tests.bad_input.case import Case

DATA = "data: {train: train.xyz, valid: 1}\n"
LAUGHS = "a: &a [1, 1, 1, 1, 1]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklm")
)
GIVEN = "energy_reference: given, isolated_energies"
MODEL = "model: {preset: botnet-small, energy_reference: mean, scale: none"
IRREPS = "model.hidden_irreps = "


def run(name: str, content: str | bytes, *says: str, options: str = "") -> Case:
    content = content if isinstance(content, bytes) else content.encode()
    return Case(name, f"train bad.yaml {options}", says, {"bad.yaml": content})


def model(name: str, fields: str, *says: str) -> Case:
    return run(name, f"{DATA}model: {{{fields}}}\n", *says)


def train(name: str, fields: str, *says: str) -> Case:
    return run(name, f"{DATA}{MODEL}}}\ntrain: {{{fields}}}\n", *says)


def data(name: str, fields: str, *says: str) -> Case:
    return run(name, f"{MODEL}}}\ndata: {{{fields}}}\n", *says)


CASES = [
    # --- files
    Case("no run file", "train nothing.yaml", ("cannot read nothing.yaml: No such file",), {}),
    Case("folder for a run file", "train .", ("cannot read .: Is a directory",), {}),
    Case("data for a run file", "train train.xyz", ("train.xyz",), {}),
    run(
        "much data for a run file", "a" * 1_000_001, "bad.yaml is no run file: it has more than 1000000 bytes"
    ),
    run("empty run file", "", "bad.yaml must hold sections such as 'model:', found NoneType"),
    run("list for a run file", "- model\n", "bad.yaml must hold sections such as 'model:', found list"),
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
    # --- the model
    model("misspelt field", "cutof: 5", "model has no field 'cutof'. Did you mean 'cutoff'?"),
    model("number for a field", "1: 5", "model has no field '1'"),
    model(
        "unknown preset", "preset: botnett", "model.preset = 'botnett' is not a preset. Did you mean 'botnet"
    ),
    model("list for a preset", "preset: [mace]", "model.preset = ['mace'] is not a preset"),
    model("misspelt choice", "radial_basis: besel", "model.radial_basis = 'besel'", "Did you mean 'bessel'?"),
    model("negative cutoff", "cutoff: -5", "model.cutoff = -5 cannot be used", "number (above 0)"),
    model("cutoff in words", "cutoff: far", "model.cutoff = 'far' cannot be used"),
    model("cutoff inf", "cutoff: .inf", "model.cutoff = inf cannot be used", "finite number"),
    model("truth for a number", "l_max: true", "model.l_max = true cannot be used", "at most 6"),
    model("half a layer", "num_layers: 1.5", "model.num_layers = 1.5 cannot be used", "integer"),
    model("absurd number of layers", "num_layers: 1000000", "model.num_layers = 1000000", "at most 8"),
    model("absurd basis", "num_radial: 1000000000000", "model.num_radial = 1000000000000", "at most"),
    model("absurd width", "radial_widths: [1000000000]", "model.radial_widths = [1000000000]", "at most"),
    model("no irreps", "hidden_irreps: ''", f"{IRREPS}''", "cannot be read"),
    model("irreps misspelt", "hidden_irreps: 8x0e + 8x1", f"{IRREPS}'8x0e + 8x1'", "'8x1' cannot be read"),
    model("an irrep twice", "hidden_irreps: 8x0e + 8x0e", f"{IRREPS}'8x0e + 8x0e': irrep 0e occurs twice"),
    model("no invariants", "hidden_irreps: 8x1o", f"{IRREPS}'8x1o' has no 0e", "nothing to read the energy"),
    model("irreps not reached", "hidden_irreps: 8x0e + 8x0o", "0o can never be reached with l_max = 3"),
    model("absurd degree", "hidden_irreps: 8x0e + 1x99999o", "99999o"),
    model("absurd channels", "hidden_irreps: 10000000000x0e", "10000000000x0e", "at most"),
    model("no element", "elements: [H, Q]", "model.elements: 'Q' is not a chemical symbol"),
    model("element twice", "elements: [H, H]", "model.elements names an element twice: H, H"),
    model("no E0", "energy_reference: given", "model.energy_reference = given needs isolated_energies"),
    model("E0 not used", "isolated_energies: {H: -13.6}", "are given, but energy_reference = isolated"),
    model(
        "E0 nan", "energy_reference: given, isolated_energies: {H: .nan}", "model.isolated_energies.H = nan"
    ),
    model("yes for a choice", "scale: no", "model.scale = false cannot be used", "Put it in quotes"),
    model("readout of one layer", "num_layers: 1, readout: every", "model.readout has no effect"),
    model("MLP without widths", "radial_widths: []", "model.radial_network = mlp needs radial_widths"),
    model("idle field", "preset: painn, radial_widths: [8]", "model.radial_widths has no effect"),
    model(
        "readout not reached", "readout_width: 0, readout_activation: tanh", "model.readout_activation has no"
    ),
    model("code not there", "radial_basis: no_such_package:B", "'no_such_package:B' cannot be imported"),
    model("no code", "radial_basis: 'math:pi'", "'math:pi' is not a class or function, but a float"),
    model("another's code", "radial_basis: 'os:getcwd'", "model.radial_basis = 'os:getcwd'"),
    model("polynomials trained", "radial_basis: legendre, trainable_radial: true", "has nothing to train"),
    model("too large a degree", "l_max: 7", "model.l_max = 7 cannot be used", "at least 0, at most 6"),
    model("too many bodies", "correlation: 5", "model.correlation = 5 cannot be used", "at most 4"),
    model("width of zero", "radial_widths: [8, 0]", "radial_widths = [8, 0]: every width must be at least 1"),
    model("half precision", "dtype: float16", "model.dtype = 'float16'", "Did you mean 'float64'?"),
    model("closed table", "nonlinearity: 'torch:relu'", "model.nonlinearity = 'torch:relu' is not a choice"),
    model(
        "E0 of no element", "energy_reference: given, isolated_energies: {Hh: -1}", "'Hh' is not a chemical"
    ),
    model("E0 missing", f"elements: [H, C], {GIVEN}: {{H: -1}}", "model.isolated_energies lacks C"),
    model("layer's self", "first_layer: {self_connection: none}", "set first_self_connection instead"),
    model("layer's cutoff", "first_layer: {cutoff: 3}", "first_layer: 'cutoff' cannot differ between layers"),
    model(
        "layer's choice", "first_layer: {nonlinearity: gte}", "'gte' is not a choice. Did you mean 'gate'?"
    ),
    model("layer's widths", "first_layer: {radial_widths: [true]}", "model.radial_widths = [true] cannot be"),
    # --- data
    data("no training file", "valid: 1", "data.train is missing"),
    data("number for a file", "train: 3", "data.train = 3 cannot be used", "list of text"),
    data("no file in the list", "train: []", "data.train is an empty list"),
    data("file and fraction", "train: train.xyz, valid: [train.xyz, 0.1]", "data.valid", "0.1"),
    data("fraction above one", "train: train.xyz, valid: 1.5", "data.valid = 1.5 is not allowed"),
    data("no fraction", "train: train.xyz, valid: 0", "data.valid = 0 is not allowed"),
    data(
        "seed of a file", "train: train.xyz, valid: train.xyz, seed: 1", "data.seed has no effect with valid"
    ),
    data(
        "unknown unit",
        "train: train.xyz, stress_unit: bar",
        "data.stress_unit = 'bar'",
        "Did you mean 'kbar'",
    ),
    data("one unit", "train: train.xyz, energy_unit: Hartree", "say in which unit the forces are, too"),
    data("truth for a file", "train: train.xyz, valid: true", "data.valid = true is not a file"),
    data("no validation file", "train: train.xyz, valid: []", "data.valid = () is not allowed"),
    data("misspelt unit", "train: a, energy_unit: kcal, forces_unit: eV/A", "Did you mean 'kcal/mol'?"),
    data("sign", "train: a, stress_sign: positive", "data.stress_sign = 'positive'", "compression, tension"),
    data("negative weight", "train: a, config_type_weights: {bulk: -1}", "bulk = -1.0 is not allowed"),
    data("negative seed", "train: a, seed: -1", "data.seed = -1 cannot be used"),
    # --- training
    train("batches of two kinds", "batch_size: 5, max_edges: 100", "both batch_size and max_edges"),
    train("nothing to learn", "energy_weight: 0, forces_weight: 0", "nothing would be learned"),
    train("misspelt optimizer", "optimizer: adm", "train.optimizer = 'adm'", "Did you mean 'adam'?"),
    train("misspelt logger", "loggers: [tensorbord]", "'tensorbord'", "Did you mean 'tensorboard'?"),
    train("one word for a list", "loggers: csv", "train.loggers = 'csv' cannot be used", "Write [csv]"),
    train("rates crossed", "learning_rate: 1e-8", "train.min_learning_rate = 1e-06 is above"),
    train("second stage missing", "second_stage_learning_rate: 1e-3", "without train.second_stage_start"),
    train("no epochs", "max_epochs: 0", "train.max_epochs = 0 cannot be used", "at least 1"),
    train("misspelt schedule", "schedule: cosin", "train.schedule = 'cosin'", "Did you mean 'cosine'?"),
    train("unknown loss", "forces_loss: l3", "train loss = 'l3' is not a choice"),
    train("decay of one", "ema_decay: 1.0", "train.ema_decay = 1.0 cannot be used", "below 1"),
    train("processes without a strategy", "devices: 2", "set train.strategy = ddp"),
    train("no model to start from", "start_from: nothing", "nothing: there is no such file"),
]
