"""Who takes part in `scripts/benchmarks/throughput.py`, each in a process of its own."""
