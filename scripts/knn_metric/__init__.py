"""Watch a model on Hydrosphere by a KNN detector: the command `knn-metric`."""

__version__ = "1"
