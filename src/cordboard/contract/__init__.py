"""The names and rules that cross a process boundary (docs/contract/).

This package has constants and pure functions, and imports only the standard library, so that every
component, the log reader and a user's own service can use it at no cost.
"""
