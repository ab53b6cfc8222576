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
WARREN = ("warren", "warren-node")
DEFAULT = ["raw", "warren", "boringtun", "gotatun", "wireguard-go-debian", "nebula"]


def field(root, args, build):
    """The contestants in order: the wire, Warren, the others, those of the command line."""
    rivals = dict(named("--rival", text, os.path.isfile) for text in args.rival)
    warrens = dict(named("--warren", text, os.path.isdir) for text in args.warren)
    known = list(dict.fromkeys([*DEFAULT, *warrens, *rivals]))
    names = args.peers or known
    for name in names:
        if name not in known:
            raise Failed(f"there is no contestant `{name}`; there are: {', '.join(known)}")
    return [make(root, name, rivals, warrens, number, build) for number, name in enumerate(names)]


def named(option, text, fits):
    name, _, path = text.partition("=")
    if not name.replace("-", "").isalnum() or not os.access(path, os.X_OK) or not fits(path):
        what = "a program" if fits is os.path.isfile else "a directory"
        raise Failed(f"{option} {text}: NAME=PATH, with PATH {what} and NAME of letters, digits and dashes")
    return name, os.path.abspath(path)


def make(root, name, rivals, warrens, number, build):
    if name in rivals:
        return WireGuard(name, rivals[name], number)
    if name in warrens:
        for program in WARREN:
            present(pathlib.Path(warrens[name]) / program)
        return Warren(name, warrens[name])
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
    for program in WARREN:
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
        raise Failed(f"{program} is not there: build it (--no-build builds nothing)")
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
