"""The runner: hosts sessions, each in a bot process.

The supervisor serves HTTP, renews leases and forwards the bots' output. A fork server imports Pipecat and
the bot files once; each bot process is forked from it, and the supervisor watches each of them.
"""
