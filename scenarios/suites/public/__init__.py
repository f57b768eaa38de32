"""Suites over public data sets, which are not part of Journeyman."""
