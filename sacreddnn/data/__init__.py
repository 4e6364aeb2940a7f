"""Data sets by name, augmentation on the device, and shuffled minibatches.

`load` gives a `Dataset` of uint8 images in memory; a `Pipeline` turns a minibatch of them into normalised,
augmented inputs; a `Stream` draws minibatches without end and can be stopped and continued
anywhere.
"""

from sacreddnn.data.dataset import DataError, Dataset, Split
from sacreddnn.data.pipeline import Pipeline
from sacreddnn.data.sources import SOURCES, load
from sacreddnn.data.stream import Stream
from sacreddnn.data.streaming import make_stream

__all__ = ["SOURCES", "DataError", "Dataset", "Pipeline", "Split", "Stream", "load", "make_stream"]
