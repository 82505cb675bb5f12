"""`busybox`: Debian's static busybox with all its applets; a shell for the curious, as the original."""

from clew.cluster.images.image import ProcessConfig
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.stand_ins.recipe import Recipe
from clew.cluster.images.tree import PATH, Tree, shells, skeleton


def build(tree: Tree, own: OwnProgram) -> Recipe:
    del own
    skeleton(tree)
    shells(tree)
    return Recipe(process=ProcessConfig(cmd=("sh",), env=(PATH,)), made_of="this machine's static busybox")
