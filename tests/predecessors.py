"""Lists the options and settings of the two Python predecessors, by their sources: docs/migrating.md has a row for each.

usage: tests/predecessors.py FOLDER…    the unpacked sources of keymaker and ec2userkeyd (PyPI)
"""
import ast
import re
import sys
from pathlib import Path


def tree(path):
    return ast.parse(path.read_text())


def calls(node, name):
    """Calls of a method or function of that name, with their first word."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", None)) == name:
            yield call, [arg.value for arg in call.args if isinstance(arg, ast.Constant)]


def of_keymaker(folder):
    script = tree(folder / "scripts" / "keymaker")
    commands = {}
    for statement in ast.walk(script):
        if isinstance(statement, ast.Assign):
            for _, words in calls(statement.value, "add_parser"):
                commands[statement.targets[0].id] = words[0]
    yield from (f"keymaker {command}" for command in commands.values())
    for call, words in calls(script, "add_argument"):
        command = commands.get(call.func.value.id)
        yield " ".join(filter(None, ["keymaker", command, words[0] if words[0].startswith("-") else words[0].upper()]))
    for path in (folder / "keymaker").rglob("*.py"):
        found = re.findall(r"\bkeymaker_(?:id_resolver|require|linux)_[a-z_]+", path.read_text())
        yield from (f"description: {setting}" for setting in found)


def of_ec2userkeyd(folder):
    for _, words in calls(tree(folder / "ec2userkeyd" / "cli.py"), "option"):
        yield f"ec2userkeyd {words[1] if len(words) > 1 else words[0]}"
    for section in tree(folder / "ec2userkeyd" / "config.py").body:
        if isinstance(section, ast.ClassDef):
            settings = [node.targets[0].id for node in section.body if isinstance(node, ast.Assign)]
            yield from (f"ec2userkeyd.conf: {section.name}.{setting}" for setting in settings)
            if not settings:
                yield f"ec2userkeyd.conf: {section.name}"


for folder in map(Path, sys.argv[1:]):
    of_program = of_ec2userkeyd if (folder / "ec2userkeyd").exists() else of_keymaker
    print("\n".join(sorted(set(of_program(folder)))))
