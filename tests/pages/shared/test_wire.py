"""Answers leave the server at once."""

import socket

from pages.components.shared import wire


def test_who_connects_is_sent_every_part_at_once():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        wire.send_at_once()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as there:
            assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_dashboards_server_does_so_before_its_first_answer():
    import app

    assert app.app._user_lifespan is wire.lifespan
