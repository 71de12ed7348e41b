"""The pytest plugin behind ``pytest --cordboard-log``: it checks each log line that a test writes.

``plugin`` is what pytest loads in every run; it imports the rest when the option is given.
"""
