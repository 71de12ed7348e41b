"""Rooms of Daily and LiveKit: made for a session, with a token for the bot and one for the person."""
