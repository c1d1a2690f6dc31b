"""Weights to export: the forms of a folder, a GGUF file and an adapter, and the folders on this
machine with their checks.

A folder is uploaded to the Hub in two steps: first a preview, then, by a second click, a job that
uploads it.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from analysis import hub, service
from analysis.core.blocks import PartSet, removal, written
from analysis.core.errors import LayerscopeError, SpecError
from analysis.exports import folders, formats
from analysis.exports.spec import ExportResult, ExportSpec
from analysis.models.source import gguf_families, location, remote, sizes
from analysis.models.source.model_spec import ModelSpec
from pages.components.export.pruned_model import Choice
from pages.components.shared import access, chart, start, stored_results, words

DTYPES = {"bfloat16": 2, "float32": 4, "float16": 2}
"""Bytes per weight by dtype."""
_ZIP_BYTES = 200_000_000
"""Maximum size of an adapter that is offered as a download."""


def request(choice: Choice, name: str = "", dtype: str = "", format: str = "hf") -> ExportSpec:
    """Return the request of the form, with the default name and dtype if none is entered.

    Raises:
        SpecError: if the name is not a plain name.
    """
    usual = folders.suggested_name(
        choice.facts.name, choice.cut, healed=choice.adapter is not None, form=format
    )
    dtype = dtype or ("float32" if format == "gguf" else choice.model.dtype)
    model = replace(choice.model, identity="", quantization="none", dtype=dtype)
    return ExportSpec(choice.cut, name or usual, model, choice.adapter, format)


def show(choice: Choice, format: str = "hf") -> ExportSpec | None:
    """Draw the button that queues the export and its settings; returns the request, None if it is
    impossible.
    """
    if choice.heal is not None and choice.adapter is None:
        st.info(
            "The adapter of this healing run is not on this machine. "
            "Start the same run on the Heal page, or choose **not healed**."
        )
        return None
    usual = request(choice, format=format)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        button = st.container(width="content")
        about = st.container(width="content")
        with st.popover(
            "Name and precision" if format == "hf" else "Name",
            type="tertiary",
            icon=":material/tune:",
            width=200,
        ):
            name = st.text_input(
                "Name",
                usual.name,
                key=f"export-name-{format}-{written(choice.cut)}-{choice.adapter or ''}",
                max_chars=80,
                help=(
                    "Letters, digits, dots, dashes and underscores. Layerscope creates the folder"
                    " inside its cache."
                ),
            ).strip()
            dtype = usual.model.dtype
            if format == "hf":
                dtype = st.selectbox(
                    "Save as",
                    list(DTYPES),
                    list(DTYPES).index(dtype),
                    key="export-dtype",
                    persist_state="session",
                )
    try:
        spec = request(choice, name, dtype, format)
    except SpecError as error:
        st.error(words.message(str(error)))
        return None
    left_out = (
        removal(choice.cut.layers) if choice.cut.layers else None
    )  # single parts stay, as zeros
    needed = sizes.savings(choice.facts, left_out).kept_parameters * DTYPES[dtype]
    free = service.free_bytes(folders.root())
    taken = folders.folder(spec.name).exists()
    reason = remote.reason_unavailable(choice.model.source, choice.model.revision)
    if format == "gguf":
        file = location.gguf_of(choice.model) if reason is None else None
        needed = gguf_families.cut_bytes(file, choice.cut) if file is not None else 0
    size = f"About {words.size(needed)} in" if needed else "In"
    about.caption(f"{size} exports/{words.plain(spec.name)}, {words.size(free)} free.")
    if isinstance(choice.cut, PartSet):
        st.caption(
            "transformers cannot load a model without single sublayers, so the folder contains them"
            " as zeros. The outputs equal the pruned model's, but size, speed and KV cache do not"
            " improve."
        )
    if reason is None and taken:
        reason = "A folder of this name already exists. Delete it below, or choose another name."
    if reason is None and free < needed:
        reason = f"The disk has only {words.size(free)} free. Delete an export, or choose bfloat16."
    if reason is not None:
        st.info(start.why_not_start() or words.message(reason))
    if start.button(
        "Save the folder" if format == "hf" else "Save the GGUF file",
        place=button,
        key="export-save",
        type="primary",
        icon=":material/save:",
        disabled=reason is not None,
    ):
        start.start_and_show(spec, f"Export {spec.name}")
    return spec


def model_folder(choice: Choice) -> ExportSpec | None:
    """Draw the form of a model folder; returns the request, None if it is impossible."""
    st.caption(
        "A standard Hugging Face folder. transformers loads it without custom code. "
        f"{'The adapter is merged in. ' if choice.adapter else ''}{_compared(choice, 'folder')}"
    )
    return show(choice)


def llama_cpp(choice: Choice) -> ExportSpec | None:
    """Draw the cut GGUF file of a model that comes as one and how to run it, else a folder and its
    conversion.
    """
    is_absent = (
        choice.model.is_gguf
        and remote.reason_unavailable(choice.model.source, choice.model.revision) is not None
    )
    why_not = None if is_absent else gguf_families.refusal(choice.model, choice.cut)
    if why_not is None:
        st.caption(
            "The GGUF file without the layers."
            f" {'Healed matrices are quantized again. Other' if choice.adapter else 'Its'} weights"
            f" are unchanged. {_compared(choice, 'file')}"
        )
        spec = show(choice, format="gguf")
        if spec is not None and not is_absent:
            st.caption("Run it:")
            name = folders.suggested_name(
                choice.facts.name, choice.cut, healed=choice.adapter is not None
            )
            commands = formats.run_gguf(str(folders.folder(spec.name)), f"{name}.gguf")
            st.code(commands, language="bash", wrap_lines=True)
            if choice.adapter is not None:
                st.caption(
                    f"`--lora {folders.ADAPTER}` applies the adapter, if it is plain LoRA, to the"
                    " file without healing."
                )
        return spec
    st.caption(words.message(why_not))
    spec = show(choice)
    if spec is not None and not isinstance(choice.cut, PartSet):
        st.caption("Then run in the folder of llama.cpp:")
        st.code(formats.to_gguf(str(folders.folder(spec.name))), language="bash", wrap_lines=True)
    return spec


def _compared(choice: Choice, noun: str) -> str:
    """Return the sentence on the check of an export."""
    return (
        f"Layerscope loads the {noun} and compares it with the"
        f" {'healed' if choice.adapter else 'pruned'} model."
    )


def without_healing(choice: Choice) -> str:
    """Return the remark that a form does not include healing, "" for a choice without a healing
    run.
    """
    return " It does not include the healing." if choice.heal else ""


def adapter(choice: Choice) -> None:
    """Draw the path and the download of the adapter, which is on this machine."""
    folder = service.folder(choice.adapter)
    assert folder is not None
    files = {
        f"{folder.name}/{file.name}": file for file in sorted(folder.iterdir()) if file.is_file()
    }
    size = sum(file.stat().st_size for file in files.values())
    st.caption(
        "A standard PEFT folder. Remove the layers above from the base model before you load the"
        " adapter."
    )
    if size <= _ZIP_BYTES:
        chart.download(
            f"Download as ZIP ({words.size(size)})",
            lambda: zipped({name: file.read_bytes() for name, file in files.items()}),
            f"{folder.name}.zip",
            "application/zip",
            key="take-adapter",
            icon=":material/folder_zip:",
            type="primary",
        )
    st.code(str(folder), language=None)


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP of contents by file name, uncompressed, since weights hardly get smaller."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def on_this_machine(model: ModelSpec) -> None:
    """Draw a card for each export on this machine."""
    results = [entry.result for entry in stored_results.find("export", model, any_precision=True)]
    results.sort(
        key=lambda result: bool(result.pushed)
    )  # of exports with one name, the facts that come from the Hub
    there = {
        result.spec.name: result
        for result in results
        if (folders.folder(result.spec.name) / "layerscope.json").exists()
    }
    if not there:
        return
    st.header("On this machine", anchor=False)
    for result in there.values():
        with st.container(border=True, gap="xsmall"):
            _card(result)


def _card(result: ExportResult) -> None:
    spec = result.spec
    check = result.check
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    ):
        st.markdown(f"**{words.plain(spec.name)}**", width="stretch")
        _upload(result)
        with st.popover(
            "Delete", type="tertiary", icon=":material/delete:", key=f"delete-{spec.name}"
        ):
            size = words.size(folders.size_bytes(spec.name))
            st.write(f"This frees {size}. You cannot undo it, but you can export again.")
            st.button(
                "Delete export",
                key=f"delete-now-{spec.name}",
                on_click=_delete,
                args=(spec.name,),
                disabled=not access.is_operator(),
            )
    merged = "healed, adapter merged in" if check.merged else "not healed"
    st.caption(
        f"{result.n_layers} layers, without {spec.block.brief()}, {merged},"
        f" {words.plain(spec.model.dtype)}, {words.size(result.size_bytes)}. {_checked(result)}"
    )
    folder = folders.folder(spec.name)
    st.code(str(folders.gguf_file(folder) or folder), language=None)
    if result.pushed:
        st.caption(f"On the Hub as {words.plain(result.spec.push)}.")


def _delete(name: str) -> None:
    try:
        access.check_operator("delete exports")
        folders.delete(name)
    except LayerscopeError as error:
        st.session_state.setdefault("announcements", []).append((str(error), ":material/error:"))


def _checked(result: ExportResult) -> str:
    check = result.check
    further = f" {check.in_words()}".rstrip()
    if check.max_difference == 0:
        return (
            f"Checked after saving: all logits of {check.n_tokens} tokens are bitwise"
            f" identical.{further}"
        )
    return (
        f"Checked after saving: logits of {check.n_tokens} tokens differ by at most"
        f" {check.max_difference:.2g}. {check.same_first:.1%} of the most likely next tokens are"
        f" the same.{further}"
    )


def _upload(result: ExportResult) -> None:
    """Draw the form of an upload, only for operators of this dashboard, since it uses their token.

    Args:
        result: an export on this machine.
    """
    name = result.spec.name
    with st.popover(
        "Upload to Hub", type="tertiary", icon=":material/cloud_upload:", key=f"push-{name}"
    ):
        if not access.is_operator():
            st.caption(
                "Only the operator of this dashboard can upload: the upload uses the operator's Hub"
                " account."
            )
            return
        id = st.text_input(
            "Repository", key=f"push-id-{name}", placeholder="ORG/NAME", max_chars=96
        ).strip()
        is_public = st.toggle(
            "Public repository",
            key=f"push-public-{name}",
            help=(
                "Visibility of a new repository (default: private). An existing one keeps its own."
            ),
        )
        target = (id, is_public)
        if st.button("Preview upload", key=f"push-look-{name}", disabled=not id):
            st.session_state[f"push-looked-{name}"] = target
        if st.session_state.get(f"push-looked-{name}") == target:
            _planned(result, id, is_private=not is_public)


def _planned(result: ExportResult, id: str, *, is_private: bool) -> None:
    """Draw the files of an upload and the button that starts it."""
    name = result.spec.name
    try:
        access.check_operator("push to the Hub")
        planned = hub.upload.plan(folders.folder(name), id)
    except LayerscopeError as error:
        st.error(words.message(str(error)))
        return
    whose = (
        "an existing repository"
        if planned.is_there
        else f"a new {'private' if is_private else 'public'} repository"
    )
    n_files = "1 file" if len(planned.missing) == 1 else f"{len(planned.missing)} files"
    st.write(f"To **{words.plain(id)}**, {whose}: {n_files}, {words.size(planned.n_bytes)}.")
    st.code(
        "\n".join(f"{words.size(file.size):>9}  {file.path}" for file in planned.missing)
        or "The repository already has all files."
    )
    if start.button(
        "Upload",
        key=f"push-now-{name}",
        type="primary",
        icon=":material/cloud_upload:",
        needs_weights=False,
    ):
        del st.session_state[f"push-looked-{name}"]
        start.start_and_show(
            replace(result.spec, push=id, is_private=is_private), f"Push {name} to {id}"
        )
