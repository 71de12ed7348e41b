"""What is said: the names and rules that cross a process boundary.

Everything here is plain data and pure functions over the standard library, so that any part, the
log reader as well as a user's own service, can agree on a name without importing machinery.
"""
