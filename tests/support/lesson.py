"""The way through the lesson in tests of its page."""

from tests.support.seen import texts

PAGE = "pages/learn.py"


def turn_to(at, step: int):
    """Click a step in the outline."""
    outline = next(group for group in at.button_group if group.key.startswith("learn-outline"))
    if outline.value != step - 1:
        outline.set_value(step - 1).run()
    assert f"step {step} of 8" in texts(at)
    assert not at.exception
    return at


def skip(at):
    """See the answers of the step without a guess."""
    for button in [button for button in at.button if button.key.startswith("learn-skip-")]:
        button.click().run()
    assert not at.exception
    return at
