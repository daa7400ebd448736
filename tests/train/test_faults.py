"""What can go wrong with a run ends in a sentence, and the run goes on as if it had not happened."""

import csv
import ctypes
import json
import os
import resource
import signal
from contextlib import contextmanager

import pytest
import torch

from multiace.cli import main
from multiace.errors import InputError, Interrupted
from multiace.evaluation import evaluate
from multiace.model.potential import Potential
from multiace.train import prepare
from multiace.train.checkpoint import Checkpoint, newest_first
from multiace.train.loop import Training, fit
from multiace.train.step import Step


def weights(potential):
    return torch.cat([parameter.detach().reshape(-1) for parameter in potential.parameters()])


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def at_step(monkeypatch, number, act, times=1):
    """Do something after step ``number`` (counted from 0) of a training, the first times that it comes by."""
    step, left = Training.step, [None] * times

    def changed(self, *arguments):
        totals = step(self, *arguments)
        if self.state.step == number + 1 and left:
            left.pop()
            act(self)
        return totals

    monkeypatch.setattr(Training, "step", changed)


# --- disks ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(capsys):
    """Return a function that lets files end in the middle, as a full disk does; capsys keeps stdout off it."""
    yield lambda size: limit_files(size)
    limit_files(resource.RLIM_INFINITY)


def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize(
    ("size", "file"), [(3000, r"\.safetensors"), (300, "tensorboard")], ids=["checkpoint", "curve"]
)
def test_a_run_out_of_room_goes_on_from_its_last_checkpoint(
    run, tmp_path, monkeypatch, small_disk, size, file
):
    config = run(max_epochs=4, loggers=["tensorboard"] if file == "tensorboard" else ["csv"])
    whole = fit(config, tmp_path / "whole")
    log = Training.log
    if file == "tensorboard":  # once the model of the epoch is written
        monkeypatch.setattr(
            Training,
            "log",
            lambda self, *row: (small_disk(size) if self.state.epoch == 3 else None, log(self, *row)),
        )
    else:
        at_step(monkeypatch, 7, lambda training: small_disk(size))
    with pytest.raises(InputError, match=rf"cannot write to .*{file}.*: File too large; raise the limit"):
        fit(config, tmp_path / "cut")
    limit_files(resource.RLIM_INFINITY)
    monkeypatch.undo()
    assert torch.equal(weights(fit(config, tmp_path / "cut")), weights(whole))
    assert "continuing after epoch 2" in (tmp_path / "cut" / "train.log").read_text()
    if file != "tensorboard":
        assert [row["epoch"] for row in rows(tmp_path / "cut")] == ["1", "2", "3", "4"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_log_without_room_stops_the_run(run, tmp_path):
    (tmp_path / "train.log").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"train\.log: No space left on device; make room on the disk"):
        fit(run(), tmp_path)


def test_a_log_that_cannot_be_written_stops_the_run(run, tmp_path):
    (tmp_path / "train.log").mkdir()
    with pytest.raises(InputError, match=r"train\.log: Is a directory; choose a place"):
        fit(run(), tmp_path)


libc = ctypes.CDLL(None)


@contextmanager
def modes_obeyed():
    """Let root, too, obey the modes of files: take CAP_DAC_OVERRIDE (bit 1) out of the effective set."""
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] &= ~2
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0


@pytest.mark.skipif(not hasattr(libc, "capset"), reason="there are no capabilities to take from root")
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_written_is_refused(run, tmp_path, there):
    place = tmp_path / "run" if not there else tmp_path
    tmp_path.chmod(0o555)
    try:
        with (
            modes_obeyed(),
            pytest.raises(InputError, match=r"cannot write to .*: Permission denied; choose a place"),
        ):
            fit(run(), place)
    finally:
        tmp_path.chmod(0o755)


# --- signals ----------------------------------------------------------------------------------------------


def raised(*signals):
    return lambda training: [os.kill(os.getpid(), number) for number in signals]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [4, 5])  # in the middle of an epoch, and before its validation
def test_a_signal_saves_the_batch_and_the_run_ends_with_the_bits_of_the_whole_run(
    run, tmp_path, monkeypatch, number, step
):
    config = run(max_epochs=4)
    whole = fit(config, tmp_path / "whole")
    at_step(monkeypatch, step, raised(number))
    with pytest.raises(
        Interrupted, match=rf"state after {step - 2} batches of epoch 2 is saved"
    ) as interrupt:
        fit(config, tmp_path / "cut")
    assert interrupt.value.status == 128 + number
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
    assert Checkpoint.load(newest_first(tmp_path / "cut" / "checkpoints")[0]).state["step"] == step + 1
    assert torch.equal(weights(fit(config, tmp_path / "cut")), weights(whole))
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "cut"), strict=True):
        times = {"seconds": "", "core_seconds": ""}
        assert one | times == other | times


def test_a_signal_during_validation_saves_the_weights_and_not_their_average(run, tmp_path, monkeypatch):
    config = run(max_epochs=3)
    whole = fit(config, tmp_path / "whole")
    averaged = Training.averaged

    def interrupted(self):
        if self.state.epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return averaged(self)

    monkeypatch.setattr(Training, "averaged", interrupted)
    with pytest.raises(Interrupted, match="state after 3 batches of epoch 2"):
        fit(config, tmp_path / "cut")
    monkeypatch.undo()
    assert torch.equal(weights(fit(config, tmp_path / "cut")), weights(whole))


def test_the_second_ctrl_c_stops_at_once_and_a_second_sigterm_does_not(run, tmp_path, monkeypatch):
    at_step(monkeypatch, 4, raised(signal.SIGTERM, signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit(run(max_epochs=3), tmp_path)
    saved = newest_first(tmp_path / "checkpoints")
    at_step(monkeypatch, 6, raised(signal.SIGINT, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="at once") as interrupt:
        fit(run(max_epochs=3), tmp_path)
    assert not isinstance(interrupt.value, Interrupted)
    assert set(newest_first(tmp_path / "checkpoints")) - set(saved) == {
        tmp_path / "checkpoints/step-000000006.safetensors"
    }


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_status_is_that_of_the_signal(run, tmp_path, monkeypatch, capsys, number, status):
    (tmp_path / "run.yaml").write_text(run().to_yaml())
    at_step(monkeypatch, 1, raised(number))
    assert main(["train", str(tmp_path / "run.yaml"), "--folder", str(tmp_path / "run")]) == status
    assert "the same command goes on from there" in capsys.readouterr().err


# --- files that change ------------------------------------------------------------------------------------


@pytest.fixture
def copied(run, data, tmp_path):
    """A run of a data file of its own, and the file."""
    copy = data / f"{tmp_path.name}.xyz"
    copy.write_bytes((data / "clusters.xyz").read_bytes())
    yield lambda **options: run(files=[copy.name], **options), copy
    copy.unlink()


def test_a_data_file_that_changes_during_a_run_is_told_once(copied, tmp_path, monkeypatch):
    config, copy = copied
    at_step(monkeypatch, 1, lambda training: copy.write_text(copy.read_text().replace("atoms4", "atoms5")))
    fit(config(max_epochs=3), tmp_path)
    assert (tmp_path / "train.log").read_text().count(f"warning: {copy} has changed since it was read") == 1


def test_a_data_file_that_is_touched_and_not_changed_is_the_same(copied, tmp_path, monkeypatch):
    config, copy = copied
    at_step(monkeypatch, 1, lambda training: os.utime(copy))
    fit(config(max_epochs=2), tmp_path)
    assert "has changed" not in (tmp_path / "train.log").read_text()


def test_a_data_file_that_changes_while_it_is_read_is_refused(copied, tmp_path, monkeypatch):
    config, copy = copied
    read = prepare.read_data

    def slowly(*arguments):
        data = read(*arguments)
        copy.write_text(copy.read_text() + "\n")
        return data

    monkeypatch.setattr(prepare, "read_data", slowly)
    with pytest.raises(InputError, match=r"has changed while it was read; start again"):
        fit(config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- forks ------------------------------------------------------------------------------------------------


def test_a_fork_goes_on_under_another_config_and_says_so(run, tmp_path, capsys):
    fit(run(max_epochs=2, schedule="constant"), tmp_path)
    changed = run(max_epochs=4, schedule="constant", learning_rate=0.002)
    (tmp_path / "run.yaml").write_text(changed.to_yaml())
    command = ["train", str(tmp_path / "run.yaml"), "--folder", str(tmp_path)]
    assert main(command) == 2
    assert "train.learning_rate = 0.01, now it is 0.002; " in (said := capsys.readouterr().err)
    assert "--fork" in said
    assert main([*command, "--fork"]) == 0
    assert [float(row["learning_rate"]) for row in rows(tmp_path)] == [0.01, 0.01, 0.002, 0.002]
    forks = Potential.load(tmp_path / "model.safetensors").metadata["provenance"]["forks"]
    assert forks == [
        {"epoch": 2, "changes": {"train.max_epochs": [2, 4], "train.learning_rate": [0.01, 0.002]}}
    ]
    assert main([*command, "--fork"]) == 0
    assert main(command) == 0
    assert len(rows(tmp_path)) == 4


def test_a_fork_that_is_interrupted_before_its_first_checkpoint_is_the_same_fork(run, tmp_path, monkeypatch):
    first = run(max_epochs=2)
    changed = run(max_epochs=4, energy_weight=20.0, optimizer="adamw", ema_decay=0.0)
    for name in ("whole", "cut"):
        fit(first, tmp_path / name)
    whole = fit(changed, tmp_path / "whole", fork=True)

    def fail(training):
        raise RuntimeError("as if killed")

    at_step(monkeypatch, 7, fail)
    with pytest.raises(RuntimeError, match="as if killed"):
        fit(changed, tmp_path / "cut", fork=True)
    assert torch.equal(weights(fit(changed, tmp_path / "cut", fork=True)), weights(whole))
    summary = json.loads((tmp_path / "cut" / "summary.json").read_text())
    assert len(summary["forks"]) == 1
    assert summary["best_epoch"] > 2  # losses of other weights do not compare


def test_a_fork_keeps_the_model(run, tmp_path):
    fit(run(max_epochs=1), tmp_path)
    with pytest.raises(
        InputError, match=r"--fork keeps the model, of which model\.cutoff would make another"
    ):
        fit(run(max_epochs=1, model={"cutoff": 4.5}), tmp_path, fork=True)


def test_a_fork_on_other_data_keeps_what_belongs_to_the_weights(copied, tmp_path, monkeypatch):
    config, copy = copied
    at_step(monkeypatch, 4, raised(signal.SIGINT))
    with pytest.raises(Interrupted):
        fit(config(max_epochs=2), tmp_path)
    before = Potential.load(tmp_path / "checkpoints" / "best.safetensors")
    text = copy.read_text()
    copy.write_text(text + text.replace("energy=", "energy=1"))
    with pytest.raises(InputError, match=r"has changed since the last checkpoint .*--fork"):
        fit(config(max_epochs=2), tmp_path)
    after = fit(config(max_epochs=2), tmp_path, fork=True)
    assert torch.equal(after.isolated_energies, before.isolated_energies)
    assert torch.equal(after.scale, before.scale)


# --- numbers ----------------------------------------------------------------------------------------------


def spoil(factor):
    return lambda training: training.flat.vector.mul_(factor)


def finite(folder):
    for path in folder.rglob("*.safetensors"):
        if path.name.startswith("step"):
            vectors = Checkpoint.load(path).vectors.values()
        else:
            vectors = Potential.load(path).state_dict().values()
        assert all(vector.isfinite().all() for vector in vectors)


@pytest.mark.parametrize(
    ("step", "factor", "says"),
    [
        (4, float("nan"), "the loss is not a number in epoch 2"),
        (5, float("nan"), "the loss is finite, but weights or moments are not in epoch 2"),  # averaged before
        (4, 3.0, "the loss has exploded to .* at first, in epoch 2"),
    ],
)
def test_a_loss_that_explodes_stops_the_run_and_spoils_no_file(
    run, tmp_path, monkeypatch, step, factor, says
):
    at_step(monkeypatch, step, spoil(factor))
    with pytest.raises(InputError, match=rf"{says}, at learning rate 0\.01; lower train\.learning_rate"):
        fit(run(max_epochs=3, divergence_limit=10), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    finite(tmp_path)


def test_moments_that_are_not_finite_are_not_saved(run, tmp_path, monkeypatch):
    def overflow(training):
        next(iter(training.optimizer.state.values()))["exp_avg_sq"].fill_(float("inf"))

    at_step(monkeypatch, 5, overflow)
    with pytest.raises(InputError, match="the loss is finite, but weights or moments are not in epoch"):
        fit(run(max_epochs=3), tmp_path)
    finite(tmp_path)


@pytest.mark.parametrize("step", [1, 7])  # before the first checkpoint, and after
def test_a_loss_that_explodes_sends_training_back_with_half_of_the_rate(run, tmp_path, monkeypatch, step):
    at_step(monkeypatch, step, spoil(float("nan")), times=2)
    fit(run(max_epochs=4, schedule="constant", divergence_retries=2), tmp_path)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]
    good = step // 3
    assert [float(row["learning_rate"]) for row in rows(tmp_path)] == [0.01] * good + [0.0025] * (4 - good)
    assert f"back to epoch {good}, with half of the rate" in (tmp_path / "train.log").read_text()
    finite(tmp_path)


def test_training_is_sent_back_no_more_often_than_configured(run, tmp_path, monkeypatch):
    at_step(monkeypatch, 7, spoil(float("nan")), times=2)
    with pytest.raises(InputError, match=r"at learning rate 0\.005; .* raise train\.divergence_retries = 1"):
        fit(run(max_epochs=4, divergence_retries=1), tmp_path)


def out_of_memory(kind):
    if kind == "CPU":
        torch.empty(2**60, dtype=torch.uint8)
    raise {"GPU": torch.OutOfMemoryError, "numpy": MemoryError}[kind]("cannot allocate")


@pytest.mark.parametrize("kind", ["CPU", "GPU", "numpy"])
def test_a_batch_that_does_not_fit_into_the_memory_is_named(run, tmp_path, monkeypatch, kind):
    step = Step.fit

    def hungry(self, batch, *others):
        return step(self, batch, *others) if 3 not in batch.indices else out_of_memory(kind)

    monkeypatch.setattr(Step, "fit", hungry)
    says = (
        r"out of memory in epoch 1, batch \d of 3: 4 structures with \d+ atoms and \d+ edges, the largest "
        r".*clusters\.xyz.* with 5 atoms; lower train\.batch_size, or set train\.max_edges in its place"
    )
    with pytest.raises(InputError, match=says):
        fit(run(), tmp_path)


def test_a_validation_that_does_not_fit_into_the_memory_is_named(run, tmp_path, monkeypatch):
    forward = Potential.forward

    def hungry(self, *arguments, **options):
        return forward(self, *arguments, **options) if options.get("create_graph") else out_of_memory("CPU")

    monkeypatch.setattr(Potential, "forward", hungry)
    with pytest.raises(InputError, match="out of memory in the validation of epoch 1: 4 structures"):
        fit(run(), tmp_path)


def test_an_evaluation_that_does_not_fit_into_the_memory_is_told(run, data, tmp_path, monkeypatch):
    potential = fit(run(max_epochs=1), tmp_path)
    monkeypatch.setattr(Potential, "forward", lambda *_, **__: out_of_memory("CPU"))
    with pytest.raises(
        InputError, match=r"out of memory in the evaluation: 6 structures .* \(--max-edges\), or take"
    ):
        evaluate(potential, data / "test.xyz")


def test_other_errors_of_a_batch_are_not_taken_for_a_lack_of_memory(run, tmp_path, monkeypatch):
    def fail(training):
        raise RuntimeError("shapes do not match")

    at_step(monkeypatch, 0, fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(run(), tmp_path)


def test_a_best_model_that_is_damaged_is_replaced_and_told(run, tmp_path, monkeypatch):
    at_step(monkeypatch, 7, raised(signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit(run(max_epochs=3), tmp_path)
    best = tmp_path / "checkpoints" / "best.safetensors"
    content = bytearray(best.read_bytes())
    content[-8] ^= 1  # the last bit of a weight
    best.write_bytes(content)
    potential = fit(run(max_epochs=3), tmp_path)
    assert "is damaged or gone; that of epoch 2 takes its place" in (tmp_path / "train.log").read_text()
    assert weights(potential).isfinite().all()
