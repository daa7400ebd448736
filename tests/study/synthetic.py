"""Studies with results that nobody trained: errors of structures are drawn, effects are planted."""

from __future__ import annotations

import json

import numpy as np

from multiace.study.config import StudyConfig
from multiace.study.frame_errors import FILE, FrameErrors
from multiace.study.plan import plan
from multiace.study.store import Store

BASE = {
    "model": {"preset": "botnet-small", "cutoff": 4.0},
    "data": {"train": "train.xyz", "valid": 0.1, "test": ["near.xyz", "far.xyz"]},
    "train": {"max_epochs": 30},
}
GATE = {"model.nonlinearity": ["none", "gate"]}
REFERENCE = {
    "reference": {
        "<b>E0</b> & 100% of_it $": {"model.scale": "none", "model.shift": "none"},
        "mean": {"model.scale": "none", "model.shift": "mean"},
    }
}
GRID = {"axes": GATE | REFERENCE}
ALONE = {"axes": {"model.correlation": [2, 3], "model.nonlinearity": ["gate"]}, "design": "one_at_a_time"}
PATH = {
    "axes": {"model.nonlinearity": ["gate"], "model.correlation": [2], "model.l_max": [3]},
    "design": "path",
}
PLANTED = {"gate": 0.7, "mean": 1.02, "2": 0.8, "3": 1.3}
"""Factors of errors, by the label of a value."""

N = {"near.xyz": 60, "far.xyz": 40}


def write_study(folder, design=None, seeds=(1, 2, 3), battery=True, structures=True, factors=PLANTED):
    """Make a study whose runs are all done; return its store."""
    sections = {"base": BASE, "seeds": list(seeds), **(design or GRID)}
    store = Store(folder)
    runs = plan(StudyConfig.from_dict(sections)).runs
    store.add(runs)
    for number, run in enumerate(runs):
        factor = float(np.prod([factors.get(label, 1.0) for label in run.point.labels.values()]))
        place = store.folder / run.name
        place.mkdir(parents=True)
        (place / "config.yaml").write_text(run.config.to_yaml())
        store.done(run.name, results(run, factor, number, place, battery, structures))
    return store


def results(run, factor, number, place, battery, structures):
    """Of one run."""
    rng = np.random.default_rng(1000 * run.seed + number)
    of_seed = np.random.default_rng(run.seed).normal(scale=0.03)  # the same for all points
    size = 0.05 * factor * np.exp(of_seed + rng.normal(scale=0.01))
    errors, arrays = {}, {}
    for name, n in N.items():
        hardness = np.random.default_rng(n).gamma(2.0, 0.5, n) * (
            1 if name == "near.xyz" else 3
        )  # of structures
        errors[name] = {}
        for quantity, components, scale in (("energy", 1, 1.0), ("forces", 27, 0.5)):
            drawn = rng.normal(size=(n, components)) * scale * size * hardness[:, None]
            of = FrameErrors.of(list(drawn))
            mae = of.absolute.sum() / of.count.sum()
            errors[name][quantity] = {"rmse": 1e3 * of.rmse, "mae": 1e3 * mae, "count": int(of.count.sum())}
            for part in ("absolute", "squared", "count"):
                for known in (name, name.removesuffix(".xyz")):  # as a set of the battery it has its own name
                    arrays[f"{known}|{quantity}|{part}"] = getattr(of, part)
    if structures:
        np.savez_compressed(place / FILE, **arrays)
    lines = ["step,epoch,seconds,valid_forces_rmse,valid_energy_per_atom_rmse"]
    lines += [f"{e},{e},{e},{1e3 * size * (1 + 20 / e)},{100 * size * (1 + 9 / e)}" for e in range(1, 31)]
    (place / "metrics.csv").write_text("\n".join(lines) + "\n")
    (place / "summary.json").write_text(json.dumps({"errors": errors}))
    seen = {name: {"forces": {"rmse": 30.0, "mae": 20.0}} for name in ("train", "valid")}
    kept = {"errors": {**seen, **errors}, "parameters": int(1e4 / factor), "seconds": 60.0 + number}
    kept |= {"epoch": 30, "best_epoch": 29}
    return kept | ({"battery": battery_of(errors, size, rng, factor)} if battery else {})


def battery_of(errors, size, rng, factor):
    """What a battery would have found."""
    x = np.linspace(0, 180, 19)
    reference = 0.2 * (1 - np.cos(np.deg2rad(2 * x)))
    distance = np.linspace(0.6, 3.0, 25)
    wrong = size * np.sin(np.deg2rad(5 * x)) + rng.normal(scale=0.002, size=x.size)
    scores = {
        "rmse": 1e3 * float((wrong**2).mean() ** 0.5),
        "barrier_error": -1e3 * size,
        "spurious_extrema": 2,
    }
    curve = {"domain": "out", "coordinate": x.tolist(), "coordinate_name": "dihedral_angle"}
    curve |= {"reference": reference.tolist(), "predicted": (reference + wrong).tolist()}
    sets = {
        name.removesuffix(".xyz"): {"domain": domain, "file": name, "frames": N[name], "errors": errors[name]}
        for name, domain in (("near.xyz", "in"), ("far.xyz", "out"))
    }
    energy = (size / distance**6 - 1 / distance**3).tolist()
    scores_of_pair = {"repulsive": True, "lowest": -1.0, "extrema": 1, "hole": 0.1 * size}
    dynamics = {"temperature": 500, "time": 2.0, "replicas": [], "survived": 1.5, "bond_error": size}
    return {
        "battery": "own",
        "sets": sets,
        "curves": {"dihedral": curve | {"scores": scores}},
        "dimers": {"C-H": {"distance": distance.tolist(), "energy": energy, "scores": scores_of_pair}},
        "dynamics": {"500 K": dynamics},
        "cost": {"parameters": int(1e4 / factor), "microseconds_per_atom": 10.0 / factor, "threads": 1},
        "absent": ["gone.xyz"],
        "skipped": {"hot": "it has no <label>."},
    }
