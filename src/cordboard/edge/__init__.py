"""The edge: the public service that turns every way in (a carrier's webhook, a WebSocket, a ``/start``) into a join.

It is stateless. It asks the gateway for joins and leaves with the control secret, and connects to runners for streams.
"""
