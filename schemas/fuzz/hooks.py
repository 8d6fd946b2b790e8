"""What schemathesis is told beside openapi.yaml."""

import csv
import io

import schemathesis
from hypothesis import strategies as st

# Pools and codes that the run has made.
POOLS = ["stocked", "spent", "made", "shared"]
CODES = ["FUZZ-SECRET-1", "=FUZZ-SECRET", "@\tx"]


@schemathesis.hook
def before_load_schema(context, raw_schema):
    # Only a trouble of ours is of a default response, and that is a failure: what
    # else is answered must be told.
    for item in raw_schema["paths"].values():
        for name, operation in item.items():
            if name != "parameters":
                operation["responses"].pop("default", None)
    # Files of ours are bytes.
    for media in raw_schema["paths"]["/v1/pools/{id}/imports"]["post"]["requestBody"]["content"].values():
        media.pop("example", None)
    # A pattern is given in its notation or by its parts.
    schemas = raw_schema["components"]["schemas"]
    for name in "Generation", "SetReplenish":
        whole = schemas[name]
        forms = []
        for without in ["pattern"], ["length", "prefix", "suffix"]:
            properties = {k: v for k, v in whole["properties"].items() if k not in without}
            forms.append({**whole, "properties": properties})
        schemas[name] = {"anyOf": forms}
    # Half of the paths lead somewhere.
    raw_schema["components"]["parameters"]["PoolID"] = {
        "name": "id", "in": "path", "required": True,
        "schema": {"anyOf": [{"enum": POOLS}, schemas["ID"]]},
    }
    for parameter in raw_schema["paths"]["/v1/pools/{id}/codes/{code}"]["parameters"]:
        if parameter.get("name") == "code":
            parameter["schema"] = {"anyOf": [{"enum": CODES}, parameter["schema"]]}


cells = st.one_of(
    st.sampled_from(["code", "issue_start", "issue_end", "available_from", "available_till", "line", "reason", "",
                     "2030-01-01", "0001-01-01", "9999-12-31T23:59:59-14:00", "2020-02-30", '"', '""', "'=1", "=1", "+", "-", "@", "\x00", "\ufeff"]),
    st.text(max_size=30),
)


@st.composite
def files(draw):
    """Text that looks like a file of codes until it does not."""
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    rows = draw(st.lists(st.lists(cells, min_size=1, max_size=7), max_size=8))
    if draw(st.booleans()):
        rows.insert(0, ["code", "issue_start", "issue_end", "x\x00y"])
    text = end.join(delimiter.join(row) for row in rows)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "windows-1251"]))
    return text.encode(encoding, "replace") + draw(st.binary(max_size=3))


schemathesis.openapi.media_type("text/csv", files())
schemathesis.openapi.media_type("text/plain", files())
