"""Refusals as the Kubernetes API words them: metav1.Status with code, reason, message and details."""

from collections.abc import Sequence

from clew.api.kinds import Kind
from clew.api.objects import Object
from clew.cluster.admission import FieldError


class ApiRefusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault of ours
    """An answer other than success; becomes a metav1.Status."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata: Object = {}  # a list that cannot go on says here how it could

    def status(self) -> Object:
        status: Object = {
            "kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        }  # fmt: skip
        if not self.reason:
            del status["reason"]
        if self.details is not None:
            status["details"] = self.details
        return status


class UnknownPath(ApiRefusal):
    """Nothing is served there. Told as text, from which clients make a sentence with their verb and resource."""

    page = "404 page not found\n"


def qualified(kind: Kind) -> str:
    """`pods` or `deployments.apps`, as messages name a resource."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def details_of(kind: Kind, name: str) -> Object:
    details: Object = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    details["kind"] = kind.plural
    return details


def not_found(kind: Kind, name: str) -> ApiRefusal:
    return ApiRefusal(404, "NotFound", f'{qualified(kind)} "{name}" not found', details_of(kind, name))


def already_exists(kind: Kind, name: str, *, generated: bool = False) -> ApiRefusal:
    why = ", the server was not able to generate a unique name for the object" if generated else ""
    message = f'{qualified(kind)} "{name}" already exists{why}'
    return ApiRefusal(409, "AlreadyExists", message, details_of(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiRefusal:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {why}'
    return ApiRefusal(409, "Conflict", message, details_of(kind, name))


def forbidden(kind: Kind, name: str, why: str) -> ApiRefusal:
    message = f'{qualified(kind)} "{name}" is forbidden: {why}'
    return ApiRefusal(403, "Forbidden", message, details_of(kind, name))


def terminating(kind: Kind, name: str, namespace: str) -> ApiRefusal:
    """What a namespace on its way out says to newcomers."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    refusal = forbidden(kind, name, why)
    cause = {
        "reason": "NamespaceTerminating", "field": "metadata.namespace",
        "message": f"namespace {namespace} is being terminated",
    }  # fmt: skip
    refusal.details = (refusal.details or {}) | {"causes": [cause]}
    return refusal


def bad_request(message: str) -> ApiRefusal:
    return ApiRefusal(400, "BadRequest", message)


def gone(message: str) -> ApiRefusal:
    return ApiRefusal(410, "Expired", message)


def internal(message: str) -> ApiRefusal:
    causes = {"causes": [{"message": message}]}
    return ApiRefusal(500, "InternalError", f"Internal error occurred: {message}", causes)


def unsupported_media(accepted: Sequence[str]) -> ApiRefusal:
    text = "the body of the request was in an unknown format - accepted media types include: "
    return ApiRefusal(415, "UnsupportedMediaType", text + ", ".join(accepted))


def too_new(asked: int, current: int) -> ApiRefusal:
    """A resourceVersion that this server has not reached (nobody can have got it from here)."""
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
    text = f"Too large resource version: {asked}, current: {current}"
    return ApiRefusal(504, "Timeout", f"Timeout: {text}", details | {"retryAfterSeconds": 1})


def no_such_path() -> ApiRefusal:
    return UnknownPath(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> ApiRefusal:
    return ApiRefusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def invalid(kind: Kind, name: str, errors: Sequence[FieldError]) -> ApiRefusal:
    """422 from admission's FieldErrors."""
    title = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details: Object = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    return _invalid(title, name, details | {"kind": kind.kind}, errors)


def invalid_options(kind: str, errors: Sequence[FieldError]) -> ApiRefusal:
    """422 for the query or body that says how to do it: ListOptions, DeleteOptions, PatchOptions."""
    return _invalid(f"{kind}.meta.k8s.io", "", {"group": "meta.k8s.io", "kind": kind}, errors)


def invalid_patch(shown: str, why: str) -> ApiRefusal:
    """422 for a patch whose result cannot be read; its kind is not named, as the real server does not."""
    wrong = FieldError("patch", "FieldValueInvalid", shown, why)
    return _invalid("", "", {}, [wrong])


def _invalid(title: str, name: str, details: Object, errors: Sequence[FieldError]) -> ApiRefusal:
    texts = list(dict.fromkeys(str(error) for error in errors))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [
        {"reason": error.reason, "message": str(error).removeprefix(f"{error.field}: "), "field": error.field}
        for error in errors
    ]
    return ApiRefusal(422, "Invalid", f'{title} "{name}" is invalid: {joined}', details | {"causes": causes})
