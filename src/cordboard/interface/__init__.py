"""The interface: the web application in front of a person.

A browser speaks to nobody else. Who a person is comes from the signed login; what a person may do
with a session comes from whose it is; the gateway is asked with the control secret, which no
browser ever sees.
"""
