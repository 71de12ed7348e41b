"""Sharding: rooms spread over several shards, and one store that has them all."""
