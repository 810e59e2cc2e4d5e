"""Values that a JSON schema allows, and values with something else somewhere in them."""

from hypothesis import strategies as st

SOMETHING = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.just([]), st.just({}), st.just([[{}]]), st.just("\x00"), st.just("\ud83d"), st.just(1e308),
)  # fmt: skip
LONGEST = 3  # items of a list, and characters of a text, unless more are required
NUMBERS = {
    "integer": lambda low, high: st.integers(int(low), int(high)),
    "number": lambda low, high: st.floats(low, high, allow_nan=False),
}


def values(schema, whole):
    """Values of a schema that is a part of the `whole` document."""
    if "$ref" in schema:
        return values(whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        return st.one_of([values(one, whole) for one in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _of_type(schema, whole)


def _of_type(schema, whole):
    kind = schema.get("type")
    if kind in NUMBERS:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -(2**63)))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 2**63))
        numbers = NUMBERS[kind](low, high)
        return numbers.filter(lambda x: x > low if "exclusiveMinimum" in schema else True).filter(
            lambda x: x < high if "exclusiveMaximum" in schema else True
        )
    if kind == "string":
        least = schema.get("minLength", 0)
        return st.text(min_size=least, max_size=least + LONGEST)
    if kind == "array":
        least = schema.get("minItems", 0)
        most = min(least + LONGEST, schema.get("maxItems", least + LONGEST))
        return st.lists(values(schema.get("items", {}), whole), min_size=least, max_size=most)
    if kind == "object":
        required, parts = schema.get("required", []), schema["properties"]
        return st.fixed_dictionaries(
            {name: values(parts[name], whole) for name in required},
            optional={name: values(part, whole) for name, part in parts.items() if name not in required},
        )
    return {"boolean": st.booleans(), "null": st.none()}.get(kind, SOMETHING)


@st.composite
def broken(draw, bodies):
    """One of these objects with a field left out, or something else in the place of one, at any depth."""
    body = draw(bodies)
    place, key = body, draw(st.sampled_from(sorted(body)))
    while isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
        place = place[key]
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    if isinstance(place, dict) and draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(SOMETHING)
    return body
