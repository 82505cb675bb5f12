"""The Kubernetes client: list, watch, resume, retry; the reflector that fills a store."""
