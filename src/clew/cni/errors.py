"""What a CNI call answers when it fails: a code, a sentence, details. CNI specification 1.1, section "Error".

Codes 1 to 99 are the specification's; from 100 on they are ours.
"""

from enum import IntEnum


class Code(IntEnum):
    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIGURATION = 7
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50  # STATUS: this network can attach nothing now
    LIMITED_CONNECTIVITY = 51
    ALREADY_ATTACHED = 100
    NO_ADDRESS_LEFT = 101
    KERNEL_REFUSED = 102
    CHECK_FAILED = 103
    PORT_TAKEN = 104
    ADDRESS_REFUSED = 105
    DEFECT = 999  # ours, and a bug


class CniError(Exception):
    """Ends a call; the plugin prints it as the specification's error object and exits 1."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        self.code = code
        self.message = message
        self.details = details
        super().__init__(f"{message}: {details}" if details else message)
