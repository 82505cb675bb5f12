"""What is said of failures: one of several for a command's user, and problems by object and field."""

from clew.base.errors import Problem, UserError, WorldError, refusal_among


def test_a_command_says_the_first_refusal_however_deep_it_lies() -> None:
    refusal, busy, defect = UserError("port 53 is taken", "free it"), WorldError("gone"), ValueError("ours")
    inner = ExceptionGroup("inner", [defect, ExceptionGroup("innermost", [busy, refusal])])
    several = ExceptionGroup("parts", [inner])
    assert refusal_among(several, UserError) is refusal
    assert refusal_among(several, UserError, WorldError) is busy
    assert refusal_among(ExceptionGroup("parts", [defect]), UserError).args[0] == "parts"


def test_a_problem_says_its_object_and_field() -> None:
    assert str(Problem("Service default/web", "spec.ports[0]", "is taken")) == (
        "Service default/web: spec.ports[0]: is taken"
    )
    assert Problem("Service default/web", "", "is malformed").said == "is malformed"
