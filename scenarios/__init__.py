"""Suites: scenarios with expected results, the runner and its reports."""
