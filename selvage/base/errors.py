"""The exceptions that end a command with a sentence: bad input, and a simulation that failed."""


class InputError(ValueError):
    """Bad input. The message is one sentence that names the value and the rule it breaks."""


class SimulationError(RuntimeError):
    """The simulator or the bench failed; the message says where its log is."""


class RtlError(SimulationError):
    """The RTL ran and broke a rule of its pins: it hangs, shows X, or sends what is not due. The message says which."""
