"""Why a question was answered on its way, or went on to the server: one sentence. Pure."""

from clew.dataplane.dns_fast_path.objects import Outcome
from clew.dataplane.dns_fast_path.simulate import Knowledge, decide

_WHY = {
    Outcome.UNSURE: "the agent does not know that its maps are complete",
    Outcome.UNUSUAL: "it is no plain question: several, with options, or not whole",
    Outcome.TYPE: "only A and AAAA of class IN are answered on the way",
    Outcome.ZONE: "its name is outside the zone",
    Outcome.LONG: "its name is too long to be looked up",
    Outcome.FAILED: "the program could not handle it",
}


def explain(known: Knowledge, message: bytes) -> str:
    """The verdict on a question, with the object that it comes from."""
    decision = decide(known, message)
    entry = decision.entry
    whence = f"from {entry.origin}" if entry else f"from {known.zone.origin}"
    match decision.outcome:
        case Outcome.ADDRESS:
            return f"answered at the pod's link with an address, {whence}"
        case Outcome.NODATA:
            return f"answered at the pod's link: the name exists without such an address, {whence}"
        case Outcome.NXDOMAIN:
            return f"answered at the pod's link: no such name, {whence}"
        case Outcome.SERVER:
            return f"passed on to the DNS server: it knows more of this name, {whence}"
    return f"passed on to the DNS server: {_WHY[decision.outcome]}"
