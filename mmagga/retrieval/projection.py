"""Projections of embeddings to two dimensions, for visual inspection only."""

import numpy as np
import pandas as pd

from mmagga.retrieval.embedding import Embeddings


def project(embeddings: Embeddings, persons: int = 20, perplexity: float = 10.0) -> pd.DataFrame:
    """Lay the tracklets of a few persons out in two dimensions, by PCA and by t-SNE.

    Those with most tracklets are taken, by ascending id where equal; distractors and junk are not.
    t-SNE starts from PCA and draws nothing, so there is one picture; its perplexity is at most a
    third of the tracklets.

    Returns:
        One row per tracklet: row (of `embeddings`), pid, camid, pca_x, pca_y, tsne_x, tsne_y.
        Attribute "perplexity": the one that was used.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    pids = embeddings.pids.numpy()
    known, counts = np.unique(pids[pids > 0], return_counts=True)
    chosen = known[np.argsort(-counts, kind="stable")][:persons]
    rows = np.flatnonzero(np.isin(pids, chosen))
    vectors = np.asarray(embeddings.vectors)[rows]
    perplexity = min(perplexity, (len(rows) - 1) / 3)
    pca = PCA(2, svd_solver="full").fit_transform(vectors)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors)
    table = pd.DataFrame({"row": rows, "pid": pids[rows], "camid": embeddings.camids.numpy()[rows]})
    table[["pca_x", "pca_y"]], table[["tsne_x", "tsne_y"]] = pca, tsne
    table.attrs["perplexity"] = perplexity
    return table
