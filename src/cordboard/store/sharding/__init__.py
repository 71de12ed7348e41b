"""Rooms spread over several shards.

``ShardedStore`` has one ``RedisStore`` per shard, each with its own connection, so that a Redis server that
is away affects only its own shard. A plane with one shard uses nothing of this package.
"""
