"""The Kubernetes language: kinds, metadata, selectors, quantities, patches. No HTTP, no storage."""
