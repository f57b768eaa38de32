"""The suites that come with Journeyman."""
