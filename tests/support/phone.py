"""A student's phone in front of the poll's page, without a screen."""

import asyncio

import httpx
from starlette.applications import Starlette

from pages.components.learn import phone

HOST = "http://127.0.0.1:8501"


class Phone:
    """A browser without a screen: keeps its cookies, and follows the way back to the page."""

    def __init__(self, address: str = "192.0.2.7") -> None:
        dashboard = httpx.ASGITransport(Starlette(routes=phone.routes()), client=(address, 50000))
        self.client = httpx.AsyncClient(transport=dashboard, base_url=HOST, follow_redirects=True)

    def get(self, path: str, **given) -> httpx.Response:
        return asyncio.run(self.client.get(path, **given))

    def page(self, query: str = "") -> str:
        answer = self.get(f"/poll{query}")
        assert answer.status_code == 200
        return answer.text

    def now(self) -> str:
        return self.get("/poll/now").text

    def post(self, path: str, body: bytes | str, **headers: str) -> httpx.Response:
        sent = {"content-type": "application/x-www-form-urlencoded", "origin": HOST, **headers}
        sent = {name.replace("_", "-"): value for name, value in sent.items()}
        return asyncio.run(self.client.post(path, content=body, headers=sent))

    def join(self, code: str) -> httpx.Response:
        return self.post("/poll/join", f"code={code}")

    def answer(self, choice: str, question: str = "1") -> httpx.Response:
        return self.post("/poll/answer", f"question={question}&choice={choice}")
