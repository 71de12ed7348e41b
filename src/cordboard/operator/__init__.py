"""The operator: hands each accepted join to a runner, and repairs what died.

Level-triggered: ``plan.py`` says, as a pure function, what is to be done about what is; ``loop.py``
looks and acts. It keeps nothing that it could not find again in the store; any number may run.
"""
