"""The order of resolution, policies, sharing of work, and what is said when there is nothing."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from clew.base.errors import UserError
from clew.cluster.images import ImageError, ImageService, OwnProgram
from clew.cluster.images.flights import Flights
from clew.cluster.images.reference import parse_reference
from clew.cluster.images.stand_ins import stand_in_for


@pytest.fixture
def service(tmp_path: Path) -> ImageService:
    return ImageService(tmp_path / "images", OwnProgram.running(), skopeo=str(tmp_path / "no-skopeo"))


def fetcher(folder: Path, script: str) -> str:
    """A program in skopeo's place, written in shell: `$@` ends with source and destination."""
    path = folder / "skopeo"
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\nfor last; do :; done\nset -e\n{script}\n')
    path.chmod(0o755)
    return str(path)


def deliver(folder: Path, archive: Path) -> str:
    return fetcher(folder, f'out=${{last#oci-archive:}}\ncp {archive} "${{out%:fetched}}"')


@pytest.mark.parametrize("policy", ["Always", "IfNotPresent", "Never"])
async def test_a_stand_in_says_so_under_every_policy(service: ImageService, policy: str) -> None:
    image = await service.ensure("nginx:1.27", policy)
    assert image.reference == "docker.io/library/nginx:1.27"
    assert image.stand_in.startswith('"nginx:1.27" is served by a stand-in: nginx 1.')
    assert (image.stop_signal, image.exposed_ports) == ("SIGQUIT", ("80/tcp",))
    assert Path(image.lowers[0], "etc/nginx/nginx.conf").is_file()
    assert image.id == (await service.ensure("docker.io/library/nginx:alpine", policy)).id


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("busybox", "busybox"),
        ("busybox:1.36.1-glibc", "busybox"),
        ("busybox:1.28", "busyboxplus"),
        ("busybox:1.27.2-musl", "busyboxplus"),
        ("busybox:1.280", "busybox"),
        ("public.ecr.aws/docker/library/nginx:stable", "nginx"),
        ("k8s.gcr.io/pause:3.6", "pause"),
        ("k8s.gcr.io/e2e-test-images/agnhost:2.40", "agnhost"),
        ("alpine", ""),
        ("example/nginx", ""),
        ("r.io/library/nginx", ""),
    ],
)
def test_what_the_catalogue_claims(reference: str, name: str) -> None:
    entry = stand_in_for(parse_reference(reference))
    assert (entry.name if entry else "") == name


async def test_clew_itself_is_no_stand_in(service: ImageService) -> None:
    assert (await service.ensure("clew", "IfNotPresent")).stand_in == ""


async def test_ids_are_stable_across_services(tmp_path: Path) -> None:
    own = OwnProgram.running()
    ids = [
        {
            name: (await ImageService(tmp_path / lab, own).ensure(name, "Never")).id
            for name in ("busybox", "agnhost", "clew")
        }
        for lab in ("a", "b", "a")
    ]
    assert ids[0] == ids[1] == ids[2]


async def test_what_was_loaded_goes_before_a_stand_in(
    service: ImageService, make: SimpleNamespace, tmp_path: Path
) -> None:
    files = make.docker_files(["nginx:latest"], [make.layer(make.entry("mine", b"x"))])
    assert await service.load(make.tar_file(tmp_path / "n.tar", files)) == ["docker.io/library/nginx:latest"]
    for policy in ("Always", "IfNotPresent", "Never"):
        image = await service.ensure("nginx", policy)
        assert (image.stand_in, Path(image.lowers[0], "mine").read_bytes()) == ("", b"x")
    assert (await service.ensure("nginx:other", "Always")).stand_in
    await service.remove("nginx")
    assert (await service.ensure("nginx", "Always")).stand_in
    with pytest.raises(UserError, match="has no image nginx"):
        await service.remove("nginx")


async def test_never_and_nothing(service: ImageService) -> None:
    with pytest.raises(ImageError) as refused:
        await service.ensure("foo:1", "Never")
    assert refused.value.reason == "ErrImageNeverPull"
    assert refused.value.message == 'Container image "foo:1" is not present with pull policy of Never'


async def test_the_whole_sentence_when_nothing_can_be_had(service: ImageService) -> None:
    with pytest.raises(ImageError) as refused:
        await service.ensure("quay.io/team/foo:1", "IfNotPresent")
    assert refused.value.reason == "ErrImagePull"
    assert refused.value.message == (
        'image "quay.io/team/foo:1" is not in the lab\'s store nor in the catalogue of stand-ins; no registry could be '
        "reached (skopeo is not installed); side-load it with: clew load foo.tar"
    )


async def test_a_digest_is_not_served_by_a_stand_in(service: ImageService) -> None:
    with pytest.raises(ImageError, match="nor in the catalogue"):
        await service.ensure("nginx@sha256:" + "0" * 64, "IfNotPresent")


async def test_a_registry_comes_last_and_once(make: SimpleNamespace, tmp_path: Path) -> None:
    archive = make.tar_file(tmp_path / "a.tar", make.oci_files("fetched", [make.layer(make.entry("x", b"1"))]))
    service = ImageService(tmp_path / "images", OwnProgram.running(), skopeo=deliver(tmp_path, archive))
    images = await asyncio.gather(*(service.ensure("foo:1", "IfNotPresent") for _ in range(5)))
    assert {Path(image.lowers[0], "x").read_bytes() for image in images} == {b"1"}
    await service.ensure("foo:1", "IfNotPresent")
    assert (tmp_path / "calls").read_text().count("\n") == 1
    assert "copy --quiet docker://docker.io/library/foo:1 oci-archive:" in (tmp_path / "calls").read_text()
    await service.ensure("foo:1", "Always")  # asks again
    assert (tmp_path / "calls").read_text().count("\n") == 2
    assert (await service.list())[0].source == "registry"


@pytest.mark.parametrize(
    ("says", "heard"),
    [
        (
            'time="now" level=fatal msg="pinging container registry r.io: Get \\"https://r.io/\\": no such host"',
            'no registry could be reached (pinging container registry r.io: Get "https://r.io/": no such host)',
        ),
        ('level=fatal msg="manifest unknown"', "the registry refused it (manifest unknown)"),
        ("", "the registry refused it (skopeo gave no reason)"),
    ],
)
async def test_a_registrys_own_words_reach_the_user(tmp_path: Path, says: str, heard: str) -> None:
    skopeo = fetcher(tmp_path, f"cat >&2 <<'EOF'\n{says}\nEOF\nexit 1")
    service = ImageService(tmp_path / "images", OwnProgram.running(), skopeo=skopeo)
    with pytest.raises(ImageError) as refused:
        await service.ensure("r.io/foo", "Always")
    assert f"; {heard}; side-load it with: clew load foo.tar" in refused.value.message


@pytest.mark.parametrize(
    ("image", "plain"), [("127.0.0.1:5000/x", True), ("localhost/x", True), ("r.io:5000/x", False)]
)
async def test_only_this_machines_registry_may_be_plain(tmp_path: Path, image: str, *, plain: bool) -> None:
    service = ImageService(tmp_path / "images", OwnProgram.running(), skopeo=fetcher(tmp_path, "exit 1"))
    with pytest.raises(ImageError):
        await service.ensure(image, "Always")
    assert ("--src-tls-verify=false" in (tmp_path / "calls").read_text()) == plain


async def test_a_hostile_registry_is_refused_like_a_hostile_archive(make: SimpleNamespace, tmp_path: Path) -> None:
    bad = make.layer(make.entry("../evil", b"x"))
    archive = make.tar_file(tmp_path / "a.tar", make.oci_files("fetched", [bad]))
    service = ImageService(tmp_path / "images", OwnProgram.running(), skopeo=deliver(tmp_path, archive))
    with pytest.raises(ImageError, match=r'unusable: .* the entry "\.\./evil" leaves'):
        await service.ensure("foo:1", "IfNotPresent")
    assert not list(tmp_path.glob("**/evil"))


async def test_cancelling_a_fetch_ends_the_program(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "started")
    skopeo = fetcher(tmp_path, f"echo $$ > {tmp_path}/pid\n: > {tmp_path}/started\nexec sleep 600")
    service = ImageService(tmp_path / "images", OwnProgram.running(), skopeo=skopeo)
    task = asyncio.ensure_future(service.ensure("foo:1", "IfNotPresent"))
    await asyncio.to_thread((tmp_path / "started").read_bytes)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


async def test_the_list_has_the_store_and_the_catalogue(service: ImageService) -> None:
    before = {line.reference: line for line in await service.list()}
    assert {"nginx", "busybox", "radial/busyboxplus", "clew"} <= before.keys()
    assert before["busybox"].id == ""
    image = await service.ensure("busybox:1.36", "Always")
    after = {line.reference: line for line in await service.list()}
    assert after["busybox"].id == image.id
    assert after["busybox"].size > 500_000


async def test_a_disk_that_refuses_is_the_pods_reason(tmp_path: Path) -> None:
    service = ImageService(tmp_path / "images", OwnProgram.running())
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "stand-ins").write_text("in the way")
    with pytest.raises(ImageError, match='the stand-in for "busybox" could not be made: '):
        await service.ensure("busybox", "Always")


async def test_a_vanished_stand_in_is_built_again(service: ImageService) -> None:
    image = await service.ensure("pause", "Always")
    for path in sorted(Path(image.lowers[0]).parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    Path(image.lowers[0]).parent.rmdir()
    assert Path((await service.ensure("pause", "Always")).lowers[0], "pause").is_file()


class TestFlights:
    async def test_work_is_shared_and_then_forgotten(self) -> None:
        flights: Flights[int] = Flights()
        gate, runs = asyncio.Event(), []

        async def work() -> int:
            runs.append(1)
            await gate.wait()
            return len(runs)

        tasks = [asyncio.ensure_future(flights.share("k", work)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*tasks) == [1, 1, 1]
        assert await flights.share("k", work) == 2

    async def test_a_failure_is_shared(self) -> None:
        flights: Flights[int] = Flights()

        async def work() -> int:
            await asyncio.sleep(0)
            raise ValueError("no")

        outcomes = await asyncio.gather(*(flights.share("k", work) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ValueError] * 3

    async def test_when_the_first_is_cancelled_the_next_takes_over(self) -> None:
        flights: Flights[str] = Flights()
        never = asyncio.Event()

        async def stuck() -> str:
            await never.wait()
            return "stuck"

        async def quick() -> str:
            return "quick"

        first = asyncio.ensure_future(flights.share("k", stuck))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(flights.share("k", quick))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "quick"
        assert first.cancelled()
