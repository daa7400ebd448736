import errno
import os

import pytest

from multiace.errors import InputError
from multiace.files import atomic, writing


def test_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device; make room on the disk"),
        (errno.EROFS, "Read-only file system; choose a place that can be written to"),
    ],
)
def test_what_the_disk_refuses_is_said_with_the_file(tmp_path, number, remedy):
    def write():
        with writing(tmp_path / "file"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(InputError, match=f"cannot write to .*file: {remedy}, then give the command again"):
        write()
