"""Who takes part: their programs, built or installed if they are not there."""

import os
import pathlib
import subprocess

from contestant import Contestant
from nebula import Nebula
from process import Failed
from warren import Warren
from wireguard import WireGuard

#: Rivals from crates.io: name of the contestant → crate and its program.
CRATES = {"boringtun": ("boringtun-cli", "boringtun-cli"), "gotatun": ("gotatun-cli", "gotatun")}
DEFAULT = ["raw", "warren", "boringtun", "gotatun", "wireguard-go-debian", "nebula"]


def field(root, wanted, rivals, build):
    """The contestants in order: the wire, Warren, the others."""
    paths = {}
    for rival in rivals:
        name, _, path = rival.partition("=")
        if not name.replace("-", "").isalnum() or not os.access(path, os.X_OK) or not os.path.isfile(path):
            raise Failed(f"--rival {rival}: NAME=PATH, with PATH a program and NAME of letters, digits and dashes")
        paths[name] = os.path.abspath(path)
    known = DEFAULT + [name for name in paths if name not in DEFAULT]
    names = wanted or known
    for name in names:
        if name not in known:
            raise Failed(f"there is no contestant `{name}`; there are: {', '.join(known)}")
    return [make(root, name, paths.get(name), number, build) for number, name in enumerate(names)]


def make(root, name, path, number, build):
    if path:
        return WireGuard(name, path, number)
    if name == "raw":
        return Contestant(name)
    if name == "nebula":
        return Nebula(name)
    if name == "warren":
        return Warren(name, warren(root, build))
    if name in CRATES:
        return WireGuard(name, crate(root, *CRATES[name]), number)
    return WireGuard(name, "/usr/bin/wireguard-go", number)


def warren(root, build):
    """The directory with the release programs."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    if build:
        cargo(root, "build", "--release", "--locked", "--bins")
    for program in ("warren", "warren-node"):
        present(target / "release" / program)
    return str(target / "release")


def crowd(root, build):
    """The helper that makes many peers."""
    if build:
        cargo(root, "build", "--release", "--locked", "-p", "warren-netns-tests", "--example", "crowd")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    return str(present(target / "release/examples/crowd"))


def present(program):
    if not program.exists():
        raise Failed(f"{program} is not there: leave out --no-build")
    return program


def crate(root, name, program):
    """A rival from crates.io, built once."""
    tools = root / "target/tools"
    if not (tools / "bin" / program).exists():
        cargo(root, "install", name, "--root", str(tools))
    return str(tools / "bin" / program)


def cargo(root, *words):
    print(f"cargo {' '.join(words)}", flush=True)
    if subprocess.run(["cargo", *words], cwd=root).returncode != 0:
        raise Failed(f"`cargo {' '.join(words)}` failed")
