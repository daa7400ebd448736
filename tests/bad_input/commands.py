"""Command lines that cannot be used."""

from tests.bad_input.case import Case

EVALUATE = "evaluate model.safetensors train.xyz"
MD = "md model.safetensors water.xyz"
RELAX = "relax model.safetensors water.xyz"


def line(command: str, *says: str) -> Case:
    return Case(command or "nothing", command, says, {})


CASES = [
    line("", "COMMAND"),
    line("trian run.yaml", "'trian'", "train"),
    line("train", "run"),
    line("train run.yaml --fodler x", "unrecognized arguments: --fodler"),
    line("train run.yaml --folder x --colour=red", "unrecognized arguments: --colour=red"),
    line("train run.yaml surplus", "override 'surplus' cannot be read; write section.field=value"),
    line("train run.yaml max_epochs=1", "override 'max_epochs=1' cannot be read"),
    line("train run.yaml --folder x surplus", "unrecognized arguments: surplus"),
    line("train run.yaml trian.max_epochs=1", "no section 'trian'. Did you mean 'train'?"),
    line("train run.yaml train.max_epoch=1", "train has no field 'max_epoch'. Did you mean 'max_epochs'?"),
    line("train run.yaml train.max_epochs=many", "train.max_epochs = 'many' cannot be used"),
    line("train run.yaml train.seed=1 train.seed=2", "'train.seed=1' and 'train.seed=2' give the same field"),
    line("train run.yaml 'model.elements=[H'", "override 'model.elements=[H' is not valid YAML"),
    line("train run.yaml train.device=gpu", "train.device = 'gpu' is not a choice"),
    line("train run.yaml train.strategy=ddp train.devices=0", "train.devices = 0 cannot be used"),
    line("train run.yaml --folder water.xyz", "water.xyz"),
    line("evaluate model.safetensors", "FILE"),
    line("evaluate nothing.safetensors train.xyz", "nothing.safetensors: there is no such file"),
    line("evaluate train.xyz train.xyz", "train.xyz: it is not a multiace model file"),
    line("evaluate runs train.xyz", "runs/model.safetensors: there is no such file"),
    line("evaluate model.safetensors model.safetensors", "model.safetensors is empty, or of no format"),
    line(f"{EVALUATE} --energy-key TotEnergy", "no structure of train.xyz has 'TotEnergy'", "energy, forces"),
    line(f"{EVALUATE} --energy-unit Ry", "data.energy_unit = 'Ry' is not a known unit"),
    line(f"{EVALUATE} --max-edges few", "--max-edges", "'few'"),
    line(f"{EVALUATE} --max-edges -1", "max_edges = -1 cannot be used"),
    line(f"{EVALUATE} --dtype half", "--dtype", "'half'"),
    line(f"{EVALUATE} --device nowhere", "device 'nowhere' cannot be used"),
    line(f"{EVALUATE} --out .", ". is a folder; give the name of a file in it"),
    line(f"{EVALUATE} --json water.xyz/m.json", "water.xyz/m.json cannot be written", "is no folder"),
    line(f"{MD} --timestep -1", "md.timestep = '-1' cannot be used. Allowed: number (above 0)"),
    line(f"{MD} --timestep fast", "md.timestep = 'fast' cannot be used"),
    line(f"{MD} --steps 1.5", "md.steps = '1.5' cannot be used"),
    line(f"{MD} --steps 10 --time 1", "md.time = 1 and md.steps = 10: give one of them"),
    line(f"{MD} --ensemble npt", "md.ensemble = 'npt' is not a choice"),
    line(f"{MD} --velocities keep --ensemble langevin", "the structure has no momenta"),
    line(f"{MD} --skin -1", "skin", "-1"),
    line(f"{MD} --skin nan", "skin", "nan"),
    line(f"{MD} --skin wide", "--skin", "'wide'"),
    line(f"{MD} --radial spline", "radial", "'spline'"),
    line(f"{MD} --trajectory .", ". is a folder; give the name of a file in it"),
    line(f"{MD} --stepz 3", "unrecognized arguments: --stepz 3"),
    line(f"{MD} --temp 3", "unrecognized arguments: --temp 3"),
    line("md model.safetensors train.xyz", "train.xyz holds 4 structures", "train.xyz@0"),
    line("md model.safetensors copper.xyz", "copper.xyz", "element Cu of Cu2 is not among"),
    line(f"{RELAX} --cell", "relax.cell = true needs a structure periodic in three directions"),
    line(f"{RELAX} --optimizer newton", "relax.optimizer = 'newton' is not a choice"),
    line(f"{RELAX} --fmax 0", "relax.fmax = '0' cannot be used"),
    line(f"{RELAX} --out water.xyz/r.xyz", "water.xyz/r.xyz cannot be written", "is no folder"),
    line(f"{RELAX} --out r.nothing", "r.nothing is of no format that ASE writes"),
    line("info", "model"),
    line("info model.safetensors model.cutoff=4", "unrecognized arguments: model.cutoff=4"),
    line("report runs", "runs/config.yaml"),
    line("report nothing", "nothing/config.yaml"),
    line("explain lerning_rate", "learning_rate"),
    line("import", "CODE"),
    line("import botnet a.json b.npz -o c.safetensors", "a.json"),
    line("import botnet a.json b.npz -o .", ". is a folder; give the name of a file in it"),
    line("report runs --out water.xyz/r.html", "water.xyz/r.html cannot be written"),
    line("import botnet water.xyz b.npz -o c.safetensors", "water.xyz is not valid JSON"),
    line("import pace nothing.yace -o c.safetensors", "cannot read nothing.yace"),
    line("import pace water.xyz -o c.safetensors", "water.xyz is no .yace file"),
    line(
        "export model.safetensors a.yace",
        "a .yace file has no place for this model: it needs channel_coupling",
    ),
    line("export model.safetensors a.txt", "a.txt must end in .yace"),
    line("export nothing a.yace", "nothing"),
    line("data", "ACTION"),
    line("data get acacia", "'acacia'", "acac"),
]
