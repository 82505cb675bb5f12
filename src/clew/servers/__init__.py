"""Programs that answer packets."""
