"""Desired beside actual: DeltaMap, pacing, ordered steps. Knows neither Kubernetes nor nft."""
