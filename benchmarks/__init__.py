"""Measurements that docs/benchmarks.md reports; run by hand, on Linux, each against the real programs."""
