"""The weights that training starts from: where they are found, and which of them are taken.

A trunk is everything below the head. It can come from torchvision, from a file of another project,
from the kit's own `RENDERED_V1`, or from a run, which may give its head as well.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from mmagga.errors import CheckpointError
from mmagga.system.files import sha256

RENDERED_V1 = "RENDERED_V1"
"""A ResNet-18 trunk that the kit trained on rendered people; see its model card beside the file."""

_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "backbone.", "base.", "encoder.")
_OWN = ("head.classifiers.", "head.classifier.")  # belong to the persons of a training set


class Taken(NamedTuple):
    """What of some weights was taken, by name."""

    source: str
    taken: list[str]
    """Names of the network's tensors that were filled."""
    missing: list[str]
    """Tensors that were asked for and are not in the source, left as initialised."""
    unused: list[str]
    """Tensors of the source that the network has no place for."""

    def __str__(self) -> str:
        """Describe in one line."""
        trunk = sum(name.startswith("backbone.") for name in self.taken)
        parts = f"{trunk} tensors of the trunk, {len(self.taken) - trunk} of the head"
        text = f"weights: {parts} from {self.source}"
        for kind, names in (("left as initialised", self.missing), ("not used", self.unused)):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                text += f"; {kind}: {', '.join(names[:3])}{more}"
        return text


def start_from(model: nn.Module, weights: str | Path | None, head: bool = False) -> Taken | None:
    """Fill a network with weights to start training from.

    Args:
        model: `MMAGGA` or `Baseline`.
        weights: None for none; a name of torchvision such as "IMAGENET1K_V1"; "RENDERED_V1"; a run
            folder or checkpoint file of the kit; or the path of a state dict (.pth, .pt or
            .safetensors) with torchvision's names, also wrapped in a dict's "state_dict" or
            "model", or with the prefix "module." or "backbone.".
        head: take the head too, except classifiers, where the weights have one that fits.

    Returns:
        What was taken. Non-local blocks that the weights lack stay the identity they start as.

    Raises:
        CheckpointError: the weights cannot be had or read, or are not those of this ResNet.
    """
    if weights is None:
        return None
    name = str(model.backbone.name)
    tensors, source = read_weights(weights, name)
    own = model.state_dict()
    wanted = {k for k in own if k.startswith("backbone.") or (head and not k.startswith(_OWN))}
    fitting = {k: v for k, v in tensors.items() if k in wanted and v.shape == own[k].shape}
    missing = sorted(wanted - fitting.keys())
    essential = [k for k in missing if k.startswith("backbone.") and ".non_local" not in k]
    if essential:
        known = ", ".join((*models.get_model_weights(name).__members__, RENDERED_V1))
        raise CheckpointError(
            f"weights {source}: not those of a {name}: {len(essential)} of its tensors are missing "
            f"or of another shape ({', '.join(essential[:3])} …), found "
            f"{', '.join(sorted(tensors)[:3]) or 'none'} …. Set model.backbone to the network that "
            f"they belong to, or start from one of {known}"
        )
    model.load_state_dict(fitting, strict=False)
    unused = sorted(k for k in tensors.keys() - fitting.keys() if not k.startswith("backbone.fc."))
    return Taken(source, sorted(fitting), missing, unused)


def read_weights(weights: str | Path, backbone: str) -> tuple[dict[str, Tensor], str]:
    """Find and read weights: tensors by the kit's names ("backbone.layer1.0…"), and their source.

    Raises CheckpointError where there are none, or they hold more than tensors.
    """
    named = models.get_model_weights(backbone).__members__
    if weights == RENDERED_V1:
        return _renamed(load_file(_rendered())), RENDERED_V1
    if str(weights) in named:
        path = _fetch(named[str(weights)].url)
        return _renamed(_unwrapped(read_tensors(path), path)), str(weights)
    path = Path(weights).expanduser()
    if path.is_dir():
        path = _newest_checkpoint(path)
    if not path.is_file():
        raise CheckpointError(
            f"weights {str(weights)!r}: no such file or run folder, and the names for a {backbone} "
            f"are {', '.join((*named, RENDERED_V1))}"
        )
    return _renamed(_unwrapped(read_tensors(path), path)), str(weights)


def read_tensors(path: Path, allowed: Sequence = ()) -> Any:
    """Read a torch or safetensors file without running its code.

    Tensors, plain types and what `allowed` names are read.

    Raises:
        CheckpointError: the file is missing, damaged, or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a safetensors file, or is damaged ({error})"
        ) from None
    except Exception as error:  # damage can surface as anything
        raise CheckpointError(
            f"{path} was refused: it is damaged, or holds more than tensors and numbers, which "
            f"would mean running its code ({error})"
        ) from None


def _unwrapped(state: Any, path: Path) -> Mapping[str, Tensor]:
    """Find the state dict in what a file holds."""
    for key in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: expected a state dict, found {type(state).__name__}")
    tensors = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path}: a dict without tensors is not a state dict")
    return tensors


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the trunk's tensors to the kit's names, whatever prefix they came with."""
    found = {}
    for name, tensor in tensors.items():
        bare = name
        while bare.startswith(_PREFIXES):
            bare = bare.split(".", 1)[1]
        if bare.startswith("head."):
            bare = bare.replace(".global.", ".global_.")  # its name before, see `Branches`
        else:
            bare = f"backbone.{bare}"
        found[bare] = tensor.float()
    return found


def _newest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of a run folder, the numbers in their names deciding."""
    paths = [*folder.glob("checkpoints/*.pt")] or [*folder.glob("*.pt")]
    if not paths:
        raise CheckpointError(f"weights {folder}: a folder without a checkpoint; train it first")
    return max(paths, key=lambda path: ([int(n) for n in re.findall(r"\d+", path.stem)], path.stem))


def _rendered() -> Path:
    return Path(str(files("mmagga.model"))) / "rendered_v1.safetensors"


def _fetch(url: str) -> Path:
    """Find torchvision's file in torch's cache, or download it there, and check its hash."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    digest = path.stem.rsplit("-", 1)[-1]  # torchvision's names end in the hash's beginning
    if path.is_file():
        if not sha256(path).startswith(digest):
            raise CheckpointError(
                f"{path} is damaged, or not the file of that name: its SHA-256 does not begin with "
                f"{digest}. Delete it, and it is downloaded again"
            )
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the pretrained weights could not be downloaded ({error}). Where there is a network, "
            f"get {url} and put it at {path}, or name the file: --model.weights FILE."
        ) from None
    return path
