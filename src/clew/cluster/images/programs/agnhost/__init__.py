"""The network test server `agnhost`: the subcommands that cluster networking is tested with, flags and replies alike.

Behaviour follows the public description of the original image; where its replies carry Go's error texts, these carry
texts of the same shape. Runs under an isolated interpreter, so modules import each other relatively and import little:
a test may start hundreds of these.
"""
