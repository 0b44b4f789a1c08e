#!/usr/bin/python3
"""What both daemons write for Prometheus, and what is shipped for it, judged by promtool, amtool and a real Prometheus beside them.

usage: tests/metrics.py TOOLS    as root in a sandbox; TOOLS is what ./check metrics puts together.
"""
import json, os, re, subprocess, sys, tempfile, time, urllib.parse, urllib.request

TOOLS = os.path.join(sys.argv[1], "usr/bin")
SHIPPED = "/usr/share/doc/keymaker/examples"
FOLDER = "/var/lib/prometheus/node-exporter"
PROMETHEUS = "http://127.0.0.1:9090"
EXPORTER = "127.0.0.1:9100"
DAEMONS = {"keymakerd": "/run/keymaker", "credd": "/run/keymaker-credd"}
# What node_exporter adds of its own.
OF_EXPORTER = {"node_textfile_mtime_seconds"}
wrong = []


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, **options)


def check(sentence, is_so, why=""):
    print(f"{'ok' if is_so else 'FAILED'}: {sentence}{'' if is_so else f': {why}'}", flush=True)
    if not is_so:
        wrong.append(sentence)


def succeeds(sentence, *words, **options):
    ended = run(*words, **options)
    check(sentence, ended.returncode == 0, ended.stdout + ended.stderr)


def until(what, holds, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := holds():
                return found
        # While Prometheus starts it answers, and with words that are not JSON.
        except (OSError, json.JSONDecodeError):
            pass
        time.sleep(0.2)
    check(what, False, f"not within {seconds} s")
    report()


def report():
    print(f"{len(wrong)} failed")
    sys.exit(1 if wrong else 0)


def at_socket(daemon):
    socket = f"{DAEMONS[daemon]}/status.sock"
    return run("curl", "-sS", "--fail", "--unix-socket", socket, f"http://{daemon}/metrics").stdout


def told(daemon):
    return re.findall(r"^# TYPE (\S+)", at_socket(daemon), re.M)


def ask(path, **query):
    try:
        with urllib.request.urlopen(f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def write_where_the_page_says():
    """The commands of docs/metrics.md."""
    os.makedirs(FOLDER, exist_ok=True)
    page = open("/usr/share/doc/keymaker/metrics.md").read() if os.path.exists("/usr/share/doc/keymaker/metrics.md") else \
        subprocess.check_output(["gzip", "-dc", "/usr/share/doc/keymaker/metrics.md.gz"], text=True)
    commands = next(block for block in re.findall(r"```console\n(.*?)```", page, re.S) if "metrics_file" in block)
    for command in commands.splitlines():
        succeeds(f"runs as written: {command[2:60]}…", "bash", "-c", command.removeprefix("# "))
    for daemon, folder in DAEMONS.items():
        path = f"{folder}/{daemon}.prom"
        until(f"{path} appears", lambda: os.path.exists(path))
        check(f"{path} is readable by all", os.stat(path).st_mode & 0o777 == 0o644)


def promtool_likes_what_they_write():
    for daemon, folder in DAEMONS.items():
        text = at_socket(daemon)
        names = re.findall(r"^# TYPE (\S+)", text, re.M)
        check(f"{daemon} has metrics", len(names) > 10, text)
        for where, text in (("socket", text), ("file", open(f"{FOLDER}/{daemon}.prom").read())):
            succeeds(f"promtool check metrics: {daemon}'s {where}", f"{TOOLS}/promtool", "check", "metrics", input=text)
        for name in ("alice", "bob", "prod_ssh_users", "keymaker_devs"):
            check(f"{daemon} names nobody: {name}", name not in text)


def tools_like_what_is_shipped():
    succeeds("promtool check rules", f"{TOOLS}/promtool", "check", "rules", f"{SHIPPED}/alerts.yml")
    succeeds("promtool test rules", f"{TOOLS}/promtool", "test", "rules", "alerts-test.yml", cwd=SHIPPED)
    succeeds("amtool check-config", f"{TOOLS}/amtool", "check-config", f"{SHIPPED}/routing.yml")
    rules = set(re.findall(r"- alert: (\w+)", open(f"{SHIPPED}/alerts.yml").read()))
    tests = re.findall(r'alertname="(\w+)"', open(f"{SHIPPED}/alerts-test.yml").read())
    check("each rule is shown silent and firing", rules == set(tests) and all(tests.count(rule) == 2 for rule in rules), rules ^ set(tests))


def start_prometheus(folder):
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{SHIPPED}/alerts.yml"],
        "scrape_configs": [{"job_name": "node", "static_configs": [{"targets": [EXPORTER]}]}],
    }
    with open(f"{folder}/prometheus.yml", "w") as file:
        json.dump(config, file)
    log = open(f"{folder}/log", "w")
    exporter = subprocess.Popen([f"{TOOLS}/prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
                                 f"--collector.textfile.directory={FOLDER}", f"--web.listen-address={EXPORTER}"],
                                stdout=log, stderr=log, user="nobody")
    prometheus = subprocess.Popen([f"{TOOLS}/prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                   "--web.listen-address=127.0.0.1:9090"], stdout=log, stderr=log)
    until("Prometheus scrapes both daemons by node_exporter",
          lambda: all(ask("query", query=f"{daemon}_build_info")["data"]["result"] for daemon in DAEMONS))
    return exporter, prometheus


def names_in(expression):
    return set(re.findall(r"\b(?:keymakerd|credd|node)_[a-z_]+", expression))


def prometheus_takes(known):
    loaded = [rule for group in ask("rules")["data"]["groups"] for rule in group["rules"]]
    until("Prometheus has evaluated every rule",
          lambda: all(rule["health"] == "ok" for group in ask("rules")["data"]["groups"] for rule in group["rules"]))
    for rule in loaded:
        check(f"the rule {rule['name']} names metrics that there are", names_in(rule["query"]) <= known, names_in(rule["query"]) - known)
    dashboard = json.load(open(f"{SHIPPED}/dashboard.json"))
    variables = dashboard["templating"]["list"]
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [re.sub(r"label_values\((.*), (.*)\)", r"count by (\2) (\1)", variable["query"])
                    for variable in variables if variable["type"] == "query"]
    empty = []
    for expression in expressions:
        query = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        answer = ask("query", query=query)
        check(f"the dashboard's {expression[:90]}", answer["status"] == "success", answer.get("error"))
        check("… names metrics that there are", names_in(expression) <= known, names_in(expression) - known)
        if answer["status"] == "success" and not answer["data"]["result"]:
            empty.append(expression)
    print(f"figure: {len(expressions)} expressions of the dashboard, {len(empty)} of them without a value on a healthy host: {empty}")
    shown = {name for text in expressions + [rule["query"] for rule in loaded] for name in names_in(text)}
    print(f"figure: {len(known)} metrics, {len(shown)} of them in a rule or a panel; not: {sorted(known - shown)}")


def main():
    run("systemctl", "start", "credd")
    for daemon in DAEMONS:
        until(f"{daemon} answers at its status socket", lambda: at_socket(daemon))
    check("no file before somebody asks", not any(os.path.exists(f"{folder}/{daemon}.prom") for daemon, folder in DAEMONS.items()))
    run("ssh", "alice@localhost", "true")
    write_where_the_page_says()
    run("ssh", "alice@localhost", "true")
    promtool_likes_what_they_write()
    tools_like_what_is_shipped()
    known = set(told("keymakerd")) | set(told("credd")) | OF_EXPORTER
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        servers = start_prometheus(folder)
        try:
            prometheus_takes(known)
        finally:
            for server in servers:
                server.terminate()
                server.wait()
    series = sum(1 for daemon in DAEMONS for line in at_socket(daemon).splitlines() if not line.startswith("#"))
    print(f"figure: {series} series of a host")
    report()


main()
