"""The gateway: accepts joins over HTTP. It keeps nothing; any number of them may run."""
