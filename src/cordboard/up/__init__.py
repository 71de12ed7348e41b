"""``cordboard up``: starts, watches and stops all components on this machine."""
