"""Random OpenAPI and Swagger documents of one operation, with what authors do in the wild."""

import json
import random
import re
from typing import Any

# Valid ones, ones that become one another when made valid, and other scripts.
NAMES = (
    *("a", "b", "limit", "page", "page[]", "page[0]", "page_2", "filter[town]", "x-y", "a.b"),
    *("Departure", "Departure<", "Departure>", "1st", "$top", "城市", "城 市", "chéngshì"),
    *("письмо", "письма", "é", "e", "a b", "a_b", "日" * 70, "long" * 20),
)
TEXTS = ("", "x", "yy", "ab1", "x" * 9, "010", "1_000", "10:15:30", "yes", "no", "1.10", "1e3")
PATTERNS = (
    r"^[a-z]+$",
    r"\d",
    "^x",
    "^x",
    "y$",
    r"^.\w$",
    r"^\p{L}+$",
    "/^x/",
    "^(a+)+$",
    "^(?!x)(a+)+$",
    "y$",
)
DIALECTS = ("2.0", "3.0.3", "3.1.0")


class Documents:
    """Makes documents of one dialect; `scale` says how much is nested."""

    def __init__(self, rng: random.Random, dialect: str):
        self.rng = rng
        self.dialect = dialect
        self.is_modern = dialect.startswith("3.1")
        self.targets = ""  # of references
        self.place = "definitions" if dialect == "2.0" else "components/schemas"

    def maybe(self, probability: float) -> bool:
        return self.rng.random() < probability

    def document(self) -> dict[str, Any]:
        schemas = {}
        for name, others in (("C", "C"), ("B", "BC"), ("A", "ABC")):
            # Mostly to others: what is a part of itself, `jsonschema` cannot check.
            self.targets = others if self.maybe(0.1) else others.replace(name, "")
            schemas[name] = self.schema(2)
        self.targets = "ABC"
        names = self.rng.sample(NAMES, 4)
        listed = [self.parameter(name) for name in names[: self.rng.randrange(4)]]
        operation: dict[str, Any] = {"operationId": "doIt", "summary": "Does it"}
        body = self.schema(2) if self.maybe(0.3) else self.object(2)
        required = {} if self.maybe(0.2) else {"required": self.maybe(0.8)}
        if self.dialect == "2.0":
            if self.maybe(0.8):
                listed.append({"name": "body", "in": "body", "schema": body, **required})
        elif self.maybe(0.8):
            content = {"application/json": {"schema": body}}
            operation["requestBody"] = {"content": content, **required}
        if listed:
            operation["parameters"] = listed
        version = "swagger" if self.dialect == "2.0" else "openapi"
        document = {
            version: self.dialect,
            "info": {"title": "Any", "version": "1.10"},
            "paths": {"/things": {"post": operation}},
        }
        if self.dialect == "2.0":
            return {**document, "definitions": schemas}
        return {**document, "components": {"schemas": schemas}}

    def parameter(self, name: str) -> dict[str, Any]:
        place = self.rng.choice(("query", "header", "path"))
        result: dict[str, Any] = {"name": name, "in": place}
        if place == "path" or self.maybe(0.5):
            result["required"] = True
        if self.maybe(0.5):
            result["description"] = "of the parameter"
        if self.maybe(0.1):
            result["deprecated"] = True
        schema = self.scalar() if self.maybe(0.7) else self.schema(1)
        if self.dialect != "2.0":
            return {**result, "schema": schema}
        # There, a parameter is its schema, and there are no references or alternatives.
        words = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength")
        words += ("pattern", "items", "default", "x-nullable", "minItems", "maxItems")
        return {**{k: v for k, v in schema.items() if k in words}, **result}

    def schema(self, depth: int) -> dict[str, Any]:
        kind = self.rng.random()
        if depth <= 0 or kind < 0.3:
            result = self.scalar()
        elif kind < 0.5:
            result = self.object(depth)
        elif kind < 0.58:
            result = self.array(depth)
        elif kind < 0.72:
            if not self.targets:
                return self.scalar()
            result = {"$ref": f"#/{self.place}/{self.rng.choice(self.targets)}"}
            if self.maybe(0.5):
                result |= self.refinement(depth)
        elif kind < 0.86:
            result = self.all_of(depth)
        else:
            result = self.alternatives(depth)
        return self.with_traits(result)

    def with_traits(self, schema: dict[str, Any]) -> dict[str, Any]:
        traits = {}
        if not self.is_modern and self.maybe(0.12):
            traits["x-nullable" if self.dialect == "2.0" else "nullable"] = True
        if self.maybe(0.06):
            traits["readOnly"] = True
        if self.maybe(0.06):
            traits[self.rng.choice(("deprecated", "writeOnly"))] = True
        if self.maybe(0.3):
            traits["description"] = self.rng.choice(("One thing", "Another: thing", "x" * 150))
        if self.maybe(0.05):
            traits["example"] = "x"
        return {**schema, **traits}

    def scalar(self) -> dict[str, Any]:
        rng = self.rng
        kind = rng.choice(("string", "string", "integer", "number", "boolean", "choice", "any"))
        if kind == "string":
            result: dict[str, Any] = {"type": "string", **self.text_limits()}
            if self.maybe(0.3):
                result["enum"] = rng.sample(TEXTS, rng.randrange(1, 4))
            if self.maybe(0.2):
                result["default"] = rng.choice(result.get("enum", TEXTS))
        elif kind in ("integer", "number"):
            result = {"type": kind, **self.number_limits()}
            if self.maybe(0.2):
                result["enum"] = rng.sample((-1, 0, 1, 2, 3, 5), rng.randrange(1, 4))
            if self.maybe(0.2):
                result["default"] = rng.choice((0, 1, 2, "3"))
        elif kind == "boolean":
            result = {"type": "boolean"}
        elif kind == "choice":
            values = ("x", "yy", 1, 2, True, None, "1", [1], {"a": 1})
            result = {"enum": rng.sample(values, rng.randrange(1, 5))}
            if self.is_modern and self.maybe(0.5):
                result = {"const": rng.choice(values)}
        else:
            result = rng.choice(({}, self.text_limits(), self.number_limits()))
        if self.is_modern and isinstance(result.get("type"), str) and self.maybe(0.2):
            result["type"] = [result["type"], rng.choice(("null", "integer", "boolean"))]
            result["type"] = list(dict.fromkeys(result["type"]))
        return result

    def text_limits(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if self.maybe(0.3):
            result["minLength"] = self.rng.randrange(3)
        if self.maybe(0.3):
            result["maxLength"] = self.rng.randrange(1, 6)
        if self.maybe(0.3):
            result["pattern"] = self.rng.choice(PATTERNS)
        if self.maybe(0.1):
            result["format"] = self.rng.choice(("date", "password"))
        return result

    def number_limits(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for word, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            limit = self.rng.choice((0, 1, 1.5)) + (2 if word == "maximum" else 0)
            if self.maybe(0.3):
                result[word] = limit
                if not self.is_modern and self.maybe(0.4):
                    result[exclusive] = True
            elif self.is_modern and self.maybe(0.2):
                result[exclusive] = limit
        if self.maybe(0.15):
            result["multipleOf"] = self.rng.choice((1, 2, 0.5, 3))
        return result

    def object(self, depth: int) -> dict[str, Any]:
        rng = self.rng
        names = rng.sample(NAMES, rng.choice((1, 2, 2, 3, 3, 5)))
        result: dict[str, Any] = {"type": "object"}
        if self.maybe(0.92):
            result["properties"] = {name: self.schema(depth - 1) for name in names}
        if self.maybe(0.6):
            result["required"] = rng.sample(names, rng.randrange(1, min(3, len(names)) + 1))
        if self.maybe(0.05):
            result.setdefault("required", []).append("nowhere")
        if self.maybe(0.3):
            result["additionalProperties"] = rng.choice((True, False, False, {}, self.scalar()))
        if self.maybe(0.08):
            result[rng.choice(("minProperties", "maxProperties"))] = rng.randrange(1, 4)
        if self.maybe(0.2) and len(names) > 1:
            result |= self.condition(names)
        if self.maybe(0.1):
            del result["type"]
        if self.is_modern and self.maybe(0.35):
            result |= rng.choice(
                (
                    {"patternProperties": {"^x": self.scalar()}},
                    {"patternProperties": {r"^\p{L}": self.scalar()}},
                    {"dependentRequired": {names[0]: names[-1:]}},
                    {"propertyNames": {"maxLength": 3}},
                    {"if": {"required": names[:1]}, "then": {"required": names[-1:]}},
                    {"not": {"properties": {names[0]: {"const": "x"}}, "required": names[:1]}},
                    {"unevaluatedProperties": False},
                )
            )
        return result

    def condition(self, names: list[str]) -> dict[str, Any]:
        one, other = self.rng.sample(names, 2)
        either = [{"required": [one]}, {"required": [other]}]
        return self.rng.choice(
            (
                {"anyOf": either},
                {"oneOf": either},
                {"not": {"required": [one, other]}},
                {"anyOf": [{"required": [one]}, {"not": {"required": [other]}}]},
                {"allOf": [{"anyOf": either}]},
            )
        )

    def array(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {"type": "array", "items": self.schema(depth - 1)}
        if self.maybe(0.3):
            result["minItems"] = 1
        if self.maybe(0.3):
            result["maxItems"] = self.rng.randrange(1, 4)
        if self.maybe(0.2):
            result["uniqueItems"] = True
        if self.is_modern and self.maybe(0.3):
            result["prefixItems"] = [self.scalar(), self.scalar()][: self.rng.randrange(1, 3)]
            if self.maybe(0.3):
                result["items"] = False
        if self.is_modern and self.maybe(0.2):
            result["contains"] = self.scalar()
        return result

    def refinement(self, depth: int) -> dict[str, Any]:
        """What authors write beside a reference, or as a further part of `allOf`."""
        rng = self.rng
        name = rng.choice(NAMES)
        choices: list[dict[str, Any]] = [
            self.text_limits(),
            self.number_limits(),
            {"enum": rng.sample((*TEXTS, 1, 2), 4)},
            {"default": rng.choice(("x", 1))},
            {"required": [name, self.rng.choice(NAMES)]},
            {"properties": {name: self.schema(depth - 1)}},
            {"type": "object", "properties": {name: self.scalar()}, "required": [name]},
            {"type": rng.choice(("string", "integer", "object"))},
            {"description": "of the part"},
            {"minItems": 1},
            {"readOnly": True},
        ]
        return rng.choice(choices)

    def all_of(self, depth: int) -> dict[str, Any]:
        if self.maybe(0.5):
            return self.refined_scalar()
        base = self.rng.choice((self.object, self.schema, self.schema))(depth - 1)
        parts = [base, *(self.refinement(depth - 1) for _ in range(self.rng.randrange(3)))]
        if "properties" in base and self.maybe(0.5):
            name = self.rng.choice(list(base["properties"]))
            parts.append({"properties": {name: self.refinement(depth - 2)}})
        if self.maybe(0.1):
            parts.append({"allOf": [self.refinement(depth - 1)]})
        if self.maybe(0.15):
            parts.append(self.schema(depth - 1))
        self.rng.shuffle(parts)
        beside = self.refinement(depth - 1) if self.maybe(0.3) else {}
        return {"allOf": parts, **beside}

    def refined_scalar(self) -> dict[str, Any]:
        """A text or a number, and further limits of it."""
        rng = self.rng
        kind = rng.choice(("string", "integer"))
        limits = self.text_limits if kind == "string" else self.number_limits
        values = TEXTS if kind == "string" else (0, 1, 2, 3, 4, 5)
        parts: list[dict[str, Any]] = [{"type": kind, **limits()}]
        for _ in range(rng.randrange(1, 4)):
            choices = {"enum": rng.sample(values, len(values) // 2)}
            parts.append(choices if self.maybe(0.5) else limits())
        if self.maybe(0.2):
            parts = [parts[0], {"allOf": parts[1:]}]
        beside = limits() if self.maybe(0.3) else {}
        rng.shuffle(parts)
        return {"allOf": parts, **beside}

    def alternatives(self, depth: int) -> dict[str, Any]:
        word = self.rng.choice(("oneOf", "anyOf"))
        if self.maybe(0.35):
            variants = [self.object(depth - 1) for _ in range(self.rng.randrange(1, 4))]
        else:
            count = self.rng.choice((1, 2, 2, 3, 8))
            variants = [self.schema(depth - 1 if count < 8 else 0) for _ in range(count)]
        if self.is_modern and self.maybe(0.3):
            variants.append({"type": "null"})
        beside = self.refinement(depth - 1) if self.maybe(0.2) else {}
        return {word: variants, **beside}


def as_yaml(document: Any, rng: random.Random) -> str:
    """Writes a document with anchors, merge keys, and texts without quotes where YAML 1.2 lets it.

    A choice or default of a text is written plain even where that makes it a number: its spelling
    is what the author means.
    """
    shared: list[str] = []

    def anchor(text: str) -> str:
        shared.append(text)
        return f"s{len(shared)}"

    def write(node: Any, means_text: bool = False) -> str:
        if isinstance(node, dict):
            is_text = node.get("type") == "string"
            pairs = []
            for key, value in node.items():
                plain = is_text and key in ("enum", "default")
                pairs.append((_scalar(key, False), write(value, plain)))
            if len(pairs) > 1 and rng.random() < 0.1:  # some of the pairs, by a merge key
                rng.shuffle(pairs)
                cut = rng.randrange(1, len(pairs))
                inner = "{" + ", ".join(f"{k}: {v}" for k, v in pairs[:cut]) + "}"
                # What stands beside a merge key wins over it.
                wins = pairs[cut:] if rng.random() < 0.5 else [*pairs[cut:], pairs[0]]
                pairs = [("<<", f"*{anchor(inner)}"), *wins]
            text = "{" + ", ".join(f"{k}: {v}" for k, v in pairs) + "}"
            return f"*{anchor(text)}" if rng.random() < 0.05 else text
        if isinstance(node, list):
            return "[" + ", ".join(write(item, means_text) for item in node) + "]"
        return _scalar(node, means_text)

    body = "\n".join(f"{_scalar(key, False)}: {write(value)}" for key, value in document.items())
    anchors = "".join(f"  - &s{number} {text}\n" for number, text in enumerate(shared, start=1))
    return f"x-shared:\n{anchors}{body}\n" if shared else f"{body}\n"


# What the core schema of YAML 1.2 takes for no text.
_NO_TEXT = re.compile(
    r"~|null|Null|NULL|true|True|TRUE|false|False|FALSE|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|"
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|"
)


def _scalar(value: Any, means_text: bool) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.][\w.:]*", value) and value[-1] != ":":
        number = _NO_TEXT.fullmatch(value)
        if not number or (means_text and value[0].isdigit()):
            return value
    return json.dumps(value, ensure_ascii=False)
