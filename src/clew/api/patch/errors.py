"""The one failure of all patches."""


class PatchError(ValueError):
    """status: 400 for a patch that is none, 422 for one that does not fit the object."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
