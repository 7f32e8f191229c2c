"""Embeddings in a file, of any network, and their alignment with a data set.

The file is NumPy's .npz with one row per tracklet in each array:

    vectors (N, D)   numbers; also accepted as embeddings or features
    names   (N,)     text: the tracklet's first frame, relative to the data set's folder
    splits  (N,)     text: train, query or gallery; also accepted as split
    pids    (N,)     whole numbers: persons, 0 for a distractor
    camids  (N,)     whole numbers: cameras

A file without persons, cameras and splits can be scored on a data set, which knows them by name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmagga.config import Config
from mmagga.data.readers.folders import list_folder, list_frames
from mmagga.data.tracklets import SPLITS, Tracklets, make_tracklets
from mmagga.errors import DataError
from mmagga.retrieval.embedding import Embeddings, tracklet_embeddings
from mmagga.system.files import commit

_ALSO = {"vectors": ("embeddings", "features"), "splits": ("split",), "camids": ("cams",)}


@dataclass(frozen=True)
class StoredEmbeddings:
    """One vector per tracklet, with its name, split, person and camera.

    `splits`, `pids` and `camids` are None where the file lacks them.
    """

    vectors: np.ndarray
    """(N, D) float32."""
    names: np.ndarray | None = None
    """(N,) first frames, relative to the data set's folder."""
    splits: np.ndarray | None = None
    """(N,) train, query or gallery."""
    pids: np.ndarray | None = None
    """(N,) int64."""
    camids: np.ndarray | None = None
    """(N,) int64."""

    def split(self, name: str | None = None) -> Embeddings:
        """Return the embeddings of one split, or of all; DataError without pids, camids, splits."""
        self._require("pids", "camids", *(["splits"] if name else []))
        rows = slice(None) if name is None else self.splits == name
        parts = self.vectors[rows], self.pids[rows], self.camids[rows]
        return Embeddings(*map(torch.from_numpy, parts))

    def of(self, tracklets: Tracklets) -> Embeddings:
        """Return the vectors of these tracklets by name, with the persons the data set knows.

        A file without names must have a row for each tracklet, in their order. Raises DataError
        that names the first tracklet without a vector.
        """
        if self.names is None:
            if len(self.vectors) != len(tracklets):
                raise DataError(
                    f"the embeddings have no names, and {len(self.vectors)} rows for the "
                    f"{len(tracklets)} tracklets of {tracklets.dataset}: add an array names, of "
                    "each tracklet's first frame relative to the data set's folder"
                )
            rows = np.arange(len(tracklets))
        else:
            row_of = {str(name): row for row, name in enumerate(self.names)}
            wanted = tracklet_names(tracklets)
            missing = [name for name in wanted if name not in row_of]
            if missing:
                raise DataError(
                    f"{len(missing)} of {len(wanted)} tracklets of {tracklets.dataset} have no "
                    f"embedding, the first is {missing[0]}; the file's names are such as "
                    f"{next(iter(row_of), 'none')}: expected each tracklet's first frame, relative "
                    f"to {tracklets.root}"
                )
            rows = np.array([row_of[name] for name in wanted], int)
        people = torch.tensor(tracklets.pids), torch.tensor(tracklets.camids)
        return Embeddings(torch.from_numpy(self.vectors[rows]), *people)

    def save(self, path: str | Path) -> None:
        """Write the arrays that there are, uncompressed."""
        arrays = {name: array for name, array in vars(self).items() if array is not None}
        commit(path, lambda file: np.savez(file, **arrays), need=self.vectors.nbytes)

    def _require(self, *names: str) -> None:
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise DataError(
                f"the embeddings lack {', '.join(missing)}: add these arrays, or name the data set "
                "that knows them"
            )


def load_embeddings(path: str | Path) -> StoredEmbeddings:
    """Read a .npz file; see the module for its arrays.

    Raises DataError for a damaged file, missing vectors, arrays of other lengths, vectors that are
    not finite, and splits of other names.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # on damaged files NumPy raises nearly anything
        raise DataError(f"{path} is not an .npz file of plain arrays ({error})") from error
    found: dict[str, Any] = {}
    for name in StoredEmbeddings.__dataclass_fields__:
        spelled = [other for other in (name, *_ALSO.get(name, ())) if other in arrays]
        found[name] = arrays[spelled[0]] if spelled else None
    if found["vectors"] is None or found["vectors"].ndim != 2:
        raise DataError(
            f"{path} has no array vectors of shape (tracklets, numbers); it holds "
            f"{', '.join(f'{name} {array.shape}' for name, array in arrays.items()) or 'nothing'}"
        )
    for name, array in found.items():
        if array is not None and len(array) != len(found["vectors"]):
            raise DataError(
                f"{path}: {name} has {len(array)} rows, vectors {len(found['vectors'])}"
            )
    found["vectors"] = found["vectors"].astype(np.float32)
    bad = ~np.isfinite(found["vectors"]).all(1)
    if bad.any():
        raise DataError(f"{path}: row {bad.argmax()} of the vectors is not finite")
    for name in ("pids", "camids"):
        if found[name] is not None:
            if found[name].dtype.kind not in "iu":
                raise DataError(f"{path}: {name} must be whole numbers, not {found[name].dtype}")
            found[name] = found[name].astype(np.int64)
    unknown = set() if found["splits"] is None else set(found["splits"].tolist()) - set(SPLITS)
    if unknown:
        raise DataError(f"{path}: unknown split {min(unknown)!r}; expected {', '.join(SPLITS)}")
    return StoredEmbeddings(**found)


def tracklet_names(tracklets: Tracklets) -> list[str]:
    """Return each tracklet's name: its first frame, relative to the data set's folder."""
    return tracklets.names[tracklets.table["first"]].tolist()


def embed_tracklets(model: nn.Module, tracklets: Tracklets, config: Config) -> StoredEmbeddings:
    """Embed every tracklet, of all splits, by a run's network and configuration."""
    vectors = tracklet_embeddings(model, tracklets, config)["dense"].vectors
    names = np.array(tracklet_names(tracklets))
    splits = tracklets.table["split"].to_numpy(str)
    return StoredEmbeddings(vectors.numpy(), names, splits, tracklets.pids, tracklets.camids)


def read_images(root: str | Path) -> Tracklets:
    """Read a folder of images, or of one folder a tracklet, as a gallery of unknown people.

    Each image that lies in `root` itself is a tracklet of one frame. Everyone counts as a person
    of their own, all under camera 1. Raises DataError where there is no image.
    """
    root = Path(root).expanduser()
    pieces = [[name] for name in list_frames(root)]
    for name in list_folder(root):
        if (root / name).is_dir():
            pieces += [[f"{name}/{frame}" for frame in list_frames(root / name)]]
    pieces = [piece for piece in pieces if piece]
    if not pieces:
        raise DataError(f"{root} holds no images, nor folders with images")
    firsts = np.cumsum([0, *map(len, pieces)])
    rows = [("gallery", i + 1, 1, int(firsts[i]), len(piece)) for i, piece in enumerate(pieces)]
    return make_tracklets("images", root, rows, [name for piece in pieces for name in piece])
