"""Refusals as the Kubernetes API words them: metav1.Status with code, reason, message and details."""

from collections.abc import Sequence
from typing import Any

from clew.api.kinds import Kind
from clew.api.objects import Object


class ApiRefusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault of ours
    """An answer other than success; becomes a metav1.Status."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Object:
        status: Object = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        }  # fmt: skip
        if self.details:
            status["details"] = self.details
        return status


def qualified(kind: Kind) -> str:
    """`pods` or `deployments.apps`, as messages name a resource."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _details(kind: Kind, name: str) -> Object:
    details: Object = {"kind": kind.plural}
    if name:
        details["name"] = name
    if kind.group:
        details["group"] = kind.group
    return details


def not_found(kind: Kind, name: str) -> ApiRefusal:
    return ApiRefusal(404, "NotFound", f'{qualified(kind)} "{name}" not found', _details(kind, name))


def already_exists(kind: Kind, name: str) -> ApiRefusal:
    return ApiRefusal(409, "AlreadyExists", f'{qualified(kind)} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiRefusal:
    why = why or ("the object has been modified; please apply your changes to the latest version and try again")
    message = f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {why}'
    return ApiRefusal(409, "Conflict", message, _details(kind, name))


def forbidden(kind: Kind, name: str, why: str) -> ApiRefusal:
    return ApiRefusal(403, "Forbidden", f'{qualified(kind)} "{name}" is forbidden: {why}', _details(kind, name))


def bad_request(message: str) -> ApiRefusal:
    return ApiRefusal(400, "BadRequest", message)


def gone(message: str) -> ApiRefusal:
    return ApiRefusal(410, "Expired", message)


def unprocessable(message: str) -> ApiRefusal:
    return ApiRefusal(422, "Invalid", message)


def no_such_path() -> ApiRefusal:
    return ApiRefusal(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> ApiRefusal:
    return ApiRefusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def invalid(kind: Kind, name: str, errors: Sequence[Any]) -> ApiRefusal:
    """422 from admission's FieldErrors: each has `field`, `reason` (FieldValueInvalid, ...) and prints itself."""
    texts = [str(error) for error in errors]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    title = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details: Object = {"name": name, "kind": kind.kind}
    if kind.group:
        details["group"] = kind.group
    details["causes"] = [
        {"reason": error.reason, "message": str(error).removeprefix(f"{error.field}: "), "field": error.field}
        for error in errors
    ]
    return ApiRefusal(422, "Invalid", f'{title} "{name}" is invalid: {joined}', details)
