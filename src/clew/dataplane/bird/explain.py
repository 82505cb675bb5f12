"""Why a route to pods is there, in one sentence. Pure."""

from clew.ir.routing import Speaker


def explain(speaker: Speaker, destination: str, via: str) -> str:
    """A route that BIRD put into the kernel (`ip route show proto bird`)."""
    name = next((each.name for each in speaker.neighbours if each.address == via), via)
    return f"{destination} was announced by {name} over {speaker.protocol.upper()}; BIRD entered it (proto bird)"
