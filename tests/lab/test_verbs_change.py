"""Objects changed by kubectl: label, annotate, patch, apply, diff, replace, edit, set, scale, and what is refused."""

import json
import stat

import pytest

from .small_lab import eventually
from .typing_user import User, like

pytestmark = pytest.mark.root

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
"""
SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}}
data: {colour: blue}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}], selector: {app: web}}
"""


@pytest.fixture(scope="module")
def web(user: User) -> User:
    """A deployment without pods to wait for, a config map and a service, all applied."""
    said = user.says(
        "apply -f -", DEPLOYMENT.replace("replicas: 1", "replicas: 0") + "---" + SETTINGS + "---" + SERVICE
    )
    assert said == "deployment.apps/web created\nconfigmap/settings created\nservice/web created\n"
    user.says("rollout status deployment web --timeout=30s")
    return user


def begins_anew(web: User, manifest: str) -> None:
    """What kubectl reads first has a version, and a controller may write its status between the two."""

    def replaced() -> bool:
        done = web.types("replace -f -", manifest)
        assert done.returncode == 0 or "Error from server (Conflict)" in done.stderr, done.stderr
        return done.returncode == 0

    eventually(replaced)


def test_labels_and_annotations(web: User) -> None:
    assert web.says("label configmap settings tier=front") == "configmap/settings labeled\n"
    assert "already has a value (front), and --overwrite is false" in web.refuses("label configmap settings tier=back")
    assert web.says("label configmap settings tier=back --overwrite") == "configmap/settings labeled\n"
    assert web.says("label configmap settings tier-") == "configmap/settings unlabeled\n"
    assert web.says("label configmap settings tier-") == 'label "tier" not found.\nconfigmap/settings not labeled\n'
    assert web.says("annotate service web 'note=hello world'") == "service/web annotated\n"
    assert web.says("annotate service web note-") == "service/web annotated\n"
    assert "a valid label must be an empty string or consist of" in web.refuses("label service web 'a=b c'")
    assert 'metadata.labels: Invalid value: "bad key"' in web.refuses("label service web 'bad key=b'")


def test_the_last_annotation_takes_the_map_with_it(web: User) -> None:
    """It left `annotations: {}`, which no Go program writes."""
    web.says("create configmap bare --from-literal=a=b")
    web.says("annotate configmap bare one=1")
    web.says("annotate configmap bare one-")
    assert "annotations" not in json.loads(web.says("get configmap bare -o json"))["metadata"]


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("strategic", '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}'),
        ("merge", '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}'),
        ("json", '[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"side","image":"busybox"}}]'),
    ],
)
def test_patches_of_three_kinds(web: User, kind: str, patch: str) -> None:
    begins_anew(web, DEPLOYMENT.replace("replicas: 1", "replicas: 0"))
    assert web.says(f"patch deployment web --type={kind} -p '{patch}'") == "deployment.apps/web patched\n"
    names = web.says("get deployment web -o jsonpath={.spec.template.spec.containers[*].name}").split()
    assert names == (["side"] if kind == "merge" else ["side", "web"] if kind == "strategic" else ["web", "side"])


def test_what_a_patch_may_not_do(web: User) -> None:
    refused = web.refuses("""patch service web --type=json -p '[{"op":"test","path":"/spec/type","value":"x"}]'""")
    assert refused.startswith("The request is invalid: the server rejected our request due to an error in our request")
    assert "must be between 1 and 65535" in web.refuses(
        """patch service web -p '{"spec":{"ports":[{"port":99999}]}}'"""
    )
    assert "unrecognized type: int32" in web.refuses("""patch deployment web -p '{"spec":{"replicas":"x"}}'""")
    refused = web.refuses("""patch deployment web -p '{"spec":{"selector":{"matchLabels":{"app":"x"}}}}'""")
    like(refused, """
        The Deployment "web" is invalid:
        * spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
        * spec.selector: Invalid value: …: field is immutable""")  # fmt: skip


def test_apply_tells_what_it_did(web: User) -> None:
    assert web.says("apply -f -", SETTINGS) == "configmap/settings unchanged\n"
    red = SETTINGS.replace("blue", "red")
    differs = web.types("diff -f -", red)
    assert differs.returncode == 1
    assert "-  colour: blue\n+  colour: red\n" in differs.stdout
    assert web.says("apply --dry-run=server -f -", red) == "configmap/settings configured (server dry run)\n"
    assert web.says("apply --dry-run=client -f -", red) == "configmap/settings configured (dry run)\n"
    assert web.says("get cm settings -o jsonpath={.data.colour}") == "blue"
    assert web.says("apply -f -", red) == "configmap/settings configured\n"
    assert web.says("apply -f -", SETTINGS.replace("colour: blue", "shape: round")) == "configmap/settings configured\n"
    assert json.loads(web.says("get cm settings -o jsonpath={.data}")) == {"shape": "round"}
    assert web.types("diff -f -", SETTINGS.replace("colour: blue", "shape: round")).returncode == 0
    assert "shape: round" in web.says("apply view-last-applied configmap settings")
    assert web.says("delete -f -", SETTINGS).startswith('configmap "settings" deleted')
    assert web.says("apply -f -", SETTINGS) == "configmap/settings created\n"


def test_server_side_apply_knows_who_set_what(web: User) -> None:
    mine = DEPLOYMENT.replace("name: web}\nspec", "name: owned}\nspec").replace("replicas: 1", "replicas: 0")
    assert web.says("apply --server-side -f -", mine) == "deployment.apps/owned serverside-applied\n"
    other = mine.replace("image: nginx", "image: nginx:2")
    refused = web.refuses("apply --server-side --field-manager=other -f -", other)
    assert refused.startswith('error: Apply failed with 1 conflict: conflict with "kubectl"'), refused
    assert '.spec.template.spec.containers[name="web"].image' in refused
    web.says("apply --server-side --field-manager=other --force-conflicts -f -", other)
    assert web.says("get deploy owned -o jsonpath={.spec.template.spec.containers[0].image}") == "nginx:2"
    managers = web.says(
        "get deploy owned --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}"
    ).split()
    assert {"kubectl", "other"} <= set(managers)


def test_create_and_replace_mind_what_is_there(web: User) -> None:
    assert 'services "web" already exists' in web.refuses("create -f -", SERVICE)
    assert web.says("replace -f -", SERVICE) == "service/web replaced\n"
    before = web.says("get service web -o jsonpath={.metadata.uid}")
    (web.folder / "service.yaml").write_text(SERVICE)
    said = web.says("replace --force -f service.yaml").splitlines()
    assert said[0].startswith('service "web" deleted')
    assert said[1] == "service/web replaced"
    assert web.says("get service web -o jsonpath={.metadata.uid}") != before
    missing = SETTINGS.replace("settings", "nobody")
    assert web.refuses("replace -f -", missing) == (
        'Error from server (NotFound): error when replacing "STDIN": configmaps "nobody" not found\n'
    )


def test_bad_manifests_are_refused_and_leave_nothing(web: User) -> None:
    bad = SERVICE.replace("name: web", "name: bad").replace("port: 80", "port: 99999, fooo: 1")
    assert web.refuses("apply -f -", bad) == (
        'Error from server (BadRequest): error when creating "STDIN": Service in version "v1" cannot be handled as a '
        'Service: strict decoding error: unknown field "spec.ports[0].fooo"\n'
    )
    like(web.refuses("create --validate=false -f -", bad), """
        The Service "bad" is invalid:
        * spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive
        * spec.ports[0].targetPort: Invalid value: 99999: must be between 1 and 65535, inclusive""")  # fmt: skip
    assert web.refuses("get service bad") == 'Error from server (NotFound): services "bad" not found\n'


def test_edit_sends_what_the_editor_left(web: User) -> None:
    editor = web.folder / "editor"
    editor.write_text('#!/bin/sh\nsed -i "$SED" "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    web.says("apply -f -", SETTINGS)
    assert web.says("edit cm settings", KUBE_EDITOR=str(editor), SED="s/blue/green/") == "configmap/settings edited\n"
    assert web.says("get cm settings -o jsonpath={.data.colour}") == "green"
    same = web.types("edit cm settings", KUBE_EDITOR="true")
    assert "Edit cancelled, no changes made." in same.stdout + same.stderr
    wrong = web.types("edit deployment web", KUBE_EDITOR=str(editor), SED="s/replicas: .*/replicas: -1/")
    assert 'deployments.apps "web" is invalid' in wrong.stderr


def test_set_changes_one_thing(web: User) -> None:
    begins_anew(web, DEPLOYMENT)
    for line, said in {
        "set image deployment/web web=nginx:3": "deployment.apps/web image updated\n",
        "set env deployment/web A=b": "deployment.apps/web env updated\n",
        "set resources deployment/web --limits=cpu=200m --requests=cpu=100m": (
            "deployment.apps/web resource requirements updated\n"
        ),
        "set serviceaccount deployment/web default": "deployment.apps/web serviceaccount updated\n",
        "set selector service/web app=other": "service/web selector updated\n",
    }.items():
        assert web.says(line) == said
    assert web.says("set env deployment/web --list") == "# Deployment web, container web\nA=b\n"
    container = json.loads(web.says("get deployment web -o jsonpath={.spec.template.spec.containers[0]}"))
    assert (container["image"], container["env"]) == ("nginx:3", [{"name": "A", "value": "b"}])
    assert container["resources"] == {"limits": {"cpu": "200m"}, "requests": {"cpu": "100m"}}
    assert web.says("get service web -o jsonpath={.spec.selector}") == '{"app":"other"}'


def test_scale_minds_its_precondition(web: User) -> None:
    web.says("scale deployment web --replicas=0")
    assert web.refuses("scale deployment web --current-replicas=5 --replicas=1") == (
        "error: Expected replicas to be 5, was 0\n"
    )
    assert web.says("scale deployment web --current-replicas=0 --replicas=1") == "deployment.apps/web scaled\n"
    assert (
        web.says("scale deployment web --replicas=3 --dry-run=server")
        == "deployment.apps/web scaled (server dry run)\n"
    )
    assert web.says("get deployment web -o jsonpath={.spec.replicas}") == "1"
    assert "not found" in web.refuses("scale deployment nobody --replicas=1")


def test_kustomize_builds_applies_and_deletes(web: User) -> None:
    folder = web.folder / "kustom"
    folder.mkdir()
    (folder / "settings.yaml").write_text(SETTINGS)
    (folder / "kustomization.yaml").write_text(
        "namePrefix: my-\nresources: [settings.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n"
    )
    assert web.says("kustomize kustom").count("kind: ConfigMap") == 2
    assert [line.split("-")[0] for line in web.says("apply -k kustom").splitlines()] == ["configmap/my"] * 2
    assert web.types("diff -k kustom").returncode == 0
    assert web.says("delete -k kustom").count("deleted") == 2


def test_prune_takes_what_the_manifests_no_longer_name(web: User) -> None:
    """Its default list of kinds names some that are not served; the kinds are named here."""
    one, two = (SETTINGS.replace("settings", name).replace("app: web", "set: pruned") for name in ("one", "two"))
    prune = "apply --prune -l set=pruned --prune-allowlist=core/v1/ConfigMap -f -"
    web.says(prune, one + "---" + two)
    assert web.says(prune, one).splitlines() == ["configmap/one unchanged", "configmap/two pruned"]


def test_a_list_goes_out_and_comes_back(web: User) -> None:
    """`get -o yaml` of several objects is a `kind: List`; kubectl reads OpenAPI v2 before it sends one."""
    web.says("create configmap east --from-literal=a=1")
    web.says("create configmap west --from-literal=a=2")
    listed = web.says("get configmap east west -o yaml")
    assert "kind: List" in listed
    assert web.types("apply -f -", listed).stdout == "configmap/east configured\nconfigmap/west configured\n"
    assert web.says("delete -f -", listed).count("deleted") == 2
    assert web.says("create -f -", listed).splitlines() == ["configmap/east created", "configmap/west created"]
    wrong = listed.replace("kind: ConfigMap", "kind: ConfigMap\n  nonsense: 1")
    assert 'unknown field "nonsense"' in web.refuses("replace -f -", wrong)
