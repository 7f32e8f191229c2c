"""Retrieval: tracklets to embeddings, embeddings to CMC, mAP and mINP, and how sure they are."""

from mmagga.retrieval.analysis import (
    DistanceHistogram,
    by_bins,
    camera_pairs,
    cmc_bands,
    describe_queries,
    distance_histogram,
    occluded_shares,
    quantile_edges,
)
from mmagga.retrieval.clip_rules import CLIP_RULES, ClipRule
from mmagga.retrieval.embedding import Embeddings, embed, embed_by_rules
from mmagga.retrieval.metrics import Scores, evaluate, rank_list
from mmagga.retrieval.projection import project
from mmagga.retrieval.protocol import PROTOCOLS, Protocol
from mmagga.retrieval.reranking import rerank
from mmagga.retrieval.uncertainty import (
    Interval,
    PairedDifference,
    bootstrap,
    crossed_difference,
    crossed_interval,
    paired_difference,
)

__all__ = [
    "CLIP_RULES",
    "PROTOCOLS",
    "ClipRule",
    "DistanceHistogram",
    "Embeddings",
    "Interval",
    "PairedDifference",
    "Protocol",
    "Scores",
    "bootstrap",
    "by_bins",
    "camera_pairs",
    "cmc_bands",
    "crossed_difference",
    "crossed_interval",
    "describe_queries",
    "distance_histogram",
    "embed",
    "embed_by_rules",
    "evaluate",
    "occluded_shares",
    "paired_difference",
    "project",
    "quantile_edges",
    "rank_list",
    "rerank",
]
