"""Measures rowtrail against its peers, in one run on one machine: `make bench`.

Every workload runs rowtrail and its peers in turn, several rounds, and reports medians and ratios
beside the bar that rowtrail sets itself. Nothing here asserts a time.

`python -m benchmarks.trace_calls` measures no time: through how many files and functions a `put`,
an LLM call and a tool call pass, and figures of the sources (function lengths, import cycles, broad
excepts), each beside its bar; `--json` and `--files` say more. Nobody runs it but who asks.
"""
