"""Prismatic-style vision-language-action models whose decoder takes a ``CacheDecision``."""
