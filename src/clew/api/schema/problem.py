"""What is wrong with a request's body, before any rule of admission is asked."""

from clew.base.value import Value


class FieldProblem(Value):
    """`fatal` for a value that cannot be decoded at all; otherwise a field that is unknown or given twice."""

    path: str
    message: str
    fatal: bool = False
