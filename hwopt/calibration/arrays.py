"""Calibration samples as arrays, in memory or in mapped files."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hwopt.errors import BadInput
from hwopt.files.scratch import temporary_folder
from hwopt.mapped import taken
from hwopt.nodes import Array
from hwopt.wording import said

MAPPED_BYTES = 256 << 20  # larger .npz files are unpacked into a temporary folder, never held in memory


def content_hash(sample: Mapping[str, Array]) -> str:
    """SHA-256 over one sample's arrays by input name."""
    digest = hashlib.sha256()
    for name in sorted(sample):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(sample[name]).tobytes())
    return digest.hexdigest()


def require_numbers(where: str, sample: Mapping[str, Array], number: int) -> None:
    """Raises BadInput where a sample holds what is no number: weights fitted to it would be none either.

    Infinity is let through: masks are made of it. where: what the samples came from, for the message.
    """
    for name, array in sample.items():
        if array.dtype.kind not in "iub" and bool((array != array).any()):  # NaN alone differs from itself
            raise BadInput(f"{where}: sample {number} of input {name!r} holds NaN; mend it or leave it out")


def identity_of(forms: Mapping[str, tuple[np.dtype[np.generic], tuple[int, ...]]]) -> str:
    """Names, types and shapes of one sample's arrays."""
    return repr([(name, str(dtype), shape) for name, (dtype, shape) in sorted(forms.items())])


class Arrays:
    """Samples held in memory or in mapped files, one array per input.

    folder: what the files lie in, where it shall live as long as the samples. name: for messages.
    """

    def __init__(
        self,
        arrays: dict[str, Array],
        folder: TemporaryDirectory[str] | None = None,
        name: str = "calibration data",
    ) -> None:
        self._arrays = arrays
        self._folder = folder
        self._name = name

    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each sample over all inputs. Raises BadInput for one that holds NaN."""
        return tuple(self._hash(index) for index in range(len(next(iter(self._arrays.values())))))

    def _hash(self, index: int) -> str:
        sample = {name: taken(array, [index])[0] for name, array in self._arrays.items()}
        require_numbers(self._name, sample, index)
        return content_hash(sample)

    def identity(self) -> str:
        """Names, types and shapes of the arrays."""
        return identity_of({name: (a.dtype, a.shape[1:]) for name, a in self._arrays.items()})

    def batch(self, indices: Sequence[int]) -> dict[str, Array]:
        """The samples, in the order asked for."""
        return {name: taken(array, indices) for name, array in self._arrays.items()}


def read_arrays(path: Path, inputs: Sequence[str]) -> tuple[dict[str, Array], TemporaryDirectory[str] | None]:
    """The arrays of an .npz or .npy by name, and the folder of those that had to be unpacked to be mapped.

    inputs: the model's; a single array is the only one's. Raises BadInput where the file is none.
    """
    try:
        if path.stat().st_size > MAPPED_BYTES and zipfile.is_zipfile(path):
            return _unpacked(path)
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if len(inputs) != 1:
                raise BadInput(f"{path}: one array, but the inputs are {', '.join(inputs)}; use an .npz")
            return {inputs[0]: loaded}, None
        with loaded:
            return {name: loaded[name] for name in loaded.files}, None
    except BadInput:
        raise
    except Exception as error:  # numpy raises whatever its zip and header readers raise
        raise BadInput(
            f"{path}: cannot be read as a NumPy file: {said(error)}; save plain numbers anew with numpy.savez"
        ) from error


def _unpacked(path: Path) -> tuple[dict[str, Array], TemporaryDirectory[str]]:
    """The arrays of an .npz as mapped files: an array within an archive can only be read whole."""
    folder = temporary_folder()
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(path) as archive:
        for number, member in enumerate(archive.namelist()):
            file = Path(folder.name) / f"{number}.npy"
            with archive.open(member) as packed, file.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
            arrays[member.removesuffix(".npy")] = np.load(file, mmap_mode="r", allow_pickle=False)
    return arrays, folder
