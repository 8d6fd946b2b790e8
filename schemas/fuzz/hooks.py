"""What schemathesis is told beside openapi.yaml."""

import csv
import io
import zipfile
from xml.sax.saxutils import escape

import schemathesis
from hypothesis import strategies as st

# What the run has made.
POOLS = ["stocked", "spent", "made", "shared"]
CODES = ["FUZZ-SECRET-1", "FUZZ-SECRET-200", "=FUZZ-SECRET"]
STAFF = ["anna", "gone"]
SCOPES = ["all", "campaign:fuzz", "pool:stocked", "pool:nowhere"]
REQUESTS = ["=fuzz-1", "=fuzz-50"]
REDEMPTIONS = ["=fuzz-1", "=fuzz-2"]  # the first stands, the second was rejected


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
    # About half of the values are those of something.
    shared = raw_schema["components"]["parameters"]
    shared["PoolID"] = {"name": "id", "in": "path", "required": True, "schema": schemas["ID"]}
    known(shared["PoolID"], POOLS)
    shared["StaffID"] = {"name": "id", "in": "path", "required": True, "schema": schemas["ID"]}
    known(shared["StaffID"], STAFF)
    known(shared["Scope"], SCOPES)
    known(shared["IfMatch"], ["*", '"1"', '"2"', '"3"'])
    known(shared["Code"], CODES)
    for path, values in ("/redemptions/{redemption_id}", REDEMPTIONS), ("/issuances/{request_id}", REQUESTS):
        known(raw_schema["paths"]["/v1/pools/{id}" + path]["parameters"][1], values)
    upload = raw_schema["paths"]["/v1/pools/{id}/imports"]["post"]
    known(next(p for p in upload["parameters"] if p.get("name") == "tz"), ["UTC", "Europe/Berlin", "America/New_York"])


def known(parameter, values):
    parameter["schema"] = {"anyOf": [{"enum": values}, parameter["schema"]]}


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


PARTS = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="Codes" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


@st.composite
def workbooks(draw):
    """A workbook of such cells, whole or cut."""
    rows = draw(st.lists(st.lists(cells, min_size=1, max_size=7), max_size=8))
    sheet = "".join(
        "<row>" + "".join('<c t="inlineStr"><is><t>%s</t></is></c>' % escape(cell) for cell in row) + "</row>" for row in rows
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        for name, text in PARTS.items():
            book.writestr(zipfile.ZipInfo(name), text)
        text = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>' % sheet
        book.writestr(zipfile.ZipInfo("xl/worksheets/sheet1.xml"), text.encode("utf-8", "replace"))
    whole = out.getvalue()
    return whole if draw(st.booleans()) else whole[: draw(st.integers(0, len(whole)))]


schemathesis.openapi.media_type("text/csv", files())
schemathesis.openapi.media_type("text/plain", files())
schemathesis.openapi.media_type("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", workbooks())


@schemathesis.check
def safe_to_open(ctx, response, case):
    """No cell of a file of ours is a formula to a spreadsheet."""
    if not case.path.endswith(".csv") or response.status_code != 200:
        return
    text = response.content.decode("utf-8-sig")
    heading = text.partition("\n")[0].rstrip("\r")
    comma = heading.removesuffix("reason")[-1] if heading.endswith("reason") else ","
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=comma):
        for cell in row:
            assert not cell.startswith(tuple("=+-@\t\r\n")), f"{cell!r} is a formula"
