"""Measures rowtrail against its peers, in one run on one machine: `make bench`.

In every workload rowtrail and its peers take turns, those that make steps, run agents or read
threads in a process each. The report has medians and ratios beside the bar that rowtrail sets
itself; nothing here asserts a time. `--against PATH` lets another checkout of rowtrail take part.

`python -m benchmarks.instructions` counts the instructions of a step: no load of the machine moves
that figure. `python -m benchmarks.trace_calls` measures no time either: through how many files and
functions a `put`, an LLM call and a tool call pass, and figures of the sources (function lengths,
import cycles, broad excepts), each beside its bar; `--json` and `--files` say more.
"""
