"""Who is searched for whom. The camera rule itself is the same everywhere: see `evaluate`."""

from dataclasses import dataclass

import numpy as np

from mmagga.data.tracklets import Tracklets


@dataclass(frozen=True)
class Protocol:
    """One convention for comparing query and gallery tracklets."""

    name: str
    """Its key in `PROTOCOLS`, and its name in result files."""
    queries_in_gallery: bool
    """Search the query tracklets too: they follow the gallery's, as further rows."""
    disjoint_cameras: bool = False
    """Queries and gallery come from different cameras; `evaluate` refuses them otherwise."""

    @staticmethod
    def for_tracklets(tracklets: Tracklets) -> "Protocol":
        """Give the standard protocol of a data set, from its flag and its cameras."""
        if tracklets.queries_in_gallery:
            return PROTOCOLS["mars"]
        query, gallery = (tracklets.split(name).camids for name in ("query", "gallery"))
        shared = len(np.intersect1d(query, gallery))
        return PROTOCOLS["query_gallery" if shared else "two_camera"]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("mars", queries_in_gallery=True),
        # A variant some published systems report: 140 MARS queries lose their only matches.
        Protocol("mars_without_queries", queries_in_gallery=False),
        Protocol("query_gallery", queries_in_gallery=False),
        Protocol("two_camera", queries_in_gallery=False, disjoint_cameras=True),
    )
}
"""MARS with and without its queries in the gallery; DukeMTMC-VideoReID's plain query against
gallery; iLIDS-VID's and PRID2011's camera 1 against camera 2."""
