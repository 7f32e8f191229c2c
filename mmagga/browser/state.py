"""What the browser knows about one run: scores, looks and ranks, each computed once.

No widgets and no pictures here.
"""

import copy
import math
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmagga.attention.battery.occluders import token_shares
from mmagga.attention.cam import occlusion_map, similarity_cam
from mmagga.attention.maps import (
    Contribution,
    Look,
    look,
    look_at_tokens,
    projection,
    relative_maps,
    repeats,
    require_attention,
    tracklet_contributions,
)
from mmagga.attention.swaps import swapped
from mmagga.browser.cache import Cache
from mmagga.browser.gallery import (
    BUDGET,
    Found,
    GalleryTokens,
    Shares,
    find,
    token_bytes,
)
from mmagga.browser.paint import resize
from mmagga.data import load_for
from mmagga.data.augment import network_input
from mmagga.data.clips import dense_clips
from mmagga.data.frames import open_frames
from mmagga.data.masks import HEAD, OCCLUDER, has_masks, read_masks, resize_masks
from mmagga.data.tracklets import Tracklets, spread
from mmagga.errors import ResourceError
from mmagga.model.backbone import map_size
from mmagga.model.outputs import Attention, tree_cat, tree_map
from mmagga.randomness import generator
from mmagga.retrieval.queries import as_test
from mmagga.runs.opened import OpenedRun
from mmagga.runs.run import Run


class Reweighting(NamedTuple):
    """Which weights the granularities get instead of the model's own; frames keep theirs."""

    how: str = "gga"
    """One of `attention.swaps.SWAPS`; "gga" keeps the model's, up to the temperature."""
    temperature: float = 1.0
    """Times the model's own; it comes first."""

    @property
    def changes(self) -> bool:
        """Whether anything differs from the model as it is."""
        return self != Reweighting()


AS_TRAINED = Reweighting()


class Seen(NamedTuple):
    """One tracklet, all its dense clips looked at; arrays of n clips of T frames."""

    row: int
    key: Hashable
    """The row and what was done to it: names these pixels in caches."""
    positions: np.ndarray
    """(n, T) which frame of the tracklet."""
    frames: np.ndarray
    """(n, T, H, W, 3) uint8."""
    look: Look
    """Of the n clips, on the CPU."""
    repeats: np.ndarray
    """(n, T) bool: frames that only fill up the last clip."""
    occluders: np.ndarray | None
    """(n, T, H, W) bool where masks exist."""


def block_size(height: int, width: int) -> int:
    """Return the side of the largest square blocks that fill an image, at least four a row."""
    return max(b for b in range(1, width // 4 + 1) if math.gcd(height, width) % b == 0)


class BrowserState(OpenedRun):
    """A run opened on one split of a data set, for looking.

    `forwards` counts the clips that went through the network: a step that needs none adds none.

    Args:
        run: a finished run of an MMA-GGA network, or one that has a checkpoint at least.
        tracklets: the data set; read from the run's configuration if not given.
        split: "test", or "train": the training persons as queries and gallery.
    """

    def __init__(self, run: Run, tracklets: Tracklets | None = None, split: str = "test") -> None:
        tracklets = tracklets or load_for(run.load_config())
        super().__init__(run, as_test(tracklets) if split == "train" else tracklets)
        require_attention(self.model)
        self.split = split
        self.head = copy.deepcopy(self.model.head).cpu()
        self.map_size = map_size(*self.size)
        self.frames = open_frames(self.all, self.size, self.config.packed)
        self.forwards = 0
        self._looks, self._maps = Cache(512), Cache(256)  # in clips
        self._strips, self._vectors = Cache(512), Cache(8)
        self._gallery: GalleryTokens | None = None
        self._gallery_seen: list[tuple[Look, Shares | None]] = []

    # --- the whole set --------------------------------------------------------------------------

    @cached_property
    def similarity_spread(self) -> float:
        """Standard deviation of the similarity of two tracklets: the unit of occlusion maps."""
        some = self.vectors[:1000]
        above = torch.ones(len(some), len(some)).triu(1).bool()
        return float((some @ some.T)[above].std())

    @property
    def has_masks(self) -> bool:
        """Whether the data set says what is occluded."""
        return has_masks(self.all)

    @cached_property
    def occluded(self) -> np.ndarray | None:
        """(Q,) mean share of the frame that is occluded, of each query; None without masks."""
        if not self.has_masks:
            return None
        rows = range(self.first_query, len(self.all))
        return np.array([self._masks(row).mean() for row in rows])

    def _masks(self, row: int) -> np.ndarray:
        """Return where a tracklet's occluders are: (length, H, W) bool."""
        return read_masks(self.all, row) == OCCLUDER

    def person_mask(self, row: int, position: int) -> np.ndarray | None:
        """Return where the person is in a frame, (H, W) bool; None without masks."""
        if not self.has_masks:
            return None
        person = (read_masks(self.all, row)[position] >= HEAD)[None]
        return resize_masks(person, self.size)[0]

    # --- one tracklet ---------------------------------------------------------------------------

    def strip(self, row: int, count: int, height: int) -> np.ndarray:
        """Return `count` frames spread over a tracklet, small: (n, height, w, 3)."""

        def make() -> np.ndarray:
            images = self.frames.read(row, spread(int(self.all.lengths[row]), count))
            return resize(images, (height, height * self.size[1] // self.size[0]))

        return self._strips.get((row, count, height), make)

    def seen(self, row: int) -> Seen:
        """Look at all clips of a tracklet; the second time nothing is computed."""
        return self._looks.get(row, lambda: self._see(row), lambda seen: len(seen.frames))

    def _see(self, row: int) -> Seen:
        length = int(self.all.lengths[row])
        positions = np.array(dense_clips(length, self.config.frames))  # (n, T)
        frames = self.frames.read(row, range(length))[positions]  # (n, T, H, W, 3)
        occluders = self._masks(row)[positions] if self.has_masks else None
        repeated = repeats(length, self.config.frames).numpy()
        return Seen(row, row, positions, frames, self.look(frames), repeated, occluders)

    def look(self, frames: np.ndarray) -> Look:
        """Look at clips (n, T, H, W, 3) uint8, a batch at a time."""
        self.forwards += len(frames)
        batches = torch.from_numpy(frames).split(self.config.eval_batch)
        looks = [look(self.model, self._input(batch)) for batch in batches]
        return tree_cat([tree_map(Tensor.cpu, one) for one in looks])

    def _input(self, clips: Tensor) -> Tensor:
        return network_input(clips, self.device)

    # --- other weights --------------------------------------------------------------------------

    def weighted(self, seen: Seen, swap: Reweighting) -> Look:
        """Return the look at a tracklet under other weights; the tokens stay."""
        if not swap.changes:
            return seen.look
        occluded = self.hidden(seen) if swap.how == "oracle" else None
        attention = self._reweigh(swap, seen.look.attention, occluded)
        return look_at_tokens(self.head, seen.look.tokens, attention)

    def _reweigh(
        self, swap: Reweighting, attention: Attention, occluded: Shares | None
    ) -> Attention:
        if swap.temperature != 1:
            attention = swapped(attention, "temperature", temperature=swap.temperature)
        if swap.how == "gga":
            return attention
        draws = generator(0, "browser swap")
        return swapped(attention, swap.how, occluded=occluded, generator=draws)

    def hidden(self, seen: Seen) -> Shares | None:
        """Return the occluded share of each token; None without masks."""
        return None if seen.occluders is None else token_shares(seen.occluders, self.head)

    @property
    def holds_gallery(self) -> bool:
        """Whether the tokens of all that is searched fit in the memory set aside for them."""
        return token_bytes(self.head, self.all.subset(np.arange(self.searched))) <= BUDGET

    def load_gallery(self) -> Iterator[float]:
        """Look at all that is searched, once, and yield the share that is done after each.

        It can be stopped between two of them and goes on where it was.

        Raises:
            ResourceError: there are too many tokens to hold.
        """
        if not self.holds_gallery:
            raise ResourceError(
                f"the tokens of {self.searched:,} tracklets need more than {BUDGET / 1e9:.1f} GB: "
                "give other weights to the query alone"
            )
        while self._gallery is None:
            row = len(self._gallery_seen)
            seen = self._see(row)
            self._gallery_seen.append((seen.look, self.hidden(seen)))
            if row + 1 == self.searched:
                looks, shares = zip(*self._gallery_seen, strict=True)
                owner = [row for row, look in enumerate(looks) for _ in look.embedding]
                whole, known = tree_cat(looks), tree_cat(shares) if shares[0] else None
                self._gallery = GalleryTokens(
                    whole.tokens, whole.attention, known, torch.tensor(owner)
                )
                self._gallery_seen = []
            yield (row + 1) / self.searched

    def gallery_vectors(self, swap: Reweighting, gallery_too: bool) -> Tensor:
        """Return (N, D) of what is searched; with `gallery_too` under other weights as well."""
        if not gallery_too or not swap.changes:
            return self.vectors[: self.searched]
        for _ in self.load_gallery():
            pass
        reweigh = partial(self._reweigh, swap)
        return self._vectors.get(swap, lambda: self._gallery.vectors(self.head, reweigh))

    def rank(
        self, row: int, vector: Tensor, swap: Reweighting = AS_TRAINED, gallery_too: bool = False
    ) -> Found:
        """Search for a query by its embedding `vector` (D,), a unit vector."""
        pids, views = self.all.pids, self.all.views
        who = int(pids[row]), int(views[row])
        vectors = self.gallery_vectors(swap, gallery_too)
        searched = slice(self.searched)
        return find(vectors, vector, pids=pids[searched], views=views[searched], who=who)

    # --- a pair ---------------------------------------------------------------------------------

    def similarity(self, one: Look, other: Tensor) -> Contribution:
        """Take the similarity of a tracklet to a unit vector (D,) apart."""
        return tracklet_contributions([one], other, self.head)

    def weight_maps(self, one: Look, clip: int) -> dict[str, np.ndarray]:
        """Return ln(weight / uniform) of one clip, (T, h, w) of each branch."""
        attention = clip_attention(one, clip)
        maps = relative_maps(attention, self.head, self.map_size)
        return {name: np.nan_to_num(values[0].log().numpy()) for name, values in maps.items()}

    def contribution_maps(self, parts: dict[str, Tensor], clip: int) -> dict[str, np.ndarray]:
        """Return what a branch would add if all its tokens added as much as this one: (T, h, w).

        `parts` are a tracklet's, see `Contribution`: a branch adds the mean of these values.
        """
        places = projection(self.head, self.map_size)
        maps = {}
        for name, values in parts.items():
            spread = torch.einsum("tk,khw->thw", values[clip] * values.numel(), places[name])
            maps[name] = np.nan_to_num((spread / places[name].sum(0)).numpy())
        return maps

    def cam(self, seen: Seen, clip: int, other: int) -> np.ndarray:
        """Return ln(Grad-CAM / its mean over the clip), (T, h, w), of the similarity to `other`."""
        values = self._asked(similarity_cam, seen, clip, other)
        return np.log(np.maximum(values / max(values.mean(), 1e-12), 1e-3))

    def occlusion(self, seen: Seen, clip: int, other: int) -> np.ndarray:
        """Return how much the clip's similarity to `other` drops where a block is covered."""
        return self._asked(occlusion_map, seen, clip, other, block=block_size(*self.size))

    def _asked(
        self, method: Callable[..., Tensor], seen: Seen, clip: int, other: int, **options: Any
    ) -> np.ndarray:
        """Return a method's map of one clip, (T, h, w), for the similarity to `other`."""

        def make() -> np.ndarray:
            self.forwards += 1
            clips = self._input(torch.from_numpy(seen.frames[clip][None]))
            target = self.vectors[other].to(self.device)
            return method(self.model, clips, target, **options)[0].cpu().numpy()

        return self._maps.get((method.__name__, seen.key, clip, other), make)

    # --- the brush ------------------------------------------------------------------------------

    def covered(
        self, seen: Seen, clip: int, frames: np.ndarray, mask: np.ndarray, *, key: Hashable
    ) -> Seen:
        """Look at a tracklet of which one clip's frames are others now: the brush was there.

        Args:
            seen: the tracklet.
            clip: which of its clips.
            frames: (T, H, W, 3), the clip's new frames.
            mask: (T, H, W) bool, what the brush covers; added to the occluders.
            key: names what was done: the same key, and nothing is computed again.
        """
        name = (seen.row, clip, key)
        one = self._maps.get(("covered", *name), lambda: self.look(frames[None]))
        pixels, occluders = seen.frames.copy(), seen.occluders
        pixels[clip] = frames
        if occluders is not None:
            occluders = occluders.copy()
            occluders[clip] |= resize_masks(mask, occluders.shape[2:])
        whole = tree_map(lambda x, new: torch.cat([x[:clip], new, x[clip + 1 :]]), seen.look, one)
        return seen._replace(key=name, frames=pixels, look=whole, occluders=occluders)


def clip_attention(one: Look, clip: int) -> Attention:
    """Take the weights of one of the clips; there is still an axis of clips."""
    return tree_map(lambda x: x[clip : clip + 1], one.attention)


def unit(one: Look) -> Tensor:
    """Return a tracklet's embedding: the mean of its clips', scaled to length 1."""
    return F.normalize(one.embedding.sum(0), dim=0)
