"""One folder a backend: objects, render, simulate, explain, apply."""
