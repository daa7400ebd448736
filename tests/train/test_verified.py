"""The final model is verified, and its file keeps what was found."""

from multiace import fit, load
from multiace.cli import main


def test_training_verifies_the_model_and_keeps_what_it_found(run, tmp_path, capsys):
    fit(run(files=("clusters.xyz", "crystals.xyz"), verify=True, max_epochs=1), tmp_path / "verified")
    metadata = load(tmp_path / "verified/model.safetensors").metadata
    assert metadata["verification"]["checks"]["rotation"]["status"] == "pass"
    assert metadata["verification"]["structures"] == ["AlCu3", "Cu4"]
    capsys.readouterr()
    assert main(["info", str(tmp_path / "verified")]) == 0
    assert "permutation" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "verified"), "--check", "stress"]) == 0
    assert "from its training set" in " ".join(capsys.readouterr().out.split())


def test_training_without_verification_keeps_nothing(run, tmp_path):
    potential = fit(run(verify=False, max_epochs=1), tmp_path / "plain")
    assert not {"verification", "structures"} & set(potential.metadata)
