"""pyod's KNN detector as an artifact that loads everywhere, with a fast search."""

from portable_knn.detector import PortableKNN, load

__all__ = ["PortableKNN", "load"]
