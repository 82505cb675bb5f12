"""nftables: structure as nft's own text, elements of sets and maps as binary batches, both read back.

`Nft` is the port, `KernelNft` the real thing, `FakeNft` the one that tests use; one suite runs on both.
"""

from clew.kernel.nft.fake import FakeNft
from clew.kernel.nft.port import ElementChange, ElementSet, Family, Nft, NftError
from clew.kernel.nft.real import KernelNft

__all__ = ["ElementChange", "ElementSet", "FakeNft", "Family", "KernelNft", "Nft", "NftError"]
