"""The final model is verified; its file keeps what was found, the run folder on what."""

import ase.io

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
    for model in ("verified", "verified/model.safetensors"):
        assert main(["verify", str(tmp_path / model), "--check", "stress"]) == 0
        assert "verified.xyz, from the training set" in " ".join(capsys.readouterr().out.split())


def test_a_model_file_has_no_structure_of_the_training_set(run, data, tmp_path):
    fit(run(verify=True, max_epochs=1), tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    position = str(ase.io.read(data / "clusters.xyz").positions[1, 0])[:6].encode()
    assert position in (data / "clusters.xyz").read_bytes()
    assert position not in content
    assert {"symbols", "positions", "structures"}.isdisjoint(load(tmp_path / "model.safetensors").metadata)


def test_training_without_verification_keeps_nothing(run, tmp_path):
    potential = fit(run(verify=False, max_epochs=1), tmp_path / "plain")
    assert "verification" not in potential.metadata
    assert not (tmp_path / "plain/verified.xyz").exists()
