"""What the API server answers when it does not do as asked, as one exception.

Not raised for what an object says of itself; a caller that retries everything catches `ApiError`, which includes
`Unreachable`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from clew.base.errors import WorldError


class ApiError(WorldError):
    """A Status that is no success: HTTP code, machine-readable reason, the server's sentence, its details."""

    def __init__(self, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details: Mapping[str, Any] = details or {}
        self.retry_after: float | None = None  # seconds; set where the server asked for a pause and did nothing yet

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Somebody else changed the object first; read it again."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def already_exists(self) -> bool:
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def gone(self) -> bool:
        """The revision asked for is compacted: list again."""
        return self.status == 410 or self.reason in {"Expired", "Gone"}

    @property
    def invalid(self) -> bool:
        return self.status == 422

    @property
    def forbidden(self) -> bool:
        return self.status == 403

    @property
    def unauthorized(self) -> bool:
        return self.status == 401

    @property
    def terminating(self) -> bool:
        """Refused because the namespace is being deleted; no retry will help."""
        causes = self.details.get("causes") or ()
        named = any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
        return self.forbidden and (named or self.message.endswith("because it is being terminated"))

    def __str__(self) -> str:
        return f"{self.message} ({self.status} {self.reason})"


class Unreachable(ApiError):  # noqa: N818  # reads as what it says: the server is unreachable
    """No answer: refused, reset, timed out, or not who it should be. The request may or may not have been done."""

    def __init__(self, server: str, cause: BaseException) -> None:
        said = str(cause) or ("no answer in time" if isinstance(cause, TimeoutError) else type(cause).__name__)
        super().__init__(0, "Unreachable", f"cannot reach {server}: {said}")

    def __str__(self) -> str:
        return self.message


def from_response(status: int, body: bytes, retry_after: str = "") -> ApiError:
    """The error that a response stands for; a body that is no Status becomes the message."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        answer = None
    if not isinstance(answer, dict) or answer.get("kind") != "Status":
        text = body[:500].decode(errors="replace").strip()
        answer = {"message": text or f"the server answered {status}"}
    error = ApiError(
        int(answer.get("code") or status), answer.get("reason") or "", answer.get("message") or "",
        answer.get("details"),
    )  # fmt: skip
    if status in {429, 503} and retry_after.isdigit():
        error.retry_after = float(retry_after)
    return error
