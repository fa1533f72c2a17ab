"""What people said about the features of one SAE."""

from __future__ import annotations

from collections.abc import Mapping

from saescope.store.annotations import Annotation, Annotations
from saescope.store.read.connection import Connection


class FeatureNotes:
    """Labels, stars, comments and lists, kept by the weights' hash: they outlive a version."""

    def __init__(self, connection: Connection, annotations: Annotations) -> None:
        self._connection = connection
        self._annotations = annotations

    def annotation(self, feature_id: int) -> Annotation:
        """What people said about a feature: label, star, comments, lists. Raises `UnknownFeature`."""
        i = self._connection.check_feature(feature_id)
        return self.annotations().get(i) or Annotation(i)

    def annotations(self) -> Mapping[int, Annotation]:
        """What people said about every feature that anybody touched."""
        return self._annotations.states(self._weights)

    def label(self, feature_id: int, text: str | None, author: str | None = None) -> None:
        """Give a feature a label; None takes it away. It is kept by the weights' hash, so it outlives this version."""
        self._annotations.label(self._weights, self._connection.check_feature(feature_id), text, author)

    def star(self, feature_id: int, starred: bool = True, author: str | None = None) -> None:
        """Star a feature, or take the star away."""
        self._annotations.star(self._weights, self._connection.check_feature(feature_id), starred, author)

    @property
    def _weights(self) -> str:
        return self._connection.manifest.weights_sha256
