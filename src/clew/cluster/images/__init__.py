"""Images for the lab's containers: loaded archives, stand-ins made from the machine's packages, a registry."""

from clew.cluster.images.image import Bind, Image, ImageError, ListedImage
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.service import ImageService

__all__ = ["Bind", "Image", "ImageError", "ImageService", "ListedImage", "OwnProgram"]
