"""A dictionary of modules, one a branch, that `torch.export` can write."""

from collections.abc import Iterator
from typing import Any

from torch import nn


class Branches(nn.ModuleDict):
    """Modules by the name of their branch.

    "global" is a keyword of Python, which `torch.export` cannot write as an attribute: inside, and
    in the names of parameters, it is "global_". State dicts with the old name are read too.
    """

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        super().__init__({_inside(name): module for name, module in modules.items()})

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(_inside(key))

    def __contains__(self, key: object) -> bool:
        return _inside(str(key)) in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(name.removesuffix("_") for name in self._modules)

    def keys(self) -> list[str]:  # type: ignore[override]
        """Return the names of the branches, in order."""
        return list(self)

    def items(self) -> list[tuple[str, nn.Module]]:  # type: ignore[override]
        """Return (branch, module), in order."""
        return list(zip(self, self._modules.values(), strict=True))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        _rename(state_dict, f"{prefix}global.", f"{prefix}global_.")
        super()._load_from_state_dict(state_dict, prefix, *args)


def _inside(name: str) -> str:
    return f"{name}_" if name == "global" else name


def _rename(state_dict: dict, old: str, new: str) -> None:
    for name in [name for name in state_dict if name.startswith(old)]:
        state_dict[new + name.removeprefix(old)] = state_dict.pop(name)
