"""High-throughput screening of perovskites: spaces, blocks, runs, rankings."""
