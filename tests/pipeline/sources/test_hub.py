"""The hub stands here as a small server on this machine; `fetch` runs against it in processes of their own."""

import gzip
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.sources.files import RawFile
from pipeline.sources.hub import data_files
from pipeline.sources.read import read_files

ROOT = Path(__file__).resolve().parents[3]

# Reads one call a line, answers one line; anything but a SourceError ends it.
WORKER = """
import json, sys
from pipeline.errors import SourceError
from pipeline.sources.hub import fetch
light = "huggingface_hub" not in sys.modules
for line in sys.stdin:
    try:
        found = fetch(*json.loads(line))
        answer = {"commit": found.commit, "light": light, "files": [
            [str(file.path), file.name, file.format, file.compression] for file in found.files]}
    except SourceError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


class Hub:
    """Data sets by id, each with commits (files by path) and names for them; and a log of what was asked."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, Mapping[str, bytes]]] = {}
        self.names: dict[str, dict[str, str]] = {}
        self.gated: set[str] = set()
        self.answers: dict[str, tuple[int, bytes]] = {}  # instead of the right one, for a whole data set
        self.log: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def publish(self, repo: str, files: Mapping[str, bytes], *names: str) -> str:
        commit = hashlib.sha1(repr((repo, sorted(files.items()))).encode(), usedforsecurity=False).hexdigest()
        self.commits.setdefault(repo, {})[commit] = files
        self.names.setdefault(repo, {}).update(dict.fromkeys(names or ("main",), commit))
        return commit

    def downloads(self, repo: str) -> list[str]:
        start = f"GET /datasets/{repo}/resolve/"
        return sorted(line.rpartition("/")[2] for line in self.log if line.startswith(start))


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        parts = path.removeprefix("/api").removeprefix("/").split("/", 4)
        if parts[0] != "datasets" or len(parts) < 5:
            return self.answer(404, b"{}")
        self.hub.log.append(f"{self.command} {unquote(path)}")
        _, org, name, verb, rest = parts
        repo = f"{org}/{name}"
        revision, _, file = rest.partition("/")
        revision = unquote(revision)
        if repo in self.hub.answers:
            return self.answer(*self.hub.answers[repo])
        if repo not in self.hub.commits:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        commit = self.hub.names[repo].get(revision, revision)
        if commit not in self.hub.commits[repo]:
            return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = self.hub.commits[repo][commit]
        if verb == "revision":
            return self.answer(200, json.dumps({"id": repo, "sha": commit, "siblings": []}).encode())
        if verb == "tree":
            folders = sorted({str(Path(path).parent) for path in files} - {"."})
            entries = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
            entries += [
                {"type": "file", "path": path, "oid": etag(data), "size": len(data)} for path, data in files.items()
            ]
            return self.answer(200, json.dumps(entries).encode())
        if repo in self.hub.gated:
            return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        data = files[unquote(file)]
        return self.answer(200, data, {"X-Repo-Commit": commit, "ETag": f'"{etag(data)}"'})

    def answer(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class Fetcher:
    """A process in which `fetch` runs, with an environment of its own."""

    def __init__(self, home: Path, url: str, **environment: str) -> None:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("HF_", "HUGGING")) and not key.lower().endswith("_proxy")
        }
        self.errors = home.parent / f"{home.name}.stderr"
        with self.errors.open("a") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER],
                cwd=ROOT,
                text=True,
                encoding="utf-8",
                stderr=stderr,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**kept, "HF_HOME": str(home), "HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
            )

    def __call__(self, repo: str, revision: str = "main", files: str | None = None, format: str | None = None) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(["demo", repo, revision, files, format]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate(timeout=30)


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub") / "home"


@pytest.fixture(scope="module")
def fetch(hub: Hub, home: Path) -> Iterator[Fetcher]:
    fetcher = Fetcher(home, hub.url)
    yield fetcher
    fetcher.close()


@pytest.fixture(scope="module")
def offline(hub: Hub, home: Path) -> Iterator[Fetcher]:
    fetcher = Fetcher(home, hub.url, HF_HUB_OFFLINE="1")
    yield fetcher
    fetcher.close()


@pytest.fixture(scope="module")
def cut_off(home: Path) -> Iterator[Fetcher]:
    """The same cache, and a hub that does not answer."""
    fetcher = Fetcher(home, "http://someone:secret@127.0.0.1:9", HF_TOKEN="hf_verysecret")  # noqa: S106
    yield fetcher
    fetcher.close()


def raw_files(found: dict) -> list[RawFile]:
    return [RawFile(Path(path), *rest) for path, *rest in found["files"]]


def names(found: dict) -> list[str]:
    return [file.name for file in raw_files(found)]


def parquet(rows: dict[str, list[str]]) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(pa.table(rows), stream)
    return stream.getvalue().to_pybytes()


MIXED = {
    "README.md": b"# a card",
    ".gitattributes": b"*.parquet filter=lfs",
    "dataset_infos.json": b'{"default": {}}',
    "data/train-00000-of-00001.parquet": parquet({"q": ["one", "two"]}),
    "more/late.jsonl.gz": gzip.compress(b'{"q": "vier"}\n'),
    "more/[odd] name.jsonl": '{"q": "三"}\n'.encode(),
}
DATA = ["data/train-00000-of-00001.parquet", "more/[odd] name.jsonl", "more/late.jsonl.gz"]


def test_the_files_are_the_bytes_that_the_hub_has(hub: Hub, fetch: Fetcher) -> None:
    commit = hub.publish("lab/mixed", MIXED)
    found = fetch("lab/mixed")
    assert found["commit"] == commit
    assert found["light"], "huggingface_hub is imported before it is needed"
    assert names(found) == DATA
    assert [file.path.read_bytes() for file in raw_files(found)] == [MIXED[name] for name in DATA]
    assert hub.downloads("lab/mixed") == sorted(name.rpartition("/")[2] for name in DATA)


def test_parquet_and_json_lines_come_through_the_readers(hub: Hub, fetch: Fetcher) -> None:
    hub.publish("lab/read", MIXED)
    blocks = list(read_files("demo", raw_files(fetch("lab/read"))))
    assert [text for _, block in blocks for text in block.frame["q"]] == ["one", "two", "三", "vier"]
    assert [int(number) for _, block in blocks for number in block.record] == [0, 1, 2, 3]


def test_a_tag_and_a_commit_stay_where_they_are_when_the_branch_moves(hub: Hub, fetch: Fetcher) -> None:
    old = hub.publish("lab/moving", {"a.csv": b"q\n1\n"}, "main", "v1", "refs/convert/parquet")
    assert fetch("lab/moving")["commit"] == old
    new = hub.publish("lab/moving", {"a.csv": b"q\n2\n"}, "main")
    assert [fetch("lab/moving", revision)["commit"] for revision in ("main", "v1", "refs/convert/parquet", old)] == [
        new,
        old,
        old,
        old,
    ]
    assert raw_files(fetch("lab/moving"))[0].path.read_bytes() == b"q\n2\n"


def test_what_is_in_the_cache_is_not_downloaded_again(hub: Hub, fetch: Fetcher) -> None:
    commit = hub.publish("lab/twice", {"a.jsonl": b"{}", "b.jsonl": b'{"q": 1}'})
    first = fetch("lab/twice")
    before = len(hub.log)
    assert fetch("lab/twice") == first
    assert hub.log[before:] == ["GET /api/datasets/lab/twice/revision/main"]
    assert fetch("lab/twice", commit) == first
    assert len(hub.log) == before + 1, "a commit never changes: nothing is asked"
    raw_files(first)[1].path.resolve().unlink()
    assert fetch("lab/twice") == first
    assert hub.downloads("lab/twice") == ["a.jsonl", "b.jsonl", "b.jsonl"]


def test_the_cache_serves_without_a_network(hub: Hub, fetch: Fetcher, offline: Fetcher, cut_off: Fetcher) -> None:
    commit = hub.publish("lab/kept", {"a.jsonl": b"{}", "b.jsonl": b'{"q": 1}'})
    first = fetch("lab/kept")
    for without in (offline, cut_off):
        assert without("lab/kept") == first
        assert without("lab/kept", commit) == first
    assert "secret" not in cut_off.errors.read_text()


def test_a_half_filled_cache_is_an_error_and_no_shorter_list(hub: Hub, fetch: Fetcher, offline: Fetcher) -> None:
    hub.publish("lab/half", {"a.jsonl": b"{}", "b.jsonl": b'{"q": 1}'})
    fetch("lab/half", files="a.*")
    assert names(offline("lab/half", files="a.*")) == ["a.jsonl"]
    assert offline("lab/half")["error"] == (
        "source demo: lab/half at 'main' is not, or not wholly, in the cache and HF_HUB_OFFLINE is set\n"
        "  fix: unset HF_HUB_OFFLINE, set sources.demo.path=FILE, or corpus=samples"
    )


def test_a_cache_that_does_not_know_what_is_missing_is_not_trusted(
    hub: Hub, fetch: Fetcher, home: Path, tmp_path: Path
) -> None:
    hub.publish("lab/older", {"a.jsonl": b"{}"})
    fetch("lab/older")
    shutil.copytree(home / "hub/datasets--lab--older", tmp_path / "home/hub/datasets--lab--older", symlinks=True)
    shutil.rmtree(tmp_path / "home/hub/datasets--lab--older/trees")
    offline = Fetcher(tmp_path / "home", hub.url, HF_HUB_OFFLINE="1")
    assert "lab/older at 'main' is not, or not wholly, in the cache" in offline("lab/older")["error"]
    offline.close()


def test_the_glob_chooses_and_only_its_files_are_downloaded(hub: Hub, fetch: Fetcher) -> None:
    hub.publish("lab/chosen", MIXED)
    assert names(fetch("lab/chosen", files="data/*")) == DATA[:1]
    assert hub.downloads("lab/chosen") == ["train-00000-of-00001.parquet"]
    assert names(fetch("lab/chosen", files="more/[[]odd] *")) == DATA[1:2]
    assert names(fetch("lab/chosen", files=DATA[1])) == DATA[1:2]


def test_a_format_makes_data_of_any_file(hub: Hub, fetch: Fetcher) -> None:
    hub.publish("lab/text", {"rows.txt": b'{"q": 1}\n', "README.md": b"a card"})
    found = fetch("lab/text", files="*.txt", format="json")
    assert [(file.name, file.format) for file in raw_files(found)] == [("rows.txt", "json")]
    assert "sources.demo.format" in fetch("lab/text", files="rows.txt")["error"]


@pytest.mark.parametrize(
    ("repo", "revision", "files", "what", "fix"),
    [
        ("lab/none", "main", None, "no data set lab/none on the hub", "sources.demo.hub=ORG/NAME"),
        ("a/b/c", "main", None, "'a/b/c' is no id of a data set", "sources.demo.hub=ORG/NAME"),
        ("lab/good", "v9", None, "lab/good has no revision 'v9'", "sources.demo.revision"),
        ("lab/good", "9" * 40, None, f"lab/good has no revision '{'9' * 40}'", "sources.demo.revision"),
        ("lab/gated", "main", None, "lab/gated is gated", "`hf auth login`"),
        ("lab/good", "main", "*.csv", "no data file of lab/good matches *.csv (have: a.jsonl)", "sources.demo.files"),
        ("lab/card", "main", None, "no data files in lab/card (have: README.md, load.py;", "refs/convert/parquet"),
        ("lab/empty", "main", None, "no data files in lab/empty (have: nothing at all;", "sources.demo.path=FILE"),
        ("lab/denied", "main", None, "no access to lab/denied (HTTP 403)", "`hf auth login`"),
        ("lab/busy", "main", None, "too many requests", "wait"),
        ("lab/down", "main", None, "the hub cannot give lab/down now (HTTP 500)", "corpus=samples"),
        ("lab/portal", "main", None, "is no hub", "HF_ENDPOINT"),
    ],
)
def test_an_error_of_the_hub_says_how_to_mend_it(
    hub: Hub, fetch: Fetcher, repo: str, revision: str, files: str | None, what: str, fix: str
) -> None:
    hub.publish("lab/good", {"a.jsonl": b"{}"})
    hub.publish("lab/gated", {"a.jsonl": b"{}"})
    hub.publish("lab/card", {"README.md": b"", "load.py": b""})
    hub.publish("lab/empty", {})
    hub.gated.add("lab/gated")
    hub.answers |= {
        "lab/denied": (403, b"{}"),
        "lab/busy": (429, b"{}"),
        "lab/down": (500, b"{}"),
        "lab/portal": (200, b"<html>log in</html>"),
    }
    first, second = fetch(repo, revision, files)["error"].split("\n")
    assert first.startswith("source demo: ")
    assert what in first
    assert second.startswith("  fix: ")
    assert fix in second


def test_a_hub_out_of_reach_is_named_without_passwords(cut_off: Fetcher) -> None:
    for revision in ("main", "0" * 40):
        assert cut_off("lab/never", revision)["error"] == (
            f"source demo: the hub at 127.0.0.1:9 cannot be reached (ConnectError), and lab/never at '{revision}' "
            "is not, or not wholly, in the cache\n"
            "  fix: try again with a network, set sources.demo.path=FILE, or corpus=samples"
        )
    assert "secret" not in cut_off.errors.read_text()


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"HF_TOKEN": "hf_very\x01secret"}, "the hub's token has characters"),
        ({"HF_ENDPOINT": "nowhere"}, "what answers at nowhere is no hub"),
        ({"HF_HOME": "/dev/null/home"}, "the hub's cache cannot be used"),
    ],
)
def test_a_wrong_environment_is_named(hub: Hub, tmp_path: Path, environment: dict[str, str], what: str) -> None:
    hub.publish("lab/good", {"a.jsonl": b"{}"})
    fetcher = Fetcher(tmp_path / "home", hub.url, **environment)
    found = fetcher("lab/good")
    fetcher.close()
    assert what in found["error"]
    assert "secret" not in found["error"] + fetcher.errors.read_text()


def test_nothing_is_printed_where_there_is_no_terminal(hub: Hub, tmp_path: Path) -> None:
    hub.publish("lab/quiet", MIXED)
    fetcher = Fetcher(tmp_path / "home", hub.url)
    assert names(fetcher("lab/quiet")) == DATA
    fetcher.close()
    assert fetcher.errors.read_text() == ""


def test_metadata_and_hidden_files_are_no_data() -> None:
    files = [
        "a.JSONL",
        "b.csv.zst",
        "state.json",
        "en/dataset_info.json",
        ".cache/x.json",
        "__pycache__/y.json",
        "data.zip",
        "z.tsv",
    ]
    assert data_files("demo", "lab/x", files, None, None) == ["a.JSONL", "b.csv.zst", "z.tsv"]
    assert data_files("demo", "lab/x", files, "*.*", "json") == ["a.JSONL", "b.csv.zst", "data.zip", "z.tsv"]
    assert data_files("demo", "lab/x", files, "state.json", None) == ["state.json"]
    with pytest.raises(SourceError, match=r"no data file of lab/x matches \*\.json "):
        data_files("demo", "lab/x", files, "*.json", None)


def test_a_long_list_is_cut_and_the_likely_ones_come_first() -> None:
    files = [f"data/{number:03}.parquet" for number in range(100)] + ["test/late.jsonl"]
    with pytest.raises(SourceError, match=r"\(have: test/late.jsonl, data/000.parquet, .* and 93 more\)"):
        data_files("demo", "lab/x", files, "test/lat.jsonl", None)
