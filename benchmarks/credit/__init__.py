"""Credit methods side by side, on three tiny worlds: `python -m benchmarks.credit`.

Everything that learns is the engine's own; the worlds, the tools and the grading are in process.
"""
