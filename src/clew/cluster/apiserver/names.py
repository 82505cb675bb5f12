"""Random parts of names, in the alphabet that Kubernetes uses: no vowels, no digits that look like letters."""

import secrets

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def random_suffix() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(5))
