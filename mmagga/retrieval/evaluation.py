"""From a network and a data set to scores, shared out among the processes there are."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmagga.config import Config
from mmagga.data.tracklets import Tracklets
from mmagga.errors import Stopped
from mmagga.model.fast import for_embedding
from mmagga.retrieval import Embeddings, Protocol, Scores, embed_by_rules, evaluate
from mmagga.system.device import autocast, resolve_device
from mmagga.system.distributed import collect, world


def embed_test(
    model: nn.Module, tracklets: Tracklets, config: Config, bar: bool = True
) -> tuple[Embeddings, Embeddings]:
    """Embed the query and the gallery tracklets by their dense clips.

    The gallery of a single camera's tracklets, which are all queries, has no rows.
    """
    query = embed_split(model, tracklets.split("query"), config, bar)
    gallery = tracklets.split("gallery")
    if tracklets.one_camera and not len(gallery):
        return query, Embeddings(*(field[:0] for field in query))
    return query, embed_split(model, gallery, config, bar)


def embed_split(
    model: nn.Module, tracklets: Tracklets, config: Config, bar: bool = True
) -> Embeddings:
    """Embed these tracklets; of several processes each does every n-th and all get the whole."""
    here = world()
    mine = np.arange(here.rank, len(tracklets), here.size)
    vectors: Tensor | Stopped | None = None
    if len(mine) or here.size == 1:
        some = tracklets.subset(mine)
        try:
            found = embed_here(model, some, config, ("dense",), bar and here.first)
            vectors = found["dense"].vectors
        except Stopped as request:  # the other processes have to know
            vectors = request
    shares = [share for share in collect(vectors) if share is not None]
    for share in shares:
        if isinstance(share, Stopped):
            raise share
    whole = torch.empty(len(tracklets), shares[0].shape[1])
    for rank, share in enumerate(shares):
        whole[rank :: here.size] = share
    return Embeddings(whole, torch.tensor(tracklets.pids), torch.tensor(tracklets.camids))


def embed_here(
    model: nn.Module, tracklets: Tracklets, config: Config, rules: Sequence[str], bar: bool = True
) -> dict[str, Embeddings]:
    """Embed these tracklets in this process by several rules at once, see `embed_by_rules`."""
    device = resolve_device(config.device)
    with autocast(config.hardware, device):
        return embed_by_rules(
            for_embedding(model, config.hardware, device),
            tracklets,
            rules,
            frames=config.frames,
            size=(config.height, config.width),
            batch=config.eval_batch,
            device=device,
            workers=config.workers,
            packed=config.packed,
            progress=bar,
        )


def score(model: nn.Module, tracklets: Tracklets, config: Config, bar: bool = True) -> Scores:
    """Evaluate on the test split under the data set's standard protocol."""
    query, gallery = embed_test(model, tracklets, config, bar)
    return evaluate(query, gallery, Protocol.for_tracklets(tracklets))
