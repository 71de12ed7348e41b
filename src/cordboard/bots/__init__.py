"""The bots that come with the package."""
