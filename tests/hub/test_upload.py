"""An export goes onto the hub when it is listed and asked for: whole, in one commit, and never over
anything else.
"""

import json
import random
from dataclasses import replace

import pytest
from huggingface_hub import constants

from analysis import hub
from analysis.cli import main
from analysis.core.blocks import Block
from analysis.core.errors import HubError
from analysis.exports import export
from analysis.exports.spec import ExportResult
from tests.support import fakes
from tests.support.stored import walked

WEIGHTS = random.Random(1).randbytes(300_000)
CARD = b"---\nlicense: apache-2.0\nmodel-index:\n- name: mine\n  results: []\n---\n# mine\n"
FILES = {
    "README.md": CARD,
    "config.json": b"{}",
    "layerscope.json": b"{}",
    "model.safetensors": WEIGHTS,
}
ID = "org/mine"


@pytest.fixture
def there(loopback, monkeypatch):
    """The hub with a token that may write under org."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", loopback.token)
    return loopback


@pytest.fixture
def folder(cache):
    """An export by the name of mine."""
    made = cache / "exports" / "mine"
    made.mkdir(parents=True)
    for name, content in FILES.items():
        (made / name).write_bytes(content)
    return made


def on(there, id=ID):
    repo = there.models[id]
    return {
        name: content
        for name, content in repo.commits[repo.refs["main"]].items()
        if name != ".gitattributes"
    }


def written(there):
    """Requests that change something."""
    return [
        one.path
        for one in there.asked
        if one.path.startswith("/upload/") or "create" in one.path or "commit" in one.path
    ]


def test_a_plan_lists_files_bytes_and_target_and_changes_nothing(there, folder):
    planned = hub.upload.plan(folder, ID)
    assert not planned.is_there
    assert {file.path: file.size for file in planned.missing} == {
        name: len(content) for name, content in FILES.items()
    }
    assert planned.n_bytes == sum(map(len, FILES.values()))
    assert written(there) == []
    assert ID not in there.models


@pytest.mark.parametrize("is_private", [True, False])
def test_pushed_files_are_complete_and_of_one_commit(there, folder, is_private):
    told = []
    address = hub.upload.push(folder, ID, is_private=is_private, on_progress=told.append)
    assert address == f"{there.endpoint}/{ID}"
    assert on(there) == FILES
    assert there.models[ID].private is is_private
    assert len(there.models[ID].commits) == 2, "the empty one, and this"
    assert (told[0].done, told[-1].done) == (0, sum(map(len, FILES.values())))
    uploads = [one for one in there.asked if one.path.startswith("/upload/")]
    assert len(uploads) == 1
    assert not uploads[0].token, "another host is sent no token"
    n_written = len(written(there))
    assert hub.upload.push(folder, ID, is_private=is_private) == address
    assert len(written(there)) == n_written, "the same files are not sent twice"
    planned = hub.upload.plan(folder, ID)
    assert planned.is_there
    assert planned.missing == ()


def test_interrupted_upload_resumes_with_the_missing_files(there, folder):
    there.add(ID, {".gitattributes": b"", "config.json": b"{}", "model.safetensors": WEIGHTS})
    assert [file.path for file in hub.upload.plan(folder, ID).missing] == [
        "README.md",
        "layerscope.json",
    ]
    hub.upload.push(folder, ID, is_private=True)
    assert on(there) == FILES


def said(there, folder, id=ID, push=True):
    with pytest.raises(HubError) as raised:
        hub.upload.push(folder, id, is_private=True) if push else hub.upload.plan(folder, id)
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert there.token not in sentence
    return sentence


def test_other_content_is_never_replaced(there, folder):
    there.add(ID, {"config.json": b'{"other": 1}', "a.txt": b"x"})
    assert (
        "with other content (a.txt, config.json), which Layerscope never replaces. Choose another"
        in said(there, folder)
    )
    assert written(there) == []


def test_without_a_token_nothing_is_asked(there, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert "Set HF_TOKEN" in said(there, folder, push=False)
    assert there.asked == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            {"path": "/api/repos", "status": 401},
            ("denies write access to the model org/mine with the token", "401"),
        ),
        (
            {"path": "/commit/", "status": 403},
            ("denies write access to the model org/mine", "403", "write access"),
        ),
        ({"path": "/api/", "status": 401}, ("denies read access", "401")),
    ],
)
def test_each_refusal_has_its_own_sentence(there, folder, fault, words):
    there.fault(**fault)
    sentence = said(there, folder)
    assert all(word in sentence for word in words), sentence


def test_under_another_owner_it_is_forbidden(there, folder):
    assert "of an account without this right" in said(there, folder, "other/mine")
    assert "has no owner. Name it OWNER/NAME" in said(there, folder, "mine")


def test_a_wrong_card_is_the_hubs_own_word(there, folder):
    (folder / "README.md").write_bytes(CARD.replace(b"- name: mine\n  results", b"- results"))
    assert (
        'rejects the model org/mine: Invalid metadata in README.md. - "model-index" has no name'
        in said(there, folder)
    )


def test_the_command_lists_first_and_uploads_when_told(there, folder, capsys):
    assert main.main(["push", "mine", ID]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"To {ID}, a new private repository: 4 files, ")
    assert any(line.endswith("  model.safetensors") for line in lines)
    assert lines[-1] == "Nothing uploaded. Add --yes to upload."
    assert written(there) == []
    assert main.main(["push", "mine", ID, "--public", "--yes", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["address"] == f"{there.endpoint}/{ID}"
    assert on(there) == FILES
    assert not there.models[ID].private
    assert main.main(["push", "yours", ID]) == 2
    assert "Existing exports: mine." in capsys.readouterr().err


def test_job_pushes_existing_files_without_a_model(there, folder):
    made = fakes.exported(Block(2, 3))
    made.save()
    asked = replace(made.spec, push=ID, is_private=False)
    assert asked.fingerprint() != made.spec.fingerprint()
    pushed = export.run(asked)
    assert pushed.pushed == f"{there.endpoint}/{ID}"
    assert on(there) == FILES
    assert ExportResult.load(made.spec).pushed == ""
    assert len(walked("export")) == 2
