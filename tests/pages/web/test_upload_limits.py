"""Uploads are counted before any of their body is read, refused where nothing may be brought, and freed after the window."""

import asyncio

import pytest
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from analysis.core import store
from pages.web import upload_limits, visitors
from pages.web.visitors import OPERATOR, USER, VIEWER, Visitor

MEGABYTE = 2**20


class Windows:
    """Stands for Streamlit's runtime: open windows, and the files that it holds for each."""

    def __init__(self):
        self.open = {"mine", "yours"}
        self.uploaded_file_mgr = MemoryUploadedFileManager("/_stcore/upload_file")

    def exists(self):
        return True

    def instance(self):
        return self

    def is_active_session(self, window):
        return window in self.open

    def held(self):
        return {window: len(files) for window, files in self.uploaded_file_mgr.file_storage.items()}


@pytest.fixture
def windows(monkeypatch, tmp_path):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    found = Windows()
    monkeypatch.setattr(upload_limits, "Runtime", found)
    return found


@pytest.fixture
def streamlit(windows):
    """Return an app behind the middleware: it reads a body and keeps the file, as Streamlit does."""
    reads = []

    async def app(scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            return
        window, file = scope["path"].split("/")[-2:]
        message = await receive()
        reads.append((window, file))
        record = UploadedFileRec(file, file, "text/plain", bytes(message["size"]))
        windows.uploaded_file_mgr.add_file(window, record)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app.reads = reads
    return app


async def put(bounds, window, file, megabytes, *, visitor=None, headers=None, method="PUT", before_end=None):
    """The status and the text of the answer to an upload."""
    size = int(megabytes * MEGABYTE)
    sent = [(b"content-length", str(size).encode())] if headers is None else headers
    told = [] if visitor is None else [(visitors.HEADER.encode(), visitors.written(visitor).encode())]
    scope = {"type": "http", "method": method, "path": f"/_stcore/upload_file/{window}/{file}", "headers": [*sent, *told]}
    answers = []

    async def receive():
        if before_end is not None:
            await before_end()
        return {"type": "http.request", "size": size, "more_body": False}

    async def send(message):
        answers.append(message)

    await bounds(scope, receive, send)
    return answers[0]["status"], b"".join(one.get("body", b"") for one in answers[1:]).decode()


def run(coroutine):
    return asyncio.run(coroutine)


def test_nobody_brings_a_file_to_a_read_only_dashboard(streamlit):
    bounds = upload_limits.UploadLimits(streamlit, 100)
    assert run(put(bounds, "mine", "a", 1, visitor=Visitor(VIEWER)))[0] == 403
    assert streamlit.reads == []
    for role in (USER, OPERATOR):
        assert run(put(bounds, "mine", role, 1, visitor=Visitor(role, "sub")))[0] == 204
    assert run(put(bounds, "mine", "local", 1))[0] == 204, "somebody at the machine itself"


@pytest.mark.parametrize(
    "headers", [[], [(b"content-length", b"")], [(b"content-length", b"-1")], [(b"content-length", b"1e3")]]
)
def test_an_upload_without_a_declared_size_is_refused_unread(streamlit, headers):
    assert run(put(upload_limits.UploadLimits(streamlit, 100), "mine", "a", 1, headers=headers))[0] == 411
    assert streamlit.reads == []


def test_a_window_holds_so_many_megabytes_and_files(streamlit, windows):
    bounds = upload_limits.UploadLimits(streamlit, 1000)
    assert [run(put(bounds, "mine", str(n), 20))[0] for n in range(4)] == [204, 204, 204, 413]
    assert (
        run(put(bounds, "mine", "one more", 22))[1]
        == "The file is too large: at most 20 MB are allowed. Upload a smaller file."
    )
    assert run(put(bounds, "yours", "a", 20))[0] == 204
    empty = [run(put(bounds, "yours", f"empty {n}", 0))[0] for n in range(upload_limits.WINDOW_FILES + 5)]
    assert empty.count(204) == upload_limits.WINDOW_FILES - 1
    assert windows.held() == {"mine": 3, "yours": upload_limits.WINDOW_FILES}


def test_running_uploads_count_and_lost_ones_do_not(streamlit):
    bounds = upload_limits.UploadLimits(streamlit, 45)

    async def visit():
        waits = asyncio.Event()
        coming = [asyncio.create_task(put(bounds, window, "a", 20, before_end=waits.wait)) for window in ("mine", "yours")]
        await asyncio.sleep(0)
        assert (await put(bounds, "mine", "b", 10))[0] == 507
        for one in coming:
            one.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        assert (await put(bounds, "mine", "b", 10))[0] == 204
        assert not bounds._incoming

    run(visit())


def test_a_full_upload_folder_refuses_before_the_body_is_read(streamlit, monkeypatch):
    folder = store.cache_dir() / "uploads"
    folder.mkdir(parents=True)
    (folder / "kept").write_bytes(bytes(3 * MEGABYTE))
    monkeypatch.setenv("LAYERSCOPE_UPLOADS_GB", "0.004")
    status, said = run(put(upload_limits.UploadLimits(streamlit, 100), "mine", "a", 2))
    assert status == 507
    assert said.startswith("With this file all uploads would take 0.01 GB, and at most 0.004 GB are allowed")
    assert streamlit.reads == []


def test_files_go_with_their_window_and_outlast_a_lost_connection(streamlit, windows):
    now = [0.0]
    bounds = upload_limits.UploadLimits(streamlit, 1000, clock=lambda: now[0])

    async def closes(window):
        async def receive():
            windows.open.discard(window)
            return {"type": "websocket.disconnect"}

        await bounds({"type": "websocket", "path": "/_stcore/stream", "headers": []}, receive, None)

    async def visit():
        for window in ("mine", "yours"):
            await put(bounds, window, "a", 20)
        await closes("mine")
        now[0] = upload_limits.GONE_S - 1
        bounds.forget()
        assert windows.held() == {"mine": 1, "yours": 1}
        now[0] = upload_limits.GONE_S + 1
        bounds.forget()
        assert windows.held() == {"yours": 1}
        await closes("yours")
        windows.open.add("yours")  # made again
        now[0] += upload_limits.GONE_S + 1
        bounds.forget()
        assert windows.held() == {"yours": 1}

    run(visit())


def test_a_closed_window_asks_to_be_forgotten_in_time(streamlit, windows, monkeypatch):
    bounds = upload_limits.UploadLimits(streamlit, 1000)
    monkeypatch.setattr(upload_limits, "GONE_S", -0.9)  # so that it is due within a moment

    async def visit():
        await put(bounds, "mine", "a", 1)
        windows.open.discard("mine")
        later = asyncio.get_running_loop().time()
        monkeypatch.setattr(upload_limits, "GONE_S", 0.0)
        bounds._forget_soon()
        while windows.held():
            await asyncio.sleep(0.01)
            assert asyncio.get_running_loop().time() - later < 10

    run(visit())
