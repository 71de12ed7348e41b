"""The bots that are part of the package."""
