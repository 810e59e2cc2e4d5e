"""The schema at /openapi.json: what it allows is answered as it says, and what it does not is refused, never a 5xx."""

import json

import jsonschema
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.app.limits import MAX_BODY
from tests.app.schema_values import broken, values

SETTINGS = settings(
    max_examples=25, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
BODIES = ["/api/reply", "/api/next", "/v1/chat/completions", "/v1/completions"]
MODELS = st.sampled_from(["scratch", "base", "scratch", "base", "no such"])
USERS = [{"role": "user", "content": "What is a word?"}]
FEW = {"max_tokens": 4, "max_completion_tokens": 4}  # a reply takes its time otherwise


@pytest.fixture(scope="module")
def schema(server):
    return requests.get(f"http://127.0.0.1:{server[1]}/openapi.json", timeout=9).json()


def check(schema, operation, found):
    """The answer has a status and a form that the schema has for it."""
    assert found.status_code < 500, found.text
    content = operation["responses"][str(found.status_code)]["content"]
    kind = found.headers["content-type"].partition(";")[0]
    assert kind in content
    if kind == "application/json":
        form = content[kind]["schema"] | {"components": schema["components"]}
        jsonschema.Draft202012Validator(form).validate(found.json())
    return found


def body_schema(operation):
    return operation["requestBody"]["content"]["application/json"]["schema"]


def test_no_route_is_left_out_and_nothing_is_loaded_from_elsewhere(url, schema):
    assert {*schema["paths"]} == {*BODIES, "/api/models", "/v1/models", "/v1/models/{name}"}
    assert all(requests.get(f"{url}/{path}", timeout=9).status_code == 404 for path in ("docs", "redoc"))


@pytest.mark.parametrize("path", BODIES)
@SETTINGS
@given(data=st.data())
def test_what_the_schema_allows_is_answered_as_it_says(url, schema, path, data):
    operation = schema["paths"][path]["post"]
    body = data.draw(values(body_schema(operation), schema)) | {"model": data.draw(MODELS)}
    body |= {key: value for key, value in FEW.items() if path != "/api/next"}
    if data.draw(st.booleans()):
        body |= {"messages": USERS, "prefix": []}  # an order that is one
    check(schema, operation, requests.post(url + path, json=body, timeout=30))


@pytest.mark.parametrize("path", BODIES)
@SETTINGS
@given(data=st.data())
def test_what_it_does_not_is_refused(url, schema, path, data):
    operation = schema["paths"][path]["post"]
    body = data.draw(broken(values(body_schema(operation), schema)))
    sent = json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    found = check(schema, operation, requests.post(url + path, data=sent, headers=headers, timeout=30))
    allowed = jsonschema.Draft202012Validator(body_schema(operation) | {"components": schema["components"]})
    assert found.status_code >= 400 or allowed.is_valid(body) or "max_tokens" in body


@pytest.mark.parametrize("path", ["/api/models", "/v1/models"])
def test_lists_are_as_the_schema_says(url, schema, path):
    found = check(schema, schema["paths"][path]["get"], requests.get(url + path, timeout=9))
    assert found.status_code == 200


@settings(SETTINGS)
@given(name=st.one_of(st.sampled_from(["scratch", "base"]), st.text(st.characters(codec="ascii"), min_size=1)))
def test_a_model_of_any_name_is_answered_as_the_schema_says(url, schema, name):
    path = "/v1/models/" + "".join(f"%{byte:02x}" for byte in name.encode())
    found = requests.get(url + path, timeout=9)
    check(schema, schema["paths"]["/v1/models/{name}"]["get"], found)


@pytest.mark.parametrize(
    ("path", "status", "headers", "body"),
    [
        (path, *case)
        for path in BODIES
        for case in [
            (413, {}, b" " * (MAX_BODY + 1)),
            (403, {"origin": "https://evil.example"}, b"{}"),
            (422, {}, b'{"model": '),
            (422, {"content-type": "text/plain"}, b"x"),
        ]
    ],
)
def test_refusals_before_the_body_is_read_have_the_same_form(url, schema, path, status, headers, body):
    operation = schema["paths"][path]["post"]
    asked = {"content-type": "application/json"} | headers
    found = check(schema, operation, requests.post(url + path, data=body, headers=asked, timeout=9))
    assert found.status_code == status
