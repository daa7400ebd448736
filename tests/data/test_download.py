"""Public data sets from a folder or a server on this machine; the network is never asked."""

import hashlib
import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from multiace.data import download as module
from multiace.data import rmd17
from multiace.data.download import DATA_SETS, download, git_blob
from multiace.data.read import read_frames
from multiace.errors import InputError

FILES = {"train.xyz": b"1\n\nH 0 0 0\n", "test.xyz": b"1\n\nO 0 0 0\n"}
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody answers


def blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    """A server of tmp_path/served; yields its address and folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.fixture(autouse=True)
def small_sets(monkeypatch):
    monkeypatch.delenv("MULTIACE_DATA", raising=False)
    monkeypatch.setattr(module, "BOTNET_DATASETS", NOWHERE)
    monkeypatch.setattr(module, "RMD17_ARCHIVES", (f"{NOWHERE}/a", f"{NOWHERE}/b"))
    monkeypatch.setitem(
        module.BOTNET_FOLDERS, "acac", ("dataset_acac", {name: blob(data) for name, data in FILES.items()})
    )


def put(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_git_blob_id_is_that_of_git(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert git_blob(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_files_come_from_the_network(tmp_path, server, monkeypatch):
    address, folder = server
    put(folder / "dataset_acac", FILES)
    monkeypatch.setattr(module, "BOTNET_DATASETS", address)
    paths = download("acac", tmp_path / "data")
    assert paths == [tmp_path / "data/acac/train.xyz", tmp_path / "data/acac/test.xyz"]
    assert [path.read_bytes() for path in paths] == list(FILES.values())
    assert sorted(path.name for path in (tmp_path / "data/acac").iterdir()) == ["test.xyz", "train.xyz"]


def test_files_that_are_there_are_kept(tmp_path):
    put(tmp_path / "data/acac", FILES)
    assert len(download("acac", tmp_path / "data")) == 2


def test_the_folder_of_the_environment_comes_first(tmp_path, monkeypatch):
    put(tmp_path / "mine/acac", FILES)
    monkeypatch.setenv("MULTIACE_DATA", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path)
    paths = download("acac")
    assert [path.read_bytes() for path in paths] == list(FILES.values())
    assert (tmp_path / "data/acac/train.xyz").exists()


def test_without_a_network_what_is_missing_is_named(tmp_path, monkeypatch):
    put(tmp_path / "mine/acac", {"train.xyz": FILES["train.xyz"]})
    monkeypatch.setenv("MULTIACE_DATA", str(tmp_path / "mine"))
    with pytest.warns(UserWarning, match=r"test\.xyz could not be downloaded"):
        paths = download("acac", tmp_path / "data")
    assert [path.name for path in paths] == ["train.xyz"]


@pytest.mark.parametrize("name", ["acac", "rmd17"])
def test_without_a_network_the_error_says_what_to_do(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name} cannot be downloaded.*127.0.0.1.*set MULTIACE_DATA"):
        download(name, tmp_path)
    assert not (tmp_path / name).exists()


def test_an_answer_that_is_an_error_is_told(tmp_path, server, monkeypatch):
    monkeypatch.setattr(module, "BOTNET_DATASETS", server[0])
    with pytest.raises(InputError, match="answers 404"):
        download("acac", tmp_path / "data")


def test_another_file_than_the_published_one_is_refused(tmp_path, server, monkeypatch):
    address, folder = server
    put(folder / "dataset_acac", {name: content + b"!" for name, content in FILES.items()})
    monkeypatch.setattr(module, "BOTNET_DATASETS", address)
    with pytest.raises(InputError, match="is not the published file"):
        download("acac", tmp_path / "data")
    assert not (tmp_path / "data/acac").exists()
    put(tmp_path / "mine/acac", {"train.xyz": b"changed"})
    monkeypatch.setenv("MULTIACE_DATA", str(tmp_path / "mine"))
    with pytest.raises(InputError, match=r"mine/acac/train\.xyz is not the published file"):
        download("acac", tmp_path / "data")


def test_a_changed_file_is_not_overwritten(tmp_path, monkeypatch):
    put(tmp_path / "mine/acac", FILES)
    put(tmp_path / "data/acac", {"train.xyz": b"changed"})
    monkeypatch.setenv("MULTIACE_DATA", str(tmp_path / "mine"))
    with pytest.raises(InputError, match=r"data/acac/train\.xyz is not the published file"):
        download("acac", tmp_path / "data")
    assert (tmp_path / "data/acac/train.xyz").read_bytes() == b"changed"


def test_an_unknown_set_is_refused():
    with pytest.raises(InputError, match="Did you mean 'ethanol'"):
        download("ethanole")
    assert DATA_SETS == ("acac", "ethanol", "3bpa", "rmd17")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        download("acac", tmp_path / "file")


def rmd17_archive(path, number=30):
    """An archive of the published layout; molecules are chains of H and O, energies the index."""
    random = np.random.default_rng(0)
    indices = {"train": random.permutation(number)[:4], "test": random.permutation(number)[:6]}
    with tarfile.open(path, "w:bz2") as archive:

        def add(name, content):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        for molecule in rmd17.MOLECULES:
            count = number - 12 * (molecule == "azobenzene")
            buffer = io.BytesIO()
            np.savez(
                buffer,
                nuclear_charges=np.array([1, 8]),
                coords=random.normal(size=(count, 2, 3)),
                energies=np.arange(count, dtype=float),
                forces=np.ones((count, 2, 3)),
            )
            add(f"rmd17/npz_data/rmd17_{molecule}.npz", buffer.getvalue())
        for part, chosen in indices.items():
            add(f"rmd17/splits/index_{part}_01.csv", "\n".join(map(str, chosen)).encode())
        add("rmd17/readme.txt", b"units: kcal/mol")
    return indices


@pytest.mark.parametrize("source", ["network", "environment"])
def test_rmd17_is_converted_to_ev(tmp_path, server, monkeypatch, source):
    address, folder = server
    archive = folder / "rmd17" / rmd17.ARCHIVE
    archive.parent.mkdir()
    indices = rmd17_archive(archive)
    monkeypatch.setattr(module, "RMD17_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    if source == "network":
        monkeypatch.setattr(module, "RMD17_ARCHIVES", (f"{NOWHERE}/a", f"{address}/rmd17/{rmd17.ARCHIVE}"))
    else:
        monkeypatch.setenv("MULTIACE_DATA", str(folder))
    paths = download("rmd17", tmp_path / "data")
    assert len(paths) == 20
    frames = read_frames(tmp_path / "data/rmd17/ethanol_train_01.xyz")
    kcal_mol = 0.04336411
    assert [frame.energy for frame in frames] == pytest.approx(indices["train"] * kcal_mol, rel=1e-6)
    np.testing.assert_allclose(frames[0].forces, kcal_mol, rtol=1e-6)
    assert frames[0].atoms.get_chemical_formula() == "HO"
    azobenzene = read_frames(tmp_path / "data/rmd17/azobenzene_test_01.xyz")
    assert len(azobenzene) == sum(indices["test"] < 18)
    monkeypatch.setattr(module, "RMD17_ARCHIVES", ())
    assert download("rmd17", tmp_path / "data") == paths


def test_shared_files_are_the_published_ones(reference_data, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("MULTIACE_DATA", str(reference_data))
    monkeypatch.setattr(module, "BOTNET_DATASETS", NOWHERE)
    with pytest.warns(UserWarning, match="could not be downloaded"):
        paths = download("3bpa", tmp_path)
    assert {path.name for path in paths} == {"README.md", "iso_atoms.xyz", "train_300K.xyz"}
