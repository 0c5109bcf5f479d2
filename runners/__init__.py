"""Runners: simulators, assets, episodes, records and reports around the models of ``vlacache``."""
