"""Facts to ir. Pure functions of current state."""
