"""The bill of materials and the audit: whole, the same twice, and never silent about what is not known."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from supply import audit, sbom
from supply.installed import Installed, installed

TORCH = Installed("torch", "2.13.0+cpu", "BSD-3-Clause", ("filelock",))
FILELOCK = Installed("filelock", "4.3.1", "", ())


def test_the_bill_names_every_package_once_and_who_brings_it():
    bill = sbom.bill([FILELOCK, TORCH])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [one["purl"] for one in bill["components"]] == ["pkg:pypi/filelock@4.3.1", "pkg:pypi/torch@2.13.0%2Bcpu"]
    assert bill["components"][1]["licenses"] == [{"license": {"name": "BSD-3-Clause"}}]
    assert "licenses" not in bill["components"][0]
    needed = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert needed[sbom.SELF] == [TORCH.purl]
    assert needed[TORCH.purl] == [FILELOCK.purl]


def test_the_same_packages_give_the_same_bill_byte_for_byte(tmp_path):
    for name in ("one.json", "two.json"):
        assert sbom.main(["--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    bill = json.loads((tmp_path / "one.json").read_text())
    refs = {one["bom-ref"] for one in bill["components"]}
    assert len(refs) == len(bill["components"]) == len(installed())
    assert {one["name"] for one in bill["components"]} >= {"streamlit", "torch", "transformers"}
    assert all(set(one["dependsOn"]) <= refs for one in bill["dependencies"])


@pytest.fixture
def database(monkeypatch):
    """A copy of the database on this machine that answers what the test says: `answers` and, afterwards, `asked`."""

    class Answers(BaseHTTPRequestHandler):
        text, asked = b"", {}

        def do_POST(self):
            type(self).asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.text)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OSV_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(audit, "installed", lambda: [FILELOCK, TORCH])
    yield Answers
    server.shutdown()
    server.server_close()


def test_the_audit_asks_for_published_versions_and_names_every_advisory(database, capsys):
    database.text = json.dumps({"results": [{}, {"vulns": [{"id": "PYSEC-2"}, {"id": "GHSA-1"}]}]}).encode()
    assert audit.main() == 1
    assert capsys.readouterr().out.splitlines() == ["torch 2.13.0+cpu: GHSA-1, PYSEC-2", "2 packages, 1 with advisories"]
    assert database.asked["queries"][1] == {"package": {"name": "torch", "ecosystem": "PyPI"}, "version": "2.13.0"}


def test_the_audit_is_clean_when_no_package_has_an_advisory(database, capsys):
    database.text = b'{"results": [{}, {}]}'
    assert audit.main() == 0
    assert capsys.readouterr().out == "2 packages, 0 with advisories\n"


@pytest.mark.parametrize("text", [b"", b"<html>", b"null", b"{}", b'{"results": [{}]}', b'{"results": [null, 3]}'])
def test_an_answer_that_says_nothing_is_never_taken_for_a_clean_one(database, capsys, text):
    database.text = text
    assert audit.main() == 2
    assert "were not checked" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        b'{"results": [{}, {}], "error": "quota"}',
        b'{"results": [{}, {"error": {"code": 13}}]}',
        b'{"results": [{}, {"vulns": [], "next_page_token": 3}]}',
        b'{"results": [{}, {"next_page_token": "again"}]}',
    ],
)
def test_answer_with_an_error_or_an_unread_page_is_no_clean_audit(database, capsys, text):
    database.text = text
    assert audit.main() == 2
    told = capsys.readouterr()
    assert "were not checked" in told.err
    assert "0 with advisories" not in told.out


def test_audit_reads_every_page_of_an_answer(database, capsys, monkeypatch):
    pages = [
        {"results": [{}, {"vulns": [{"id": "GHSA-1"}], "next_page_token": "second"}]},
        {"results": [{"vulns": [{"id": "PYSEC-2"}]}]},
    ]
    asked = []

    def answered(request, timeout):
        asked.append(json.loads(request.data))
        return io.BytesIO(json.dumps(pages[len(asked) - 1]).encode())

    monkeypatch.setattr(audit.urllib.request, "urlopen", answered)
    assert audit.main() == 1
    assert capsys.readouterr().out.splitlines()[0] == "torch 2.13.0+cpu: GHSA-1, PYSEC-2"
    assert [one["version"] for one in asked[1]["queries"]] == ["2.13.0"]
    assert asked[1]["queries"][0]["page_token"] == "second"


def test_without_the_database_the_audit_says_so_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("OSV_URL", "http://127.0.0.1:9")
    assert audit.main() == 2
    told = capsys.readouterr()
    assert not told.out
    assert len(told.err.splitlines()) == 1
    assert "cannot be reached" in told.err
