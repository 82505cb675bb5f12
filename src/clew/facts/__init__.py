"""One module a kind: a frozen, trimmed struct and its from_api(). API JSON ends here."""
