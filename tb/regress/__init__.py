"""Regressions: suites of simulations as data, each run a description that any machine can carry out."""
