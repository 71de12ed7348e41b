"""The gateway: accepts joins over HTTP. It holds no state."""
