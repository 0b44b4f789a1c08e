#!/usr/bin/env python3
"""Draws the tables of docs/benchmarks.md, and says in words what each picture shows; `bench plots` starts it.

usage: plots.py PAGE FOLDER

What is drawn is kept as FOLDER/results.json, too. Colours are chosen twice, for light pages and for dark ones: the reader's program picks.
"""

import json
import pathlib
import re
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

# As matplotlib is told, on a light page, on a dark one, and where no style sheet is read.
COLOURS = {
    "ink": ("#010101", "#1f2328", "#e6edf3", "#767676"),
    "faint": ("#020202", "#d0d7de", "#30363d", "#9a9a9a"),
    "ours": ("#030303", "#0550ae", "#79c0ff", "#2f81f7"),
    "first": ("#040404", "#953800", "#ffa657", "#c96a1a"),
    "second": ("#050505", "#116329", "#7ee787", "#2f8f46"),
    "third": ("#060606", "#8250df", "#d2a8ff", "#9a6ee0"),
    "fourth": ("#070707", "#656d76", "#9198a1", "#808890"),
}
INK, FAINT, OURS, FIRST, SECOND, THIRD, FOURTH = (colours[0] for colours in COLOURS.values())
PLOTS = []


def main(page, folder):
    page, folder = pathlib.Path(page), pathlib.Path(folder)
    text = page.read_text()
    results = {"taken": re.search(r"^On (.*) at the start\.$", text, re.M)[1], "tables": tables(text)}
    counted = re.search(r"^Counted on (.*)\.$", text, re.M)
    results["counted"] = counted and counted[1]
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    plt.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "keymaker", "font.family": "sans-serif", "font.size": 10, "text.color": INK,
        "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK, "ytick.color": INK, "grid.color": FAINT, "axes.titlelocation": "left",
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "figure.constrained_layout.use": True,
    })
    told = []
    for draw in PLOTS:
        if draw is growth and not counted:
            continue
        figure, title, words = draw(results)
        when = {"growth": results["counted"], "size": "by hand, before the others"}.get(draw.__name__, results["taken"])
        name = draw.__name__
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        save(figure, folder / f"{name}.svg", f"{title}. {words}")
        told += [f"![{title}](benchmarks/{name}.svg)", "", f"{words} ({short(when)})", ""]
    before, rest = text.split("<!-- plots -->\n", 1)
    after = rest.split("<!-- /plots -->\n", 1)[1]
    page.write_text(f"{before}<!-- plots -->\n\n" + "\n".join(told) + f"\n<!-- /plots -->\n{after}".replace("\n\n\n", "\n\n"))


def plot(function):
    PLOTS.append(function)
    return function


def short(when):
    """`2026-11-29, commit 17e041f: 2 processors (…) …` without the machine."""
    return when.split(":")[0]


# ---- the page ----


def tables(text):
    """By the heading above each: the words of its rows."""
    found, heading, rows = {}, None, []
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            heading = line.strip("# ")
        if line.startswith("|"):
            cells = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
            if not set(line) <= set("|- "):
                rows.append(cells)
        elif rows:
            found[heading.split(",")[0]] = {"heads": rows[0], "rows": rows[1:]}
            rows = []
    return found


def number(cell):
    """`3,218 (2.91)` is 3218; words are none."""
    found = re.match(r"[\d,.]+", cell)
    return float(found[0].replace(",", "")) if found else None


def columns(results, heading):
    """What each row is of, and its numbers."""
    return {row[0]: [number(cell) for cell in row[1:]] for row in results["tables"][heading]["rows"]}


# ---- plots ----


@plot
def lookups(results):
    rows = columns(results, "One lookup")
    kinds = ["by name", "by uid", "nobody's name", "groups of a user"]
    figure, axes = plt.subplots(1, 4, figsize=(9, 0.9 + 0.29 * len(rows)), sharey=True)
    for at, (axis, kind) in enumerate(zip(axes, kinds)):
        values = [rows[service][at] for service in rows]
        colours = [OURS if "keymaker" in service else FOURTH for service in rows]
        axis.barh(list(rows), [(value or 0) / 1000 for value in values], color=colours)
        axis.set_xscale("log")
        axis.set_title(kind, fontsize=10)
        axis.grid(axis="x")
        for place, value in enumerate(values):
            told = f"\u00a0{value / 1000:,.1f}" if value else "\u00a0answers wrong"
            axis.text(max((value or 0) / 1000, axis.get_xlim()[0]), place, told, va="center", fontsize=8)
        axis.set_xlim(0.5, 300_000)
    axes[0].invert_yaxis()
    by_name = {service: values[0] / 1000 for service, values in rows.items() if values[0]}
    ahead = [service for service, value in by_name.items() if value < by_name["keymaker"]]
    slowest = max(by_name, key=by_name.get)
    words = (
        f"Microseconds of one lookup, on a scale of powers of ten. By name keymaker takes {by_name['keymaker']:.1f}, SSSD out of its memory cache "
        f"{by_name['sss']:.1f}, libnss-extrausers {by_name['extrausers']:.1f} and the host's own files {by_name['files']:.1f}; slowest is {slowest} with "
        f"{by_name[slowest]:,.1f}. Ahead of keymaker on a warm hit by name: {' and '.join(ahead) or 'nobody'}."
    )
    return figure, "One lookup, µs", words


@plot
def commands(results):
    rows = {name: values for name, values in columns(results, "Commands").items() if all(values)}
    heads = results["tables"]["Commands"]["heads"][1:]
    figure, axis = plt.subplots(figsize=(9, 0.6 + 0.55 * len(rows)))
    base = heads.index("files sss")
    for at, (head, colour) in enumerate(zip(heads, [OURS, FIRST, FOURTH])):
        ratios = [values[at] / values[base] for values in rows.values()]
        places = [place + (at - 1) * 0.27 for place in range(len(rows))]
        axis.barh(places, ratios, 0.25, color=colour, label=head)
        for place, ratio in zip(places, ratios):
            axis.text(ratio, place, f"\u00a0{ratio:.2f}", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.grid(axis="x")
    axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    least, most = (pick((values[0] / values[base], name) for name, values in rows.items()) for pick in (min, max))
    words = (
        f"The time of a whole command, as a multiple of the time it takes with SSSD. With keymaker commands take {least[0]:.2f} times ({least[1]}) to "
        f"{most[0]:.2f} times as long ({most[1]}): below 1 keymaker is ahead, above it SSSD. Without either, with everybody in /etc/passwd, those that ask for many names take "
        f"up to {max(values[2] / values[base] for values in rows.values()):.1f} times."
    )
    return figure, "Commands over 10,000 files of 1,000 owners, of their time with SSSD", words


@plot
def logins(results):
    login = columns(results, "A login")
    # One that does not start here has no figures.
    keys = {name: values[:3] for name, values in columns(results, "The keys command").items() if values[0]}
    figure, axes = plt.subplots(1, 2, figsize=(9, 1 + 0.3 * max(len(login), len(keys))))
    for axis, rows, title in [(axes[0], login, "ssh localhost true"), (axes[1], keys, "the keys command, whole process")]:
        for place, (name, (median, low, high)) in enumerate(rows.items()):
            colour = OURS if place == 0 else FOURTH
            axis.plot([low, high], [place, place], color=colour, linewidth=3)
            axis.plot([median], [place], "o", color=colour, markersize=8)
            axis.text(median, place - 0.28, f"{median:,.2f}", ha="center", fontsize=8)
        axis.set_yticks(range(len(rows)), list(rows))
        axis.set_ylim(len(rows) - 0.5, -0.7)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x")
    # A Python program takes some hundred times as long as the others.
    axes[1].set_xscale("log")
    (ours, *_), (local, *_), *_ = login.values()
    command = keys["keymaker-keys"][0]
    others = ", ".join(f"{name} {median:.2f}" for name, (median, *_) in keys.items() if name != "keymaker-keys")
    words = (
        f"Milliseconds: a dot at the median, a line from the 10th to the 90th percentile. A login of an IAM user takes {ours:.0f} where one of a local "
        f"user takes {local:.0f}. The keys command takes {command:.2f}, on a scale of powers of ten; others take: {others}."
    )
    return figure, "A login and its keys command, ms", words


@plot
def credentials(results):
    rows = columns(results, "Credentials")
    figure, axis = plt.subplots(figsize=(9, 2.3))
    for place, (name, (median, most, *_)) in enumerate(rows.items()):
        colour = OURS if "credd" in name else FOURTH
        axis.plot([median, most], [place, place], color=colour, linewidth=3)
        axis.plot([median], [place], "o", color=colour, markersize=8)
        axis.text(most, place, f"\u00a0\u00a0{median:,.2f} to {most:,.2f}", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(0, max(values[1] for values in rows.values()) * 1.2)
    axis.grid(axis="x")
    direct, warm, cold = list(rows.values())[:3]
    words = (
        f"Milliseconds: a dot at the median, a line up to what 99 % are below. A conversation with credd takes {warm[0]:.1f} warm and {cold[0]:.1f} cold; one "
        f"with the sandbox's stand-in for the metadata service, a Python program, takes {direct[0]:.1f}."
    )
    return figure, "Credentials, ms", words


@plot
def size(results):
    rows = results["tables"]["The size of the directory"]["rows"]
    figure, axis = plt.subplots(figsize=(9, 2.9))
    hits = {}
    for service, users, hit, *_ in rows:
        hits.setdefault(service, []).append((number(users), number(hit) / 1000))
    for (service, points), colour in zip(hits.items(), [FOURTH, OURS, SECOND]):
        axis.plot(*zip(*points), "o-", color=colour, linewidth=2)
        axis.text(points[-1][0] * 1.15, points[-1][1], service, va="center", color=colour)
    axis.set(xscale="log", yscale="log", xlabel="users", ylabel="µs of a hit", xlim=(8, 300_000))
    axis.grid()
    ours, files = hits["keymaker"], hits["files"]
    words = (
        f"Microseconds of a hit against the number of users, both on scales of powers of ten: keymaker's line is flat, {ours[0][1]:.1f} with "
        f"{ours[0][0]:.0f} users and {ours[-1][1]:.1f} with {ours[-1][0]:,.0f}; that of the host's own files rises from {files[0][1]:.1f} to {files[-1][1]:,.0f}."
    )
    return figure, "A lookup and the size of the directory", words


@plot
def growth(results):
    rows = results["tables"]["Growth"]["rows"]
    figure, axis = plt.subplots(figsize=(9, 3.6))
    for row in rows:
        counts = [number(cell) for cell in row[2:7]]
        constant = row[9] == "constant"
        axis.plot(range(5), [count / counts[0] for count in counts], "o-", color=OURS if constant else FIRST, linewidth=1.5, label=row[9])
    handles, labels = axis.get_legend_handles_labels()
    by_label = dict(zip(labels, handles))
    axis.legend(by_label.values(), [f"may be {label}" for label in by_label], frameon=False)
    axis.set_yscale("log", base=2)
    axis.set_xticks(range(5), ["first size", "2nd", "3rd", "4th", "last"])
    axis.set_ylabel("instructions, of those at first")
    axis.grid()
    exponents = {row[0]: (float(row[8]), row[9]) for row in rows}
    flat = max(exponent for exponent, may in exponents.values() if may == "constant")
    steep, name = max((exponent, name) for name, (exponent, may) in exponents.items() if may != "constant")
    words = (
        f"Instructions against size, as multiples of those at the first size: what may not grow stays flat (no exponent over {flat:.2f}), and what "
        f"goes through everybody grows with their number (the steepest, {name}: exponent {steep:.2f})."
    )
    return figure, "Growth of what work costs", words


# ---- the picture ----


def save(figure, path, words):
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None, "Title": words})
    plt.close(figure)
    text = path.read_text()
    for name, (told, _, _, otherwise) in COLOURS.items():
        text = text.replace(told, f"var(--{name}, {otherwise})")
    style = [" ".join(f"--{name}: {colours[page]};" for name, colours in COLOURS.items()) for page in (1, 2)]
    sheet = f"<style>:root {{{style[0]}}} @media (prefers-color-scheme: dark) {{:root {{{style[1]}}}}}</style>"
    # matplotlib ends lines in spaces.
    text = "\n".join(line.rstrip() for line in text.replace("<defs>", f"{sheet}<defs>", 1).splitlines()) + "\n"
    path.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
