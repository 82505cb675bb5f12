"""Objects made by typed commands, and what `get` and `describe` tell of each kind."""

import pytest

from .typing_user import User, like

pytestmark = pytest.mark.root

TYPED = """\
deployment web --image=nginx --replicas=2 --port=80 -> deployment.apps/web created
service clusterip inner --tcp=80:80 -> service/inner created
service nodeport outer --tcp=8080:80 -> service/outer created
service loadbalancer balanced --tcp=80 -> service/balanced created
service externalname elsewhere --external-name example.com -> service/elsewhere created
configmap settings --from-literal=colour=blue --from-literal=shape=round -> configmap/settings created
secret generic word --from-literal=pass=secret -> secret/word created
secret docker-registry pull --docker-server=x --docker-username=u --docker-password=p -> secret/pull created
serviceaccount robot -> serviceaccount/robot created
role reader --verb=get,list --resource=pods -> role.rbac.authorization.k8s.io/reader created
rolebinding readers --role=reader --serviceaccount={ns}:robot -> rolebinding.rbac.authorization.k8s.io/readers created
clusterrole {ns} --verb=* --resource=deployments.apps -> clusterrole.rbac.authorization.k8s.io/{ns} created
clusterrolebinding {ns} --clusterrole={ns} --user=bob -> clusterrolebinding.rbac.authorization.k8s.io/{ns} created
"""


@pytest.fixture(scope="module")
def typist(user: User) -> User:
    """The user, who has typed one `create` of each kind; each said so."""
    for line in TYPED.format(ns=user.namespace).splitlines():
        typed, said = line.split(" -> ")
        assert user.says(f"create {typed}") == said + "\n"
    assert user.says("expose deployment web --port=8080 --target-port=80 --name=front") == "service/front exposed\n"
    user.says("rollout status deployment web --timeout=60s")
    return user


def test_get_has_kubectls_own_columns(typist: User) -> None:
    for line, printed in {
        "get deployments -o wide": """
            NAME  READY  UP-TO-DATE  AVAILABLE  AGE  CONTAINERS  IMAGES  SELECTOR
            web   2/2    2           2          …s   nginx       nginx   app=web""",
        "get rs -o wide": """
            NAME   DESIRED  CURRENT  READY  AGE  CONTAINERS  IMAGES  SELECTOR
            web-…  2        2        2      …s   nginx       nginx   app=web,pod-template-hash=…""",
        "get pods -l app=web -o wide": """
            NAME   READY  STATUS   RESTARTS  AGE  IP       NODE    NOMINATED NODE  READINESS GATES
            web-…  1/1    Running  0         …s   10.244.…  node-…  <none>          <none>
            web-…  1/1    Running  0         …s   10.244.…  node-…  <none>          <none>""",
        "get services -o wide": """
            NAME       TYPE          CLUSTER-IP  EXTERNAL-IP  PORT(S)       AGE  SELECTOR
            balanced   LoadBalancer  10.…        <pending>    80:…/TCP      …s   app=balanced
            elsewhere  ExternalName  <none>      example.com  <none>        …s   app=elsewhere
            front      ClusterIP     10.…        <none>       8080/TCP      …s   app=web
            inner      ClusterIP     10.…        <none>       80/TCP        …s   app=inner
            outer      NodePort      10.…        <none>       8080:3…/TCP   …s   app=outer""",
        "get configmaps,secrets,serviceaccounts": """
            NAME                        DATA  AGE
            configmap/kube-root-ca.crt  1     …s
            configmap/settings          2     …s

            NAME         TYPE                            DATA  AGE
            secret/pull  kubernetes.io/dockerconfigjson  1     …s
            secret/word  Opaque                          1     …s

            NAME                    SECRETS  AGE
            serviceaccount/default  0        …s
            serviceaccount/robot    0        …s""",
        "get rolebindings -o wide": """
            NAME     ROLE         AGE  USERS  GROUPS  SERVICEACCOUNTS
            readers  Role/reader  …s   …/robot""",
        "get endpointslices -l kubernetes.io/service-name=front": """
            NAME     ADDRESSTYPE  PORTS  ENDPOINTS        AGE
            front-…  IPv4         80     10.244.…,10.244.…  …s""",
        "get nodes -o wide": """
            NAME    STATUS  ROLES   AGE  VERSION  INTERNAL-IP  EXTERNAL-IP  OS-IMAGE  KERNEL-VERSION  CONTAINER-RUNTIME
            node-1  Ready   <none>  …    v1.…     172.30.0.11  <none>       …         …               clew://…
            node-2  Ready   <none>  …    v1.…     172.30.0.12  <none>       …         …               clew://…
            node-3  Ready   <none>  …    v1.…     172.30.0.13  <none>       …         …               clew://…""",
        "get deploy web --subresource=scale": """
            NAME  DESIRED  AVAILABLE  AGE
            web   2        2          …s""",
    }.items():
        typist.until(line, printed)


DESCRIBED = {
    "deployment web": """
        Name:                   web
        Namespace:              {ns}
        CreationTimestamp:      …
        Labels:                 app=web
        Annotations:            deployment.kubernetes.io/revision: 1
        Selector:               app=web
        Replicas:               2 desired | 2 updated | 2 total | 2 available | 0 unavailable
        StrategyType:           RollingUpdate
        MinReadySeconds:        0
        RollingUpdateStrategy:  25% max unavailable, 25% max surge
        Pod Template:
          Labels:  app=web
          Containers:
           nginx:
            Image:         nginx
            Port:          80/TCP
            Host Port:     0/TCP
            Environment:   <none>
            Mounts:        <none>
          Volumes:         <none>
          Node-Selectors:  <none>
          Tolerations:     <none>
        Conditions:
          Type           Status  Reason
          ----           ------  ------
          Available      True    MinimumReplicasAvailable
          Progressing    True    NewReplicaSetAvailable
        OldReplicaSets:  <none>
        NewReplicaSet:   web-… (2/2 replicas created)
        Events:
          Type    Reason             Age   From                   Message
          ----    ------             ----  ----                   -------
          Normal  ScalingReplicaSet  …s    deployment-controller  Scaled up replica set web-… from 0 to 2""",
    "rs": """
        Name:           web-…
        Namespace:      {ns}
        Selector:       app=web,pod-template-hash=…
        Labels:         app=web
                        pod-template-hash=…
        Annotations:    deployment.kubernetes.io/desired-replicas: 2
                        deployment.kubernetes.io/max-replicas: 3
                        deployment.kubernetes.io/revision: 1
        Controlled By:  Deployment/web
        Replicas:       2 current / 2 desired
        Pods Status:    2 Running / 0 Waiting / 0 Succeeded / 0 Failed
        ⋮
          Normal  SuccessfulCreate  …s  replicaset-controller  Created pod: web-…
          Normal  SuccessfulCreate  …s  replicaset-controller  Created pod: web-…""",
    "service front": """
        Name:                     front
        Namespace:                {ns}
        Labels:                   app=web
        Annotations:              <none>
        Selector:                 app=web
        Type:                     ClusterIP
        IP Family Policy:         SingleStack
        IP Families:              IPv4
        IP:                       10.…
        IPs:                      10.…
        Port:                     <unset>  8080/TCP
        TargetPort:               80/TCP
        Endpoints:                10.244.…:80,10.244.…:80
        Session Affinity:         None
        Internal Traffic Policy:  Cluster
        Events:                   <none>""",
    "service outer": """
        ⋮
        Type:                     NodePort
        ⋮
        NodePort:                 8080-80  3…/TCP
        Endpoints:
        Session Affinity:         None
        External Traffic Policy:  Cluster
        Internal Traffic Policy:  Cluster
        Events:                   <none>""",
    "configmap settings": """
        Name:         settings
        Namespace:    {ns}
        Labels:       <none>
        Annotations:  <none>

        Data
        ====
        ⋮
        BinaryData
        ====

        Events:  <none>""",
    "secret word": """
        Name:         word
        Namespace:    {ns}
        Labels:       <none>
        Annotations:  <none>

        Type:  Opaque

        Data
        ====
        pass:  6 bytes""",
    "serviceaccount robot": """
        Name:                robot
        Namespace:           {ns}
        Labels:              <none>
        Annotations:         <none>
        Image pull secrets:  <none>
        ⋮
        Events:              <none>""",
    "role reader": """
        Name:         reader
        Labels:       <none>
        Annotations:  <none>
        PolicyRule:
          Resources  Non-Resource URLs  Resource Names  Verbs
          ---------  -----------------  --------------  -----
          pods       []                 []              [get list]""",
    "clusterrolebinding {ns}": """
        Name:         {ns}
        Labels:       <none>
        Annotations:  <none>
        Role:
          Kind:  ClusterRole
          Name:  {ns}
        Subjects:
          Kind  Name  Namespace
          ----  ----  ---------
          User  bob""",
    "namespace {ns}": """
        Name:         {ns}
        Labels:       kubernetes.io/metadata.name={ns}
        Annotations:  <none>
        Status:       Active
        ⋮""",
    "endpointslice -l kubernetes.io/service-name=front": """
        Name:         front-…
        Namespace:    {ns}
        Labels:       app=web
                      endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io
                      kubernetes.io/service-name=front
        Annotations:  endpoints.kubernetes.io/last-change-trigger-time: …
        AddressType:  IPv4
        Ports:
          Name     Port  Protocol
          ----     ----  --------
          <unset>  80    TCP
        Endpoints:
          - Addresses:  10.244.…
            Conditions:
              Ready:    true
            Hostname:   <unset>
            TargetRef:  Pod/web-…
            NodeName:   node-…
            Zone:       <unset>
          - Addresses:  10.244.…
        ⋮""",
    "daemonset -n kube-system clew-agent": """
        Name:           clew-agent
        ⋮
        Desired Number of Nodes Scheduled: 3
        Current Number of Nodes Scheduled: 3
        Number of Nodes Scheduled with Up-to-date Pods: 3
        Number of Nodes Scheduled with Available Pods: 3
        Number of Nodes Misscheduled: 0
        Pods Status:  3 Running / 0 Waiting / 0 Succeeded / 0 Failed
        ⋮""",
    "lease -n kube-node-lease node-1": """
        Name:         node-1
        Namespace:    kube-node-lease
        ⋮
        Spec:
          Holder Identity:         node-1
          Lease Duration Seconds:  40
          Renew Time:              …
        ⋮""",
}


@pytest.mark.parametrize("what", DESCRIBED)
def test_describe_tells_each_kind_as_a_real_cluster_does(typist: User, what: str) -> None:
    ns = typist.namespace
    typist.until(f"describe {what}".replace("{ns}", ns), DESCRIBED[what].replace("{ns}", ns))


def test_describe_pod_tells_its_conditions_and_its_story(typist: User) -> None:
    pod = typist.says("get pods -l app=web -o jsonpath={.items[0].metadata.name}")
    printed = typist.until(f"describe pod {pod}", "⋮\n… Started …")  # Events come a moment after what they tell
    head, _, rest = printed.partition("Conditions:\n")
    like(head, f"""
        Name:             {pod}
        Namespace:        {typist.namespace}
        Priority:         0
        Service Account:  default
        Node:             node-…/172.30.0.1…
        Start Time:       …
        Labels:           app=web
                          pod-template-hash=…
        Annotations:      <none>
        Status:           Running
        IP:               10.244.…
        IPs:
          IP:           10.244.…
        Controlled By:  ReplicaSet/web-…
        Containers:
          nginx:
            Container ID:   clew://…
            Image:          nginx
            Image ID:       …
            Port:           80/TCP
            Host Port:      0/TCP
            State:          Running
              Started:      …
            Ready:          True
            Restart Count:  0
            Environment:    <none>
            Mounts:
              /var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-… (ro)""")  # fmt: skip
    conditions, _, events = rest.partition("Volumes:\n")
    like(conditions, """
        Type                        Status
        PodReadyToStartContainers   True
        Initialized                 True
        Ready                       True
        ContainersReady             True
        PodScheduled                True""")  # fmt: skip
    told = [line.split()[1] for line in events.partition("-------\n")[2].splitlines()]
    assert told == ["Scheduled", "Pulling", "Pulled", "StandIn", "Created", "Started"], printed


def test_kinds_that_are_not_served_get_kubectls_usual_answer(user: User) -> None:
    for line, said in {
        "get statefulsets": 'error: the server doesn\'t have a resource type "statefulsets"\n',
        "create job one --image=busybox": "the server could not find the requested resource (post jobs.batch)\n",
        "create quota one --hard=pods=1": "the server could not find the requested resource (post resourcequotas)\n",
        "get --raw /api/v1/nothings": "(NotFound): the server could not find the requested resource\n",
        "top pods": "error: Metrics API not available\n",
        "top nodes": "error: Metrics API not available\n",
    }.items():
        assert said in user.refuses(line), line


def test_what_is_there_or_gone_is_said_in_the_usual_words(typist: User) -> None:
    ns = typist.namespace
    for line, said in {
        f"create namespace {ns}": f'Error from server (AlreadyExists): namespaces "{ns}" already exists\n',
        "get pod nobody": 'Error from server (NotFound): pods "nobody" not found\n',
        "describe pod nobody": 'Error from server (NotFound): pods "nobody" not found\n',
        "get pods --field-selector spec.foo=1": (
            'Error from server (BadRequest): Unable to find "/v1, Resource=pods" that match label selector "", '
            'field selector "spec.foo=1": field label not supported: spec.foo\n'
        ),
        "delete namespace default": (
            'Error from server (Forbidden): namespaces "default" is forbidden: this namespace may not be deleted\n'
        ),
        "create configmap one -n nowhere": 'error: failed to create configmap: namespaces "nowhere" not found\n',
    }.items():
        assert typist.refuses(line) == said
    assert typist.types("get pods -l app=nobody").stderr == f"No resources found in {ns} namespace.\n"


def test_get_prints_in_every_form(typist: User) -> None:
    assert typist.says("get deploy,svc -o name").split() == [
        "deployment.apps/web", *(f"service/{n}" for n in ("balanced", "elsewhere", "front", "inner", "outer"))
    ]  # fmt: skip
    assert typist.says("get svc front -o jsonpath={.spec.ports[0].port}") == "8080"
    assert typist.says("get cm settings -o custom-columns=N:.metadata.name,C:.data.colour").split() == [
        "N", "C", "settings", "blue"
    ]  # fmt: skip
    assert typist.says("get cm settings -o go-template={{.data.shape}}") == "round"
    like(typist.says("get pods --show-labels --no-headers"), """
        web-… 1/1 Running 0 …s app=web,pod-template-hash=…
        web-… 1/1 Running 0 …s app=web,pod-template-hash=…""")  # fmt: skip
    like(typist.says("get cm settings -o yaml"), f"""
        apiVersion: v1
        data:
          colour: blue
          shape: round
        kind: ConfigMap
        metadata:
          creationTimestamp: …
          name: settings
          namespace: {typist.namespace}
          resourceVersion: …
          uid: …""")  # fmt: skip
    assert len(typist.says("get pods -l 'app in (web,x),pod-template-hash' -o name").split()) == 2
    assert not typist.says("get pods -l app!=web -o name")
    assert len(typist.says("get pods -A --chunk-size=1 -o name").split()) >= 7
    nodes = typist.says("get pods -A --sort-by=.spec.nodeName -o jsonpath={.items[*].spec.nodeName}").split()
    assert nodes == sorted(nodes)


def test_the_api_explains_itself(user: User) -> None:
    assert "services" in user.says("api-resources --namespaced --verbs=list -o name").split()
    like(user.says("api-resources --api-group=apps"), """
        NAME                 SHORTNAMES  APIVERSION  NAMESPACED  KIND
        controllerrevisions              apps/v1     true        ControllerRevision
        daemonsets           ds          apps/v1     true        DaemonSet
        deployments          deploy      apps/v1     true        Deployment
        replicasets          rs          apps/v1     true        ReplicaSet""")  # fmt: skip
    assert "apps/v1" in user.says("api-versions").split()
    like(user.says("explain service.spec.clusterIP"), """
        KIND:       Service
        VERSION:    v1

        FIELD: clusterIP <string>


        DESCRIPTION:
        ⋮""")  # fmt: skip
    assert "topologySpreadConstraints" in user.says("explain deployment --recursive")
    assert 'field "foo" does not exist' in user.refuses("explain service.spec.foo")
    assert "Server Version: v1." in user.says("version")
    assert "Kubernetes control plane" in user.says("cluster-info")
    assert user.says("get --raw /readyz") == "ok"
    assert user.says("config current-context") == f"clew-{user.lab.name}\n"


def test_rights_are_told_and_tokens_open_doors(typist: User) -> None:
    robot = f"system:serviceaccount:{typist.namespace}:robot"
    assert typist.says(f"auth can-i list pods --as={robot}") == "yes\n"
    assert typist.types(f"auth can-i delete pods --as={robot}").stdout == "no\n"
    assert "[get list]" in typist.says(f"auth can-i --list --as={robot}")
    assert "system:masters" in typist.says("auth whoami")
    token = typist.says("create token robot --duration=10m").strip()
    # the admin's client certificate would win over a token: a kubeconfig with the token alone
    typist.says("config set-credentials robot --token=" + token)
    typist.says(
        f"config set-context robot --cluster=clew-{typist.lab.name} --user=robot --namespace={typist.namespace}"
    )
    assert typist.says("auth whoami -o jsonpath={.status.userInfo.username} --context=robot") == robot
    assert typist.says("get pods -l app=web -o name --context=robot").count("pod/web-") == 2
    assert typist.refuses("get secrets --context=robot") == (
        f'Error from server (Forbidden): secrets is forbidden: User "{robot}" cannot list resource "secrets" '
        f'in API group "" in the namespace "{typist.namespace}"\n'
    )
