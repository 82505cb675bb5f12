"""The one failure of all patches."""

GENERIC = "the server rejected our request due to an error in our request"


class PatchError(ValueError):
    """status: 400 for a patch that is none, 422 for one that does not fit the object, 415 for the wrong language.

    `message` is what a client prints; `cause` is the detail that a real server hides in `details.causes`.
    """

    def __init__(self, status: int, message: str, cause: str = "") -> None:
        super().__init__(f"{message}: {cause}" if cause else message)
        self.status = status
        self.message = str(self)
        self.cause = cause


def unfit(cause: str) -> PatchError:
    """A patch that is well formed and cannot be applied to this object."""
    return PatchError(422, GENERIC, cause)
