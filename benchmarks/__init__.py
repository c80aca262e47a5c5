"""Measures rowtrail against its peers, in one run on one machine: `make bench`.

Every workload runs rowtrail and its peers in turn, several rounds, and reports medians and ratios
beside the bar that rowtrail sets itself. Nothing here asserts a time.
"""
