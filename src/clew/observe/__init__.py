"""Where what explains packets will stand: trace, flows. Nothing yet; each data plane explains its own objects."""
