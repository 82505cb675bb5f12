"""DNS answers by a BPF program at the links of pods; see README.md."""
