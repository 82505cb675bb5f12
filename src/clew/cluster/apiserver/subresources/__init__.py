"""What hangs below an object: scale, binding, eviction, token; log, exec, attach and port-forward."""
