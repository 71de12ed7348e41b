"""Telephone calls: carriers' webhooks become joins, and the answers are documents that open a stream.

One table per carrier (``carriers.py``) and one engine (``calls.py``, ``outbound.py``): a further carrier is a
table.
"""
