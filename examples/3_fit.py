"""Fit a potential from Python and measure its errors; the same as `multiace train examples/3_fit.yaml`."""

from pathlib import Path

from multiace import RunConfig, evaluate, fit

HERE = Path(__file__).parent

# A run has three sections. Fields can be changed as on the command line.
run = RunConfig.read(HERE / "3_fit.yaml", ["train.learning_rate=0.02"])
print(f"{run.model.num_layers} layers, features {run.model.hidden_irreps}, trained on {run.data.train[0]}")

# Everything goes into the run folder. Run this script twice: the second time the model is there already.
potential = fit(run, "runs/examples/3_fit")

result = evaluate(potential, HERE / "data/malonaldehyde/test_300K.xyz")
forces, energy = result.metrics["forces"], result.metrics["energy_per_atom"]
print(f"test at 300 K: force RMSE {forces['rmse']:.0f} meV/Å, energy RMSE {energy['rmse']:.1f} meV/atom")
