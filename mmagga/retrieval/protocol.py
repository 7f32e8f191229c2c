"""Which tracklets a query is searched among, and which of them do not count."""

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
    same_camera: bool = False
    """Tracklets of the query's person under its own camera are matches too, and only the query
    itself is excluded; needs `queries_in_gallery`. Otherwise they are excluded."""

    @property
    def rule(self) -> str:
        """Describe in words what counts as a match."""
        if self.same_camera:
            return "the same person in another tracklet; the same camera is allowed"
        return "the same person under another camera"

    @staticmethod
    def for_tracklets(tracklets: Tracklets) -> "Protocol":
        """Return the standard protocol of a data set, from its flag and its cameras."""
        if tracklets.one_camera:
            return PROTOCOLS["one_camera"]
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
        Protocol("one_camera", queries_in_gallery=True, same_camera=True),
    )
}
"""MARS with and without its queries in the gallery; DukeMTMC-VideoReID's plain query against
gallery; iLIDS-VID's and PRID2011's camera 1 against camera 2; every tracklet of a single camera
against all others of it."""
