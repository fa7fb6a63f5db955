"""The one exception that means: the user's input is wrong, not the program."""


class InputError(ValueError):
    """Bad input. The message is one sentence that names the value and the rule it breaks."""
