"""The built-in bot, for Pipecat's own runner."""

from cordboard.bots import parrot

bot = parrot.bot

if __name__ == "__main__":
    from pipecat.runner.run import main

    main()
