"""A server under perf_analyzer's load: what `make load` measures."""
