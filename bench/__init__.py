"""Measurements: each with its command, the limit it is held against, and a results file in `bench/results/`.

Figures are ratios or differences within one run: machines are shared and noisy.
"""
