"""A student's phone in front of a real poll server, without a screen."""

import http.client
from urllib.parse import urlencode

from pages.components.learn.poll.server import Classroom


class Phone:
    """A browser without a screen: keeps its cookie, follows the way back to the page."""

    def __init__(self, room: Classroom):
        self.host = room.url.removeprefix("http://")
        self.cookie = ""

    def ask(self, method: str, path: str, body: bytes | str = b"", **headers: str | None) -> tuple[int, str, dict[str, str]]:
        sent = {"Host": self.host, "Cookie": self.cookie or None}
        if method == "POST":
            sent |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{self.host}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.host, timeout=10)
        body = body.encode("latin-1") if isinstance(body, str) else body
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        sent.setdefault("Content-Length", str(len(body)))
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        text, found = answer.read().decode(), dict(answer.getheaders())
        connection.close()
        if "Set-Cookie" in found:
            self.cookie = found["Set-Cookie"].partition(";")[0]
        return answer.status, text, found

    def page(self) -> str:
        status, text, _ = self.ask("GET", "/")
        assert status == 200
        return text

    def join(self, code: str):
        return self.ask("POST", "/join", urlencode({"code": code}))

    def answer(self, choice: str, question: str = "1"):
        return self.ask("POST", "/answer", urlencode({"question": question, "choice": choice}))
