"""What a stand-in's builder answers: how its process starts, and what it is made of, in words."""

from clew.base.value import Value
from clew.cluster.images.image import ProcessConfig


class Recipe(Value):
    """`made_of` ends the sentence `"nginx:1.27" is served by a stand-in: …`."""

    process: ProcessConfig
    made_of: str
