"""Networks by name: ours, timm's, torchvision's."""

from sacreddnn.models.checks import ImageSizeError
from sacreddnn.models.factory import build, count_parameters, options
from sacreddnn.models.registry import names

__all__ = ["ImageSizeError", "build", "count_parameters", "names", "options"]
