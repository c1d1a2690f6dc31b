"""All text of a page that Streamlit renders as Markdown, wherever it stands: bodies, labels, helps,
options, cells.
"""

from collections.abc import Iterator

from google.protobuf.message import Message
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

NOT_RENDERED = {
    "code",
    "text_input",
    "text_area",
    "plotly_chart",
    "arrow_data_frame",
    "bidi_component",
    "json",
    "download_button.url",
    "selectbox.options",
    "selectbox.raw_value",
    "multiselect.options",
    "iframe",
    "html",
    "logo",
    "page_config",
}
"""Elements, or fields of some, that show text as it is, or that no visitor sees."""
NO_TEXT = {
    "id",
    "key",
    "form_id",
    "url",
    "element_id",
    "icon",
    "fragment_id",
    "script_hash",
    "page",
    "page_script_hash",
    "url_path",
}


def markdown(at: AppTest) -> list[str]:
    """Every such text that is on the page now."""
    return list(_of_block(at._tree))


def _of_block(block: Block) -> Iterator[str]:
    for child in block.children.values():
        if isinstance(child, Block):
            if child.proto is not None:
                yield from _strings(child.proto, "")
            yield from _of_block(child)
        elif child.type not in NOT_RENDERED:
            yield from _strings(child.proto, child.type)


def _strings(message: Message, kind: str) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.name in NO_TEXT or f"{kind}.{field.name}" in NOT_RENDERED:
            continue
        values = (
            value
            if not isinstance(value, str | bytes | Message) and hasattr(value, "__iter__")
            else [value]
        )
        for one in values:
            if isinstance(one, str):
                yield one
            elif isinstance(one, Message):
                yield from _strings(one, kind)
