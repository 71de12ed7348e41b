"""The interface: the web application for people.

Browsers talk to no other component. The signed login identifies a person, the owner of a session decides
who may use it, and the interface calls the gateway with the control secret, which no browser ever sees.
"""
