"""Files of a case: they get their names together, once all of them are there."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hwopt.errors import BadInput
from hwopt.files.scratch import workshop
from hwopt.report.write import publish, refuse_to_overwrite
from hwopt.runtime import Feeds

_OLDEST = (1980, 1, 1, 0, 0, 0)  # the only date that a reproducible archive can have


@contextmanager
def appearing(folder: Path, names: tuple[str, ...], force: bool) -> Iterator[Path]:
    """A folder to make files in; they go to `folder` at the end, unless something is raised.

    names: of the files that may be made; what an earlier case left under one of them goes. Raises BadInput
    where one exists and `force` is not set, or the disk refuses.
    """
    for name in names:
        refuse_to_overwrite(folder / name, force)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: name a folder for the case")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with workshop(folder) as draft:
            made = draft / "case"
            made.mkdir()
            yield made
            _published(made, folder, names)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror or error}") from None


def _published(made: Path, folder: Path, names: tuple[str, ...]) -> None:
    if not folder.exists():
        os.replace(made, folder)
        return
    drafts = sorted(made.iterdir())
    for name in names:
        if not (made / name).exists():
            (folder / name).unlink(missing_ok=True)
    for draft in drafts:
        publish(draft, folder / draft.name)


def npz_bytes(feeds: Feeds) -> bytes:
    """The arrays as an .npz by name, the same bytes for the same arrays."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(feeds):
            plain = io.BytesIO()
            np.lib.format.write_array(
                plain, np.ascontiguousarray(feeds[name]).reshape(feeds[name].shape), allow_pickle=False
            )
            entry = zipfile.ZipInfo(f"{name}.npy", _OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, plain.getvalue())
    return packed.getvalue()
