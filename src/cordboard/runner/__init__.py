"""The runner: hosts sessions, each in a process of its own.

A supervisor (HTTP, registry, heartbeat, capture) and a fork server that has imported Pipecat and
the bot files once. The bots' processes are forked from the latter and watched by the former.
"""
