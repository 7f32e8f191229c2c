"""The MMA-GGA head: the feature maps of a clip in; embedding, logits and attention out.

Shape letters: B clips, T frames, C channels, h w feature map, P parts of a granularity, D width
of a branch, K identities. Branches always come in the order global, p3, p1, p2 (authors' code).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.errors import SettingError
from mmagga.model.backbone import STRIDE
from mmagga.model.branches import Branches
from mmagga.model.outputs import Attention, Output, Tokens

Grid = tuple[int, int]

GRIDS: dict[str, Grid] = {"global": (1, 1), "p3": (2, 1), "p1": (4, 2), "p2": (8, 4)}
"""Rows and columns of cells of each branch; a granularity has one part for each row."""

# What an MMA matrix starts with outside a part's own row (authors' code).
_LEAK = {"p3": 0.1, "p1": 0.01, "p2": 0.001}

_EPS = 3e-6  # authors' code: the floor of GeM, both before the power and before the root


class MMA(nn.Module):
    """Multi-task aggregation: one matrix turns the cells of a granularity into its parts.

    Learned, it starts near horizontal stripes (a part is the mean of its row's cells, plus a
    little of all others). Otherwise it is exactly the stripes, a buffer that nothing trains; GeM
    cells are positive, so that the LeakyReLU then does nothing.
    """

    def __init__(self, name: str, learned: bool) -> None:
        super().__init__()
        rows, columns = GRIDS[name]
        own = torch.eye(rows).repeat_interleave(columns, dim=1)  # (P, cells)
        stripes = own / columns
        if learned:
            self.matrix = nn.Parameter(stripes + _LEAK[name] * (1 - own))
        else:
            self.register_buffer("matrix", stripes)

    def forward(self, cells: Tensor) -> Tensor:
        """Map cells (..., cells, C) to parts (..., P, C)."""
        return F.leaky_relu(self.matrix @ cells, 0.01)


class GuidedAttention(nn.Module):
    """Global-guided attention (GGA): a part weighs more the more it resembles the clip.

    The score is a cosine of two ReLU outputs, so in [0, 1]: at temperature 1 (authors') no
    weight exceeds another more than e times.
    """

    def __init__(self, width: int, temperature: float) -> None:
        super().__init__()
        self.part = nn.Linear(width, width)
        self.guide = nn.Linear(width, width)
        self.temperature = temperature

    def forward(self, parts: Tensor, guide: Tensor) -> Tensor:
        """Weigh parts (B, T·P, D) by the clip's global feature (B, D): (B, T·P)."""
        parts = F.normalize(self.part(parts).relu(), dim=-1)  # (B, T·P, D)
        guide = F.normalize(self.guide(guide).relu(), dim=-1).unsqueeze(-1)  # (B, D, 1)
        return (parts @ guide / self.temperature).squeeze(-1).softmax(1)


class PlainAttention(nn.Module):
    """Ours, for the ablation: a learned score of each part alone, without a guide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, parts: Tensor, guide: Tensor) -> Tensor:
        """Weigh parts (B, T·P, D): (B, T·P). The guide is not read."""
        return self.score(parts).squeeze(-1).softmax(1)


class MeanPooling(nn.Module):
    """Ours, for the ablation: every part weighs the same."""

    def forward(self, parts: Tensor, guide: Tensor) -> Tensor:
        """Weigh parts (B, T·P, D) uniformly: (B, T·P). The guide is not read."""
        return parts.new_full(parts.shape[:2], 1 / parts.shape[1])


class BNNeck(nn.BatchNorm1d):
    """BatchNorm1d with its shift fixed at 0: a buffer, which no stage trains."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        del self.bias
        self.register_buffer("bias", torch.zeros(width))


class Head(nn.Module):
    """Everything after the backbone, in four steps that can be used one by one.

        tokens = head.tokens(maps)
        attention = head.attend(tokens)                # may be changed before the next call
        feature = head.aggregate(tokens, attention)
        embedding = head.bnneck(feature)

    Initialisation follows torch's global seed: classifiers N(0, 0.001), MMA near stripes, BNNeck
    scale 1 and shift 0, all other layers torch's default.

    Args:
        channels: C of the maps.
        num_ids: K, training identities.
        frames: T; the frame scores are a linear map of a whole clip, so T is fixed.
        width: D, features per branch; 1024 in the paper.
        granularities: any of p1, p2, p3, also none; the global branch is always there.
        pooling: parts to clip by GGA ("gga", authors'), by scores without the guide ("attention"),
            or by their "mean".
        mma: cells to parts by "learned" matrices (authors') or by fixed "stripes".
        temperature: divides GGA's cosine; 1 in the authors' code.
        gem_p: exponent of the generalised-mean pooling.
    """

    def __init__(
        self,
        channels: int,
        num_ids: int,
        frames: int = 8,
        *,
        width: int = 1024,
        granularities: tuple[str, ...] = ("p1", "p2", "p3"),
        pooling: Literal["gga", "attention", "mean"] = "gga",
        mma: Literal["learned", "stripes"] = "learned",
        temperature: float = 1.0,
        gem_p: float = 3.0,
    ) -> None:
        super().__init__()
        _check_options(granularities, pooling, mma, temperature)
        self.frames, self.gem_p = frames, gem_p
        self.grids = {name: GRIDS[name] for name in GRIDS if name in ("global", *granularities)}
        parts = [name for name in self.grids if name != "global"]
        self.mma = nn.ModuleDict({name: MMA(name, mma == "learned") for name in parts})
        self.project = Branches({name: nn.Linear(channels, width) for name in self.grids})
        self.frame_score = nn.Conv1d(frames, frames, width)
        self.part_score = nn.ModuleDict(
            {name: _scorer(pooling, width, temperature) for name in parts}
        )
        self.bnneck = BNNeck(width * len(self.grids))
        self.num_ids = num_ids
        self.classifiers = Branches({name: classifier(width, num_ids) for name in self.grids})

    def forward(self, maps: Tensor) -> Output:
        """Turn the feature maps (B, T, C, h, w) of clips into an `Output`.

        The head runs in float32 also under mixed precision: it is a small share of the work, and
        the weights of a clip differ by less than the resolution of bfloat16.

        Raises:
            ValueError: T is not the model's, or the map cannot be cut into the cells.
        """
        with torch.autocast(maps.device.type, enabled=False):
            tokens = self.tokens(maps.to(self.bnneck.weight.dtype))
            attention = self.attend(tokens)
            feature = self.aggregate(tokens, attention)
            embedding = self.bnneck(feature)
            branches = zip(
                self.classifiers.values(), embedding.chunk(len(self.grids), 1), strict=True
            )
            logits = tuple(classify(branch) for classify, branch in branches)  # from (B, D) each
            return Output(embedding, feature, logits, attention)

    def tokens(self, maps: Tensor) -> Tokens:
        """Pool maps (B, T, C, h, w) into cells, cells into parts, and project these to D."""
        if maps.shape[1] != self.frames:
            raise ValueError(
                f"this model reads clips of {self.frames} frames, got {maps.shape[1]}: "
                "cut clips of that length, or build the model with other `frames`"
            )
        cells = gem_cells(maps.flatten(0, 1), self.grids, self.gem_p)  # (B·T, cells, C) each
        parts = {name: mma(cells[name]) for name, mma in self.mma.items()}  # (B·T, P, C) each
        parts["global"] = cells["global"]
        tokens = {
            name: project(parts[name]).relu().unflatten(0, maps.shape[:2])  # (B, T, P, D)
            for name, project in self.project.items()
        }
        return Tokens(frames=tokens.pop("global").squeeze(2), parts=tokens)

    def attend(self, tokens: Tokens) -> Attention:
        """Weigh the frames, then all T·P parts of each granularity (softmax over the clip)."""
        frames = self.frame_score(tokens.frames).squeeze(-1).softmax(1)  # (B, T)
        guide = weighted_sum(frames, tokens.frames)  # (B, D)
        parts = {
            name: score(tokens.parts[name].flatten(1, 2), guide).view(tokens.parts[name].shape[:3])
            for name, score in self.part_score.items()
        }
        return Attention(frames, parts)

    def aggregate(self, tokens: Tokens, attention: Attention) -> Tensor:
        """Sum the tokens by the given weights and join the branches: feature (B, branches·D)."""
        parts = (weighted_sum(attention.parts[name], tokens.parts[name]) for name in self.mma)
        return torch.cat([weighted_sum(attention.frames, tokens.frames), *parts], dim=1)

    def mma_parameters(self) -> list[nn.Parameter]:
        """Return the learned MMA matrices; none where the stripes are fixed."""
        return list(self.mma.parameters())


def classifier(width: int, num_ids: int) -> nn.Linear:
    """Make an identity classifier: D -> K, no bias, N(0, 0.001) (authors' code)."""
    linear = nn.Linear(width, num_ids, bias=False)
    nn.init.normal_(linear.weight, std=0.001)
    return linear


def gem_cells(maps: Tensor, grids: dict[str, Grid], p: float) -> dict[str, Tensor]:
    """Pool maps (N, C, h, w) over the cells of each grid by generalised mean: (N, cells, C).

    Cells are numbered row by row. Coarse cells are unions of fine ones, so their mean powers are
    means of the finest grid's and the map is read once.
    """
    check_map(maps.shape[2], maps.shape[3], grids)
    powers = _cell_means(maps.clamp(min=_EPS).pow(p), max(grids.values()))
    means = {name: _cell_means(powers, grid) for name, grid in grids.items()}
    return {
        name: mean.clamp(min=_EPS).pow(1 / p).flatten(2).transpose(1, 2)
        for name, mean in means.items()
    }


def check_map(h: int, w: int, grids: dict[str, Grid]) -> None:
    """Raise ValueError unless a feature map of h x w can be cut into every grid's cells."""
    rows, columns = max(grids.values())
    if h % rows or w % columns:
        raise SettingError(
            f"a feature map of {h}x{w} cannot be cut into {rows}x{columns} equal cells: give "
            f"images whose height is a multiple of {rows * STRIDE} pixels and whose width is one "
            f"of {columns * STRIDE}, such as 256x128 or 128x64"
        )


def weighted_sum(weights: Tensor, vectors: Tensor) -> Tensor:
    """Sum vectors (B, ..., D) by weights (B, ...): (B, D)."""
    return (weights.unsqueeze(-1) * vectors).flatten(1, -2).sum(1)


def _cell_means(maps: Tensor, grid: Grid) -> Tensor:
    """Average maps (N, C, h, w) over a grid's equal cells: (N, C, rows, columns)."""
    return F.avg_pool2d(maps, (maps.shape[2] // grid[0], maps.shape[3] // grid[1]))


def _scorer(pooling: str, width: int, temperature: float) -> nn.Module:
    if pooling == "gga":
        return GuidedAttention(width, temperature)
    return PlainAttention(width) if pooling == "attention" else MeanPooling()


def _check_options(
    granularities: tuple[str, ...], pooling: str, mma: str, temperature: float
) -> None:
    """Raise ValueError for a value that `Head` does not know."""
    if not set(granularities) <= set(_LEAK):
        raise SettingError(f"granularities must be among p1, p2, p3; got {granularities!r}")
    if pooling not in ("gga", "attention", "mean"):
        raise ValueError(f"pooling must be gga, attention or mean; got {pooling!r}")
    if mma not in ("learned", "stripes"):
        raise ValueError(f"mma must be learned or stripes; got {mma!r}")
    if not temperature > 0:
        raise SettingError(f"temperature must be above 0; got {temperature!r}")
