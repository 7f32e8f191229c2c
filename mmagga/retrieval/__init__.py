"""Retrieval: tracklets to embeddings, embeddings to CMC, mAP and mINP, and how sure they are."""

from mmagga.retrieval.embedding import Embeddings, embed
from mmagga.retrieval.protocol import PROTOCOLS, Protocol
from mmagga.retrieval.scores import Scores, evaluate, rank_list
from mmagga.retrieval.uncertainty import Interval, PairedDifference, bootstrap, paired_difference

__all__ = [
    "PROTOCOLS",
    "Embeddings",
    "Interval",
    "PairedDifference",
    "Protocol",
    "Scores",
    "bootstrap",
    "embed",
    "evaluate",
    "paired_difference",
    "rank_list",
]
