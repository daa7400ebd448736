"""Public data sets: from ``$MULTIACE_DATA`` or the network, verified, into a folder."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from multiace.data import rmd17
from multiace.errors import InputError, did_you_mean

__all__ = ["DATA_SETS", "download"]

TIMEOUT = 30  # [s] without an answer
CHUNK = 1 << 18  # [bytes] between two updates of the progress bar

BOTNET_DATASETS = (
    "https://raw.githubusercontent.com/davkovacs/BOTNet-datasets/29e6d467317e4b5967b7ea5cbee54de953fa0d45"
)
"""The repository of acac, ethanol and 3bpa at one commit."""

RMD17_ARCHIVES = (
    "https://figshare.com/ndownloader/files/23950376",
    "https://archive.materialscloud.org/records/pfffs-fff86/files/rmd17.tar.bz2",
)
"""rmd17.tar.bz2 (1,066,301,513 bytes), 10.6084/m9.figshare.12672038.v3, and its mirror."""

RMD17_SHA256 = "cddeea2ec2c4b22a9de16a9a65a3eeedac5b29da9c99c20bbff0153912bf922b"

# git blob ids of the files in the commit above
ACAC = {
    "README.md": "2ba00ca9b5c4e24552e34a547a2ea9700756c2d5",
    "isolated_atoms.xyz": "beb88f3f07c8cfd8dc23cb650d1ec3aa85c62c4d",
    "test_H_transfer.xyz": "b0b2c6c542d6cef64b5d17d5bbbaf7b2d4a274c3",
    "test_MD_300K.xyz": "01d273fdf2a11b3d462143b1b538f367845771ef",
    "test_MD_600K.xyz": "60920a5a506f7581c7a0f3c9f0cf677b1af03079",
    "test_dihedral.xyz": "6b98a848f50cd355df71b6292d1bf8e34d0f6267",
    "train_300K.xyz": "5f83fc060856b25b9942b320c73a6b58dbc29c0a",
    "train_600K.xyz": "89e4bc55889822540786efa0366ceb3559e53ba6",
}
ETHANOL = {
    "README.md": "8ae750022e28831d3090108ac59c2ecdbea38d9e",
    "isolated_atoms.xyz": "91be284ab5b0a0d1b7acd2fe5d99b52e31c0740b",
    "test_H_removal.xyz": "cf0611c0755cad9bc6c899c3056f8c247dc16ea0",
    "test_MD.xyz": "716d0fa09a94e9b41e7379045a232588790a086e",
    "test_dimers.xyz": "cff1d7012038da83ccdbb27ae9bee58e000fb34c",
    "test_eth_meth.xyz": "667db7b0e6bff6ce30738cd7c8d7e53b88cacc5b",
    "test_norm_mode_3005.xyz": "17d369118a4e941d06d785431adeb3e20a7e8d6b",
    "test_norm_mode_874.xyz": "21c49424ef929d5884f4d9555f817bc14122e8a1",
    "train.xyz": "142e2973fd0348877538bc177bf947b8acccf3f8",
    "train_eth_meth.xyz": "05f8a25e1201d9e1c1198d05fc29bf2643a11734",
}
BPA = {
    "README.md": "16af53745b69d79b72035097cd04b1fa993e5dc9",
    "iso_atoms.xyz": "83cc59ef37e4f1526fb073ad12103a75af746b86",
    "test_1200K.xyz": "94beb5238c3573e4be4d368928460f951e07e513",
    "test_300K.xyz": "6ea840dfce31bd7667a26e592f3625729c90441b",
    "test_600K.xyz": "681d24eeb4e9193644e6db58193b50e205a5bc0f",
    "test_dih.xyz": "7bdd390b9aed0a677dd8036a3a5055a0b648d1f5",
    "train_300K.xyz": "93cdf96b0a4d8d81ca52889c4697a553471779f5",
    "train_mixedT.xyz": "29a3993db824e41b1160193e447b99e1ffb1463a",
}

BOTNET_FOLDERS = {
    "acac": ("dataset_acac", ACAC),
    "ethanol": ("dataset_ethanol", ETHANOL),
    "3bpa": ("dataset_3BPA", BPA),
}
"""Folder of the repository, and git blob id of each of its files in that commit."""

DATA_SETS = (*BOTNET_FOLDERS, "rmd17")


class NoAnswerError(Exception):
    """No server has answered."""


def download(name: str, folder: str | Path | None = None) -> list[Path]:
    """Put a public data set into ``folder/name`` and return its files.

    A file that is there already is kept; another is copied from ``$MULTIACE_DATA/name``, or downloaded.
    Every file is compared with the published checksum.

    Args:
        name: ``acac``, ``ethanol``, ``3bpa`` (github.com/davkovacs/BOTNet-datasets), or ``rmd17``
            (10.6084/m9.figshare.12672038, 1 GB; of each molecule the first published split is written as
            extended XYZ).
        folder: ``data`` in the working directory by default.

    Raises:
        InputError: If the name is unknown, a file is not the published one, nothing can be reached, or the
            folder cannot be written.

    Warns:
        UserWarning: If the network is away, but some of the files were found.
    """
    if name not in DATA_SETS:
        raise InputError(f"data set {name!r} is not known.{did_you_mean(name, DATA_SETS)}")
    target = Path(folder or "data") / name
    variable = os.environ.get("MULTIACE_DATA")
    local = Path(variable, name) if variable else target
    try:
        target.mkdir(parents=True, exist_ok=True)
        if name == "rmd17":
            return get_rmd17(target, local)
        upstream, blobs = BOTNET_FOLDERS[name]
        return get_botnet(target, local, f"{BOTNET_DATASETS}/{upstream}", blobs)
    except OSError as error:
        raise InputError(f"cannot write {error.filename or target}: {error.strerror or error}.") from None
    finally:
        with suppress(OSError):
            target.rmdir()  # where nothing came: it is empty


def get_botnet(target: Path, local: Path, address: str, blobs: Mapping[str, str]) -> list[Path]:
    """Put the files of one folder of BOTNet-datasets into ``target``."""
    present: list[Path] = []
    missing: list[str] = []
    reason = ""
    with progress() as bar:
        for file, blob in blobs.items():
            urls = [] if missing else [f"{address}/{file}"]  # where the network is away, do not wait twice
            try:
                provide(target / file, local / file, urls, partial(has_id, git_blob, blob), bar)
            except NoAnswerError as error:
                missing.append(file)
                reason = reason or str(error)
            else:
                present.append(target / file)
    if not present:
        raise InputError(no_network(target.name, "train and test files", reason))
    if missing:
        warnings.warn(f"{', '.join(missing)} could not be downloaded: {reason}.", stacklevel=3)
    return present


def get_rmd17(target: Path, local: Path) -> list[Path]:
    """Put the first split of every rMD17 molecule into ``target``."""
    files = [target / file for file in rmd17.FILES]
    if all(file.exists() for file in files):
        return files
    archive = local / rmd17.ARCHIVE if (local / rmd17.ARCHIVE).exists() else target / rmd17.ARCHIVE
    with progress() as bar:
        try:
            provide(archive, archive, RMD17_ARCHIVES, partial(has_id, sha256, RMD17_SHA256), bar)
        except NoAnswerError as error:
            raise InputError(no_network("rmd17", rmd17.ARCHIVE, str(error))) from None
        task = bar.add_task("converting", total=archive.stat().st_size)
        rmd17.convert(archive, target, lambda done: bar.update(task, completed=done))
    return files


def no_network(name: str, files: str, reason: str) -> str:
    """What to do without a network."""
    return (
        f"{name} cannot be downloaded: {reason}. Without a network, copy {files} of {name} "
        f"into a folder {name}, and set MULTIACE_DATA to the folder that holds it."
    )


def provide(
    path: Path, local: Path, urls: Sequence[str], verify: Callable[[Path], bool], bar: Progress
) -> None:
    """Make sure that ``path`` is the published file: kept, copied from ``local``, or from the first url.

    Raises:
        InputError: If what is there, or came from the network, is another file.
        NoAnswerError: If no url answers.
    """
    for found in (path, local):
        if found.exists():
            if not verify(found):
                raise InputError(f"{found} is not the published file (its checksum differs); move it away.")
            if found != path:
                with replacing(path) as temporary:
                    shutil.copyfile(found, temporary)
            return
    reasons = []
    for url in urls:
        try:
            with replacing(path) as temporary:
                fetch(url, temporary, bar, path.name)
                if not verify(temporary):
                    raise InputError(
                        f"what {url} sent is not the published file (its checksum differs); try again."
                    )
            return
        except NoAnswerError as error:
            reasons.append(str(error))
    raise NoAnswerError("; ".join(reasons))


def fetch(url: str, path: Path, bar: Progress, label: str) -> None:
    """Write what a server sends into a file."""
    task = bar.add_task(label, total=None)
    request = urllib.request.Request(url, headers={"User-Agent": "multiace"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response, path.open("wb") as file:
            length = response.headers.get("Content-Length")
            bar.update(task, total=int(length) if length else None)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
    except urllib.error.HTTPError as error:
        raise NoAnswerError(f"{url} answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise NoAnswerError(f"{url} cannot be reached ({error.reason})") from None
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise NoAnswerError(f"{url} stopped answering ({error or type(error).__name__})") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that takes its place if all goes well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def has_id(identify: Callable[[Path], str], wanted: str, path: Path) -> bool:
    """Whether a file is the one that ``identify`` gives the wanted id."""
    return identify(path) == wanted


def git_blob(path: Path) -> str:
    """Id that git gives to this content: SHA-1 of ``blob <size>``, a zero byte and the content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def progress() -> Progress:
    """Progress bar in bytes, with speed and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
