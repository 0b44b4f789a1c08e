#!/usr/bin/env python3
# Compares what the packages say of the crates in them with others who know: the programs, which name files of those crates where they
# could panic, and cargo; and with what cargo-auditable has written into them, where it has.
#
# usage: tests/release.py BUILT [THIRD_PARTY]    called by tests/release.sh; THIRD_PARTY in place of the folder in BUILT
import json
import os
import re
import subprocess
import sys
import zlib

PROGRAMS = {
    "libnss-keymaker": ["libnss_keymaker.so"],
    "libpam-keymaker": ["libpam_keymaker.so"],
    "keymaker": ["keymakerd", "keymaker-keys", "refusal", "end-sessions", "sudo-rule", "proof", "keymaker-keys-of", "start-late", "other-service", "pam-account"],
    "keymaker-cli": ["keymaker"],
    "keymaker-credd": ["credd", "credd-capture"],
}
ROOTS = {
    "libnss-keymaker": ["nss_keymaker"],
    "libpam-keymaker": ["pam_keymaker"],
    "keymaker": ["keymakerd", "keymaker-keys", "pam_keymaker"],
    "keymaker-cli": ["keymaker-cli"],
    "keymaker-credd": ["credd", "credd-capture"],
}


def main():
    built = sys.argv[1]
    third_party = sys.argv[2] if len(sys.argv) > 2 else os.path.join(built, "third-party")
    wrong = []
    for package, programs in PROGRAMS.items():
        with open(os.path.join(third_party, package, "sbom.cdx.json")) as file:
            bill = json.load(file)
        listed = {(component["name"], component["version"]) for component in bill["components"]}
        # Cargo counts features that only tests ask for; it and auditable may know more crates than are linked.
        wrong += lacking(f"{package}: sbom.cdx.json", listed, "a program has a path of it", by_paths([os.path.join(built, program) for program in programs]))
        wrong += lacking(f"{package}: cargo metadata", by_cargo(ROOTS[package]), "sbom.cdx.json has it", listed)
        inside = [by_auditable(os.path.join(built, program)) for program in programs]
        if not all(inside) and os.path.exists(os.path.join(built, "glibc")):
            wrong.append(f"{package}: cargo-auditable has written nothing into a program of a portable build")
        if all(inside):
            wrong += lacking(f"{package}: what cargo-auditable has written", set().union(*inside), "sbom.cdx.json has it", listed)
        with open(os.path.join(third_party, package, "THIRD-PARTY")) as file:
            named = set(re.findall(r"(?m)^([a-z0-9A-Z_-]+) (\d\S*): \S", file.read()))
        wrong += lacking(f"{package}: THIRD-PARTY", named, "sbom.cdx.json has it", listed - ours())
        print(f"{package}: {len(listed)} crates; cargo metadata: {len(by_cargo(ROOTS[package]))}; cargo-auditable: {len(set().union(*inside)) if all(inside) else '-'}")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


def lacking(what, there, why, wanted):
    return [f"{what} lacks {' '.join(crate)}, and {why}" for crate in sorted(wanted - there)]


METADATA = json.loads(subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"], check=True, stdout=subprocess.PIPE).stdout)
PACKAGES = {package["id"]: package for package in METADATA["packages"]}


def ours():
    return {(package["name"], package["version"]) for package in METADATA["packages"] if not package["source"]}


def by_cargo(roots):
    nodes = {node["id"]: node for node in METADATA["resolve"]["nodes"]}
    left = [package["id"] for package in METADATA["packages"] if package["name"] in roots and not package["source"]]
    seen = set()
    while left:
        crate = left.pop()
        if crate in seen or any("proc-macro" in target["kind"] for target in PACKAGES[crate]["targets"]):
            continue
        seen.add(crate)
        left += [dependency["pkg"] for dependency in nodes[crate]["deps"] if any(kind["kind"] is None for kind in dependency["dep_kinds"])]
    return {(PACKAGES[crate]["name"], PACKAGES[crate]["version"]) for crate in seen}


def by_paths(programs):
    names = {f"{package['name']}-{package['version']}": (package["name"], package["version"]) for package in METADATA["packages"]}
    found = set()
    for program in programs:
        with open(program, "rb") as file:
            found |= set(re.findall(rb"/cargo/registry/src/[^/]+/([^/]+)/", file.read()))
    return {names[name.decode()] for name in found}


def by_auditable(program):
    """None where the program says nothing of it, as a build without --portable."""
    # Not by objcopy, which knows one processor only.
    sections = subprocess.run(["readelf", "-SW", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    place = re.search(r"\.dep-v0 +PROGBITS +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+)", sections)
    if not place:
        return None
    offset, size = (int(number, 16) for number in place.groups())
    with open(program, "rb") as file:
        said = json.loads(zlib.decompress(file.read()[offset : offset + size]))
    return {(package["name"], package["version"]) for package in said["packages"] if package.get("kind", "runtime") == "runtime"}


main()
