"""Streams: WebSockets of carriers and other clients, which the edge connects to the bot's process.

The edge copies messages and reads none, but the first two where a carrier names its call in them.
"""
