"""BFCL's own answers as a model of the Hermes form writes them, for all rooms."""

import ast
import json


def hermes(calls: list[dict[str, str]]) -> str:
    """Calls in BFCL's form as a model of the Hermes form writes them."""
    return "\n".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
        for call in calls
        for name, arguments in call.items()
    )


def gold_call(expected):
    """The call with the first of the possible values of each parameter; "" stands for none."""
    ((name, values),) = expected.items()
    arguments = {key: plain(allowed) for key, allowed in values.items() if needed(allowed)}
    return {name.replace(".", "_"): json.dumps(arguments)}


def needed(allowed):
    """Whether a parameter is to be given; "" among its values says that it may be left out."""
    return bool(allowed) and allowed[0] != ""


def plain(allowed):
    """The first possible value; objects within list the possible values of their fields."""
    value = allowed[0]
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if needed(inner)}
    if isinstance(value, list):
        return [plain([one]) if isinstance(one, dict) else one for one in value]
    return value


def single(case, turn, step):
    return hermes([gold_call(expected) for expected in case.answer])


def conversation(case, turn, step):
    """The official calls of a turn at once, then a text."""
    if step > 1 or not case.answer[turn]:
        return "Done."
    # All tools: in one case the official calls use one before it is offered.
    functions = (tool["function"] for tool in case.tools[max(case.tools)])
    parameters = {one["name"]: list(one["parameters"]["properties"]) for one in functions}
    calls = []
    for text in case.answer[turn]:
        node = ast.parse(text, mode="eval").body
        name = node.func.id
        arguments = dict(zip(parameters[name], map(ast.literal_eval, node.args), strict=False))
        arguments |= {word.arg: ast.literal_eval(word.value) for word in node.keywords}
        calls.append({name: json.dumps(arguments)})
    return hermes(calls)
