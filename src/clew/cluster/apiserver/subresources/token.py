"""serviceaccounts/token: TokenRequest, bound to a pod, a secret or a node where that is asked for."""

from datetime import timedelta

from clew.api.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.cluster.admission import token_request_errors
from clew.cluster.apiserver.errors import ApiRefusal, bad_request, conflict, invalid
from clew.cluster.apiserver.state import State
from clew.cluster.apiserver.tokens import Tokens

_MOUNTED = 3607  # what the volume of a pod asks for
_EXTENDED = 365 * 24 * 3600  # such a token holds for those who never read the file again, as kube-apiserver has it
TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", True)


def request_token(state: State, tokens: Tokens, namespace: str, name: str, request: Object) -> Object:
    """The request with its status filled in; 404 for an account or owner that is not there, 409 for another's uid."""
    account = state.get(SERVICE_ACCOUNT, namespace, name)
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds") or 3600
    wrong = list(token_request_errors(request))
    if wrong:
        raise invalid(TOKEN_REQUEST, "", wrong)
    audiences = spec.get("audiences") or [tokens.issuer]
    bound = _bound(state, namespace, name, spec.get("boundObjectRef"))
    mounted = seconds == _MOUNTED and any(word == "pod" for word, _ in bound) and audiences == [tokens.issuer]
    now = state.clock.now()
    answered: Object = {"audiences": audiences, "expirationSeconds": seconds}
    if spec.get("boundObjectRef"):
        answered["boundObjectRef"] = spec["boundObjectRef"]
    return {
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": rfc3339(now)},
        "spec": answered,
        "status": {
            "token": tokens.issue(account, audiences, _EXTENDED if mounted else seconds, bound),
            "expirationTimestamp": rfc3339(now + timedelta(seconds=seconds)),
        },
    }  # fmt: skip


def _bound(state: State, namespace: str, account: str, reference: Object | None) -> list[tuple[str, Object]]:
    if not reference:
        return []
    name, word = reference.get("name") or "", str(reference.get("kind", ""))
    kind = {"Pod": POD, "Secret": SECRET, "Node": NODE}.get(word)
    if kind is None:
        known = f"{reference.get('apiVersion', '')}, Kind={word}"
        raise bad_request(f"cannot bind token to object of type {known}")
    owner = state.get(kind, namespace, name)
    uid = owner["metadata"]["uid"]
    if reference.get("uid") and reference["uid"] != uid:
        why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record."
        raise conflict(kind, name, f"{why} The object might have been deleted and then recreated")
    bound = [(word.lower(), owner)]
    if kind == POD:
        running_as = owner["spec"].get("serviceAccountName") or "default"
        if running_as != account:
            text = (
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
            raise bad_request(text)
        node = owner["spec"].get("nodeName")
        if node:
            try:
                bound.append(("node", state.get(NODE, "", node)))
            except ApiRefusal:
                return bound  # a node that has gone since binds nothing
    return bound
