"""OpenAPI v3 documents (KEP-2896): an index, and one document for each group and version that is served.

kubectl asks for them to validate, to explain, and to learn how lists are patched. Called by the API server.
"""

from clew.api.openapi.documents import document, index

__all__ = ["document", "index"]
