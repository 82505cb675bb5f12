import pytest

from clew.cluster.images.image import ImageError
from clew.cluster.images.reference import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("radial/busyboxplus:curl", "docker.io/radial/busyboxplus:curl"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("registry.k8s.io/e2e-test-images/agnhost:2.53", "registry.k8s.io/e2e-test-images/agnhost:2.53"),
        ("[fd00::1]:5000/x:1", "[fd00::1]:5000/x:1"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}"),
        ("Host/x", "Host/x:latest"),
        ("a__b/c-d.e:T.x_1-", "docker.io/a__b/c-d.e:T.x_1-"),
    ],
)
def test_a_reference_is_normalised(text: str, normal: str) -> None:
    assert str(parse_reference(text)) == normal


@pytest.mark.parametrize(
    "text", ["", ":", "nginx:", "nginx@", "nginx@sha256:abc", "ng inx", "-nginx", "a//b", "a/b:", "x:..", "../x", "x/"]
)
def test_what_is_no_reference_is_refused_in_kubelets_words(text: str) -> None:
    with pytest.raises(ImageError) as refused:
        parse_reference(text)
    assert refused.value.reason == "InvalidImageName"
    assert f'couldn\'t parse image name "{text}": invalid reference format' in refused.value.message


def test_capitals_are_named_as_the_cause() -> None:
    with pytest.raises(ImageError, match=r"repository name \(library/Nginx\) must be lowercase"):
        parse_reference("Nginx")


def test_an_image_id_is_not_a_name() -> None:
    with pytest.raises(ImageError, match="cannot specify 64-byte hexadecimal strings"):
        parse_reference("a" * 64)


@pytest.mark.parametrize("text", ["nginx:1", "radial/busyboxplus:curl", "quay.io/a/b:c"])
def test_the_familiar_form_is_what_was_typed(text: str) -> None:
    assert parse_reference(text).familiar == text
