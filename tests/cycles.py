#!/usr/bin/env python3
"""No file of a product crate imports itself, by however many others in between. Called by tests/rules.sh; prints each circle, one a line.

A file imports another when it names something that the other one defines: in a `use`, or by a path in the code. A name that is passed on
(`pub use`) leads to the file that defines it. What does not count: `mod` lines; `pub use` itself, so that a parent may list what its
children offer; whatever is compiled for tests only; methods, since an `impl` of a type may stand in any file of its crate. A parent and a
child that name each other (facts.rs, facts/users.rs) are one thing in two files: they count as one file, and its imports as theirs.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOISE = re.compile(r"""//[^\n]*|/\*.*?\*/|\bb?r(?P<hashes>\#*)".*?"(?P=hashes)|"(?:\\.|[^"\\])*"|'(?:\\[^']+|[^'\\])'""", re.S)
FOR_TESTS = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]")
ITEM = re.compile(r"(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?(?:use|mod|fn|impl|struct|enum|const|static|type|trait|async|unsafe|extern|let)\b")
DEFINED = re.compile(r"\b(?:struct|enum|trait|union|type|fn|const|static|macro_rules!)\s+(?:mut\s+)?([A-Za-z_]\w*)")
MOD = re.compile(r"(?P<path>#\[path\s*=\s*\"[^\"]*\"\]\s*)?(?:pub(?:\([^)]*\))?\s+)?\bmod\s+(?P<name>\w+)\s*(?P<end>[;{])")
USE = re.compile(r"(?P<public>pub(?:\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
PATH = re.compile(r"(?<![\w:.])(?:(?:crate|super|self|[a-z_]\w*)::)+(?:\w+)")

# Imports that close a circle, each with the reason why it stays for the time being.
SPARED = {}
# Of each file the one that declares it.
PARENTS = {}


class Module:
    """A module: its file, what it defines, what it imports under which name, what it has below it."""

    def __init__(self, file, parent):
        self.file, self.parent, self.children, self.imports, self.globs = file, parent, {}, {}, []
        self.defined, self.code, self.named = set(), "", []

    def root(self):
        return self if self.parent is None else self.parent.root()


def closing(text, at):
    """Where the bracket that opens at this place is closed."""
    depth = 0
    for place in range(at, len(text)):
        depth += (text[place] in "([{") - (text[place] in ")]}")
        if depth == 0:
            return place
    return len(text) - 1


def without_tests(text):
    while found := FOR_TESTS.search(text):
        end, is_item = found.end(), ITEM.match(text[found.end():].lstrip())
        while end < len(text) - 1 and text[end] not in (";" if is_item else ";,"):
            if text[end] in "([{":
                opened = text[end]
                end = closing(text, end)
                if opened == "{":
                    break
            end += 1
        text = text[:found.start()] + text[end + 1:]
    return text


def leaves(tree, before=()):
    """The paths of a use tree, each with the name that it gets here; `*` for all."""
    tree = tree.strip()
    if "{" in tree:
        head, rest = tree.split("{", 1)
        parts, depth, part = [], 0, ""
        for character in rest.rsplit("}", 1)[0] + ",":
            depth += (character == "{") - (character == "}")
            if character == "," and depth == 0:
                parts.append(part)
                part = ""
            else:
                part += character
        head = before + tuple(word for word in head.strip().split("::") if word)
        for part in filter(str.strip, parts):
            yield from leaves(part, head)
        return
    path, _, name = (part.strip() for part in tree.partition(" as "))
    words = before + tuple(word.strip() for word in path.split("::") if word.strip())
    if words[-1] == "self":
        words = words[:-1]
    yield words, name or words[-1]


def read(file, parent, folder):
    """The module in this file; `folder` is where its children lie."""
    module = Module(file, parent)
    if parent:
        PARENTS[file] = parent.file
    text = file.read_text()
    paths = dict(re.findall(r'#\[path\s*=\s*"([^"]*)"\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)', text))
    paths = {name: path for path, name in paths.items()}
    take_in(module, without_tests(NOISE.sub('""', text)), folder, paths)
    return module


def take_in(module, text, folder, paths):
    place = 0
    while found := MOD.search(text, place):
        name, place = found["name"], found.end()
        if found["end"] == "{":
            end = closing(text, found.end() - 1)
            inner = module.children[name] = Module(module.file, module)
            take_in(inner, text[found.end():end], folder / name, {})
            text = text[:found.start()] + text[end + 1:]
            place = found.start()
            continue
        beside = [module.file.parent / paths[name]] if name in paths else [folder / f"{name}.rs", folder / name / "mod.rs"]
        for file in beside:
            if file.exists():
                module.children[name] = read(file, module, folder / name)
    text = MOD.sub("", text)
    for use in USE.finditer(text):
        for words, name in leaves(use["tree"]):
            if name == "*":
                module.globs.append(words[:-1])
            else:
                module.imports[name] = words
            if not use["public"]:
                module.named.append(words)
    module.code = USE.sub("", text)
    module.defined = set(DEFINED.findall(module.code))


def resolve(module, words, seen=()):
    """The file that defines what this path names, seen from this module; `None`: another crate's."""
    if not words or (module, words) in seen:
        return None
    seen = (*seen, (module, words))
    first, rest = words[0], words[1:]
    if first == "crate":
        return within(module.root(), rest, seen)
    if first == "self":
        return within(module, rest, seen)
    if first == "super":
        return within(module.parent, rest, seen) if module.parent else None
    if first in module.children or first in module.imports:
        return within(module, words, seen)
    return None


def within(module, words, seen):
    """The same for what a module has."""
    if not words or words == ("*",):
        return module.file
    first, rest = words[0], words[1:]
    if first == "super":
        return within(module.parent, rest, seen) if module.parent else None
    if first in module.children:
        return within(module.children[first], rest, seen)
    if first in module.defined:
        return module.file
    if first in module.imports:
        return resolve(module, module.imports[first] + rest, seen)
    for path in module.globs:
        found = resolve(module, (*path, *words), seen)
        if found:
            return found
    return module.file


def imports(module, into):
    paths = module.named + [tuple(found.group().split("::")) for found in PATH.finditer(module.code)]
    for words in paths:
        target = resolve(module, words)
        if target and target != module.file:
            into.setdefault(module.file, set()).add(target)
    for child in module.children.values():
        imports(child, into)


def shortest_circle(start, graph):
    """The shortest way from a file back to itself; empty where there is none."""
    ways, known = [(start,)], set()
    while ways:
        way = ways.pop(0)
        for target in sorted(graph.get(way[-1], ())):
            if target == start:
                return way
            if target not in known:
                known.add(target)
                ways.append((*way, target))
    return ()


def main():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*/Cargo.toml"], cwd=ROOT, capture_output=True, text=True, check=True)
    crates = [ROOT / Path(file).parent for file in files.stdout.split() if not file.startswith(("tests/", "fuzz/"))]
    graph = {}
    for crate in crates:
        for root in [crate / "src/lib.rs", crate / "src/main.rs", *sorted((crate / "src/bin").glob("*.rs"))]:
            if root.exists():
                imports(read(root, None, root.parent), graph)
    if not graph:
        sys.exit("no imports are found: the files lie elsewhere now")
    for file, target in SPARED:
        if ROOT / target not in graph.get(ROOT / file, ()):
            print(f"{file} does not import {target} any more: take the line from SPARED in tests/cycles.py")
        graph.get(ROOT / file, set()).discard(ROOT / target)
    below = {(file, parent) for file, parent in PARENTS.items() if parent in graph.get(file, ()) and file in graph.get(parent, ())}
    families = {file: parent for file, parent in below}
    within_families = {file: {target for target in targets if (file, target) not in below} for file, targets in graph.items()}
    as_one = {}
    for file, targets in graph.items():
        as_one.setdefault(top(file, families), set()).update(top(target, families) for target in targets)
    circles = {circle for one in (within_families, as_one) for circle in found_in(one)}
    print("\n".join(sorted(circles)), end="\n" if circles else "")


def top(file, families):
    while file in families:
        file = families[file]
    return file


def found_in(graph):
    for file in sorted(graph):
        others = {one: targets - {one} for one, targets in graph.items()}
        way = [str(step.relative_to(ROOT)) for step in shortest_circle(file, others)]
        if way:
            first = way.index(min(way))
            yield " → ".join([*way[first:], *way[:first], way[first]])


main()
