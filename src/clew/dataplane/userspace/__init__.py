"""Services through a proxy in the agent itself: rules only redirect, sockets do the rest. See README.md."""
