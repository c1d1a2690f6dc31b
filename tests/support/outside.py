"""Finds text of outside origin on its way into Markdown, by reading the pages' source.

Text that reaches Markdown must be shown to be harmless from its expression: words of ours, numbers, or results of
`words.plain`. Where a value comes through a parameter or a field, its annotation says `Markdown`, and every call is held to
that. A value that cannot be followed counts as foreign.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HELP = ("help", "caption", "text")
"""Keywords that are Markdown wherever they stand."""
_LABELLED = """
markdown caption badge menu_button form_submit_button header subheader title info warning error success toast button checkbox
toggle expander popover status spinner download_button file_uploader text_input text_area number_input slider selectbox
multiselect page_link link_button write table tabs dialog Page
"""
SINKS = {
    **dict.fromkeys(_LABELLED.split(), (0, "label", "body")),
    **dict.fromkeys(("radio", "segmented_control", "pills", "select_slider"), (0, 1, "label", "options")),
    "metric": (0, 1, 2, "label", "value", "delta"),
    "progress": (1, "text"),
    "image": (1, "caption"),
}
"""Methods of Streamlit that render Markdown, with the arguments that they render."""
NOT_MARKDOWN = {"page_link": 0, "Page": 0}
"""Where the first argument is a path."""
NUMBERS = {"int", "float", "bool", "None", "Markdown", "Block", "Removal", "LayerSet", "PartSet", "date", "Literal", "range"}
PLAIN_CALLS = {
    "len",
    "int",
    "float",
    "round",
    "abs",
    "sum",
    "range",
    "bool",
    "count",
    "index",
    "strftime",
    "slider",
    "number_input",
}
FILLING = {"append", "extend", "add", "insert", "update", "setdefault"}
CHOOSING = {"segmented_control", "pills", "radio", "selectbox", "select_slider"}
"""Widgets that return one of their arguments: their options."""
PASSING = {
    "str",
    "sorted",
    "list",
    "tuple",
    "set",
    "reversed",
    "enumerate",
    "zip",
    "next",
    "iter",
    "min",
    "max",
    "dict",
    "filter",
}
KEPT = {
    "strip",
    "lower",
    "upper",
    "capitalize",
    "removeprefix",
    "removesuffix",
    "rstrip",
    "lstrip",
    "title",
    "items",
    "values",
    "keys",
    "copy",
    "union",
    "intersection",
    "split",
    "partition",
    "rpartition",
    "replace",
    "get",
    "pop",
}


@dataclass
class Module:
    """A file with its definitions and the modules that it imports, by the names that it uses."""

    path: Path
    tree: ast.Module
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    values: dict[str, list[ast.expr]] = field(default_factory=lambda: defaultdict(list))
    aliases: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """Foreign text that reaches Markdown."""

    path: Path
    line: int
    said: str
    """The expression."""
    blamed: str
    """The part of it that is not known to be harmless."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.blamed} in {self.said}"


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _names_in(annotation: ast.expr | None) -> set[str]:
    if annotation is None:
        return {"?"}
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        if annotation.value.id == "Literal":
            return {"Literal"}
        if annotation.value.id in ("tuple", "list", "set", "frozenset", "Sequence", "Iterable", "Iterator"):
            return _names_in(annotation.slice)
        if annotation.value.id in ("dict", "Mapping"):
            return _names_in(annotation.slice.elts[1])  # type: ignore[attr-defined]
        if annotation.value.id == "Annotated":
            return _names_in(annotation.slice.elts[0])  # type: ignore[attr-defined]
    if isinstance(annotation, ast.BinOp):
        return _names_in(annotation.left) | _names_in(annotation.right)
    if isinstance(annotation, ast.Tuple):
        return set().union(*map(_names_in, annotation.elts))
    if isinstance(annotation, ast.Attribute):
        return {annotation.attr}
    if isinstance(annotation, ast.Name):
        return {annotation.id}
    if isinstance(annotation, ast.Constant):
        return {"None"} if annotation.value is None else set()  # an ellipsis
    return {"?"}


class House:
    """All source, read once."""

    def __init__(self, root: Path) -> None:
        self.modules: dict[str, Module] = {}
        self.fields: dict[str, set[str]] = defaultdict(set)
        self.classes: dict[str, list[str]] = {}
        self.methods: dict[str, list[tuple[Module, ast.FunctionDef]]] = defaultdict(list)
        self.blamed = ""
        """The first expression that was not harmless."""
        self._harmless: dict[int, bool] = {}
        files = [root / "app.py", *sorted((root / "pages").rglob("*.py")), *sorted((root / "analysis").rglob("*.py"))]
        for path in files:
            self.add(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))

    def add(self, name: str, source: str) -> None:
        """Read a file, or another text in its place.

        Args:
            name: its path in the repository.
            source: its text.
        """
        self._harmless.clear()
        module = self.modules[_dotted(name)] = Module(Path(name), ast.parse(source))
        for node in module.tree.body:
            if isinstance(node, ast.FunctionDef):
                module.functions[node.name] = node
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for one in ast.walk(target):
                        if isinstance(one, ast.Name):
                            module.values[one.id].append(node.value)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                module.aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            if isinstance(node, ast.ClassDef):
                self._class(module, node)

    def _class(self, module: Module, node: ast.ClassDef) -> None:
        self.classes[node.name] = []
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                self.classes[node.name].append(part.target.id)
                self.fields[part.target.id] |= _names_in(part.annotation)
            if isinstance(part, ast.FunctionDef):
                self.methods[part.name].append((module, part))

    def returns_harmless(self, module: Module, function: ast.FunctionDef) -> bool:
        """Return whether all that a function returns is harmless."""
        if _names_in(function.returns) <= NUMBERS:
            return True
        if id(function) not in self._harmless:
            self._harmless[id(function)] = True  # of one that calls itself
            scope = Scope(self, module, function)
            own = {id(part) for inner in _functions(function) if inner is not function for part in ast.walk(inner)}
            all_said = [node for node in ast.walk(function) if isinstance(node, ast.Return | ast.Yield)]
            said = [node.value for node in all_said if id(node) not in own]
            self._harmless[id(function)] = all(one is None or scope.harmless(one) for one in said)
        return self._harmless[id(function)]

    def resolve(self, module: Module, called: ast.expr) -> tuple[Module, ast.FunctionDef] | None:
        """Return the project's own function that is called, where the source shows it."""
        if isinstance(called, ast.Name):
            if called.id in module.functions:
                return module, module.functions[called.id]
            home, _, name = module.aliases.get(called.id, "").rpartition(".")
        elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            home, name = module.aliases.get(called.value.id, ""), called.attr
        else:
            return None
        there = self.modules.get(home)
        if there is None:
            return None
        if name in there.functions:
            return there, there.functions[name]
        further = there.aliases.get(name, "")
        there = self.modules.get(further.rpartition(".")[0])
        name = further.rpartition(".")[2]
        return (there, there.functions[name]) if there and name in there.functions else None

    def faults(self) -> list[Fault]:
        """Everywhere in the pages that foreign text reaches Markdown."""
        files = [module.path.as_posix() for module in self.modules.values()]
        return [fault for name in files if not name.startswith("analysis") for fault in self.faults_in(name)]

    def faults_in(self, name: str) -> list[Fault]:
        """In one file of the pages that foreign text reaches Markdown, each place once.

        Args:
            name: its path in the repository.
        """
        return sorted(set(_Walk(self, self.modules[_dotted(name)]).faults()), key=str)


def _dotted(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


class Scope:
    """The values that the names inside one function stand for."""

    def __init__(self, house: House, module: Module, function: ast.FunctionDef | None, outer: "Scope | None" = None) -> None:
        self.house, self.module, self.outer = house, module, outer
        self.bound: dict[str, list[ast.expr | None]] = defaultdict(list)
        self.parameters: dict[str, ast.expr | None] = {}
        self.inner: dict[str, ast.FunctionDef] = {}
        self._asked: set[str] = set()
        if function is None:
            return
        given = function.args
        for one in [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]:
            self.parameters[one.arg] = one.annotation
        for node in ast.walk(function):
            if isinstance(node, ast.FunctionDef) and node is not function:
                self.inner[node.name] = node
                self.parameters |= {one.arg: one.annotation for one in node.args.args}
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self.bind(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr) and node.value is not None:
                self.bind(node.target, node.value)
            elif isinstance(node, ast.For | ast.comprehension):
                self.bind(node.target, node.iter)
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                self.bind(node.optional_vars, node.context_expr)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FILLING:
                for given in [*node.args, *(one.value for one in node.keywords)]:
                    self.bind(node.func.value, given)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                self.bound[node.name].append(None)
            elif isinstance(node, ast.Lambda):
                for one in node.args.args:
                    self.bound[one.arg].append(None)

    def bind(self, target: ast.expr, value: ast.expr) -> None:
        """Remember the value of a name."""
        if isinstance(target, ast.Name):
            self.bound[target.id].append(value)
        elif isinstance(target, ast.Starred | ast.Subscript):
            self.bind(target.value, value)
        elif isinstance(target, ast.Tuple | ast.List):
            apart = self.apart(value, len(target.elts))
            for one, part in zip(target.elts, apart, strict=True):
                self.bind(one, part)

    def apart(self, value: ast.expr, n: int) -> list[ast.expr]:
        """Return the parts of a value that is unpacked, where the source shows them."""
        if isinstance(value, ast.Tuple) and len(value.elts) == n and not any(isinstance(e, ast.Starred) for e in value.elts):
            return value.elts
        if (
            isinstance(value, ast.List | ast.Tuple)
            and value.elts
            and all(isinstance(row, ast.Tuple) and len(row.elts) == n for row in value.elts)
        ):
            rows = [row.elts for row in value.elts]  # type: ignore[attr-defined]
            return [ast.Tuple([row[place] for row in rows], ast.Load()) for place in range(n)]
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            if value.func.id == "enumerate" and n == 2:
                return [ast.Constant(0), value.args[0]]
            if value.func.id == "zip" and len(value.args) == n:
                return value.args
        return [value] * n

    def harmless(self, said: ast.expr) -> bool:
        """Return whether an expression holds nothing of outside origin; a harmful part is noted in the source that holds it."""
        good = self._harmless(said)
        if not good and not self.house.blamed:
            self.house.blamed = ast.unparse(said)
        return good

    def _harmless(self, said: ast.expr) -> bool:
        match said:
            case ast.Constant() | ast.Compare() | ast.JoinedStr(values=[]):
                return True
            case ast.JoinedStr():
                return all(map(self.harmless, said.values))
            case ast.FormattedValue():
                return self.numeric(said) or self.harmless(said.value)
            case ast.BinOp():
                return self.harmless(said.left) and self.harmless(said.right)
            case ast.UnaryOp():
                return isinstance(said.op, ast.Not) or self.harmless(said.operand)
            case ast.BoolOp():
                return all(map(self.harmless, said.values))
            case ast.IfExp():
                return self.harmless(said.body) and self.harmless(said.orelse)
            case ast.List() | ast.Tuple() | ast.Set():
                return all(map(self.harmless, said.elts))
            case ast.Dict():
                return all(part is None or self.harmless(part) for part in [*said.keys, *said.values])
            case ast.GeneratorExp() | ast.ListComp() | ast.SetComp():
                return self.harmless(said.elt)
            case ast.DictComp():
                return self.harmless(said.key) and self.harmless(said.value)
            case ast.Starred() | ast.NamedExpr() | ast.Subscript() | ast.Await():
                return self.harmless(said.value)
            case ast.Lambda():
                return self.harmless(said.body)
            case ast.Name():
                return self.name(said.id)
            case ast.Attribute():
                return self.attribute(said)
            case ast.Call():
                return self.call(said)
        return False

    @staticmethod
    def numeric(part: ast.FormattedValue) -> bool:
        """Return whether only a number can be written in this format."""
        shape = part.format_spec
        if not isinstance(shape, ast.JoinedStr) or not shape.values:
            return False
        last = shape.values[-1]  # where a name stands for the format, it is one of digits: no text is padded on our pages
        return isinstance(last, ast.FormattedValue) or str(getattr(last, "value", ""))[-1:] in set("dfeg%,")

    def name(self, name: str) -> bool:
        """Return whether a name is harmless; constants are words of ours."""
        if name.strip("_").isupper() or name == "__version__":
            return True
        if name in self._asked:
            return True
        if name in self.bound:
            self._asked.add(name)
            good = all(value is not None and self.harmless(value) for value in self.bound[name])
            self._asked.discard(name)
            return good and (name not in self.parameters or _names_in(self.parameters[name]) <= NUMBERS)
        if name in self.parameters:
            return _names_in(self.parameters[name]) <= NUMBERS
        if name in self.inner:
            return self.house.returns_harmless(self.module, self.inner[name])
        if self.outer is not None:
            return self.outer.name(name)
        if name in self.module.functions:
            return self.house.returns_harmless(self.module, self.module.functions[name])
        if name in self.module.values:
            there = Scope(self.house, self.module, None)
            return all(map(there.harmless, self.module.values[name]))
        return False

    def attribute(self, said: ast.Attribute) -> bool:
        """Known by the types of all fields and methods of that name."""
        if said.attr.strip("_").isupper() or self.harmless(said.value):
            return True
        found = self.house.resolve(self.module, said)
        if found:
            return self.house.returns_harmless(*found)
        methods = self.house.methods.get(said.attr, [])
        types = self.house.fields.get(said.attr, set())
        return bool(types or methods) and types <= NUMBERS and all(self.house.returns_harmless(*one) for one in methods)

    def call(self, said: ast.Call) -> bool:
        """Return whether a call is harmless, by the called function."""
        found = self.house.resolve(self.module, said.func)
        if found:
            return self.house.returns_harmless(*found)
        called = said.func
        if isinstance(called, ast.Name):
            if called.id in self.inner:
                return self.house.returns_harmless(self.module, self.inner[called.id])
            if called.id == "map":
                function = ast.Call(said.args[0], [], [])
                return all(map(self.harmless, said.args[1:])) if _is(said.args[0], "str") else self.call(function)
            if called.id == "getattr":
                return False
            given = [one for one in said.args if not isinstance(one, ast.Constant)]
            return called.id in PLAIN_CALLS or (called.id in PASSING and all(map(self.harmless, given)))
        if isinstance(called, ast.Attribute):
            if called.attr == "join":
                return self.harmless(called.value) and all(map(self.harmless, said.args))
            if called.attr in CHOOSING and len(said.args) > 1:
                return self.harmless(said.args[1])
            if called.attr == "fromkeys":
                return all(map(self.harmless, said.args))
            if called.attr in ("get", "pop"):
                return self.harmless(called.value) and all(map(self.harmless, said.args[1:]))
            if called.attr in KEPT:
                return self.harmless(called.value) and all(map(self.harmless, said.args))
            return called.attr in PLAIN_CALLS or self.attribute(called)
        return False


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


class _Walk(ast.NodeVisitor):
    """Goes through a file and looks at every call in its function."""

    def __init__(self, house: House, module: Module) -> None:
        self.house, self.module, self.found = house, module, list[Fault]()
        whole = ast.FunctionDef(
            "module",
            ast.arguments([], [], None, [], [], None, []),
            [node for node in module.tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)],
            [],
        )
        self.scope = Scope(house, module, whole)

    def faults(self) -> list[Fault]:
        self.visit(self.module.tree)
        return self.found

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # noqa: N802
        before = self.scope
        self.scope = Scope(self.house, self.module, node, before)
        if "Markdown" in _names_in(node.returns):
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and part.value is not None and node.name not in MAKERS:
                    self.look(part.value)
        self.generic_visit(node)
        self.scope = before

    def visit_Call(self, node: ast.Call) -> None:  # noqa: N802
        self.generic_visit(node)
        found = self.house.resolve(self.module, node.func)
        if found:
            function = found[1]
            given = dict(zip([one.arg for one in function.args.args], node.args, strict=False))
            given |= {one.arg: one.value for one in node.keywords if one.arg}
            for one in [*function.args.args, *function.args.kwonlyargs]:
                if "Markdown" in _names_in(one.annotation) and one.arg in given:
                    self.look(given[one.arg])
        elif isinstance(node.func, ast.Name) and (node.func.id in self.house.classes or node.func.id == "replace"):
            fields = self.house.classes.get(node.func.id, [])
            for name, value in [*zip(fields, node.args, strict=False), *((one.arg, one.value) for one in node.keywords)]:
                if "Markdown" in self.house.fields.get(name or "", ()):
                    self.look(value)
        elif isinstance(node.func, ast.Attribute) and node.func.attr in SINKS and self.is_streamlit(node.func):
            self.rendered(node, node.func.attr)

    def is_streamlit(self, called: ast.Attribute) -> bool:
        receiver = called.value
        if called.attr in ("write", "table"):  # results and files have such methods too
            return _is(receiver, "st")
        if not isinstance(receiver, ast.Name):
            return not isinstance(receiver, ast.Constant)
        return receiver.id != "_log" and not self.module.aliases.get(receiver.id, "").startswith(("analysis", "pages"))

    def rendered(self, node: ast.Call, method: str) -> None:
        named = {one.arg: one.value for one in node.keywords if one.arg}
        shown = [named[name] for name in (*HELP, *(one for one in SINKS[method] if isinstance(one, str))) if name in named]
        places = [one for one in SINKS[method] if isinstance(one, int)]
        shown += [node.args[place] for place in places if place < len(node.args) and NOT_MARKDOWN.get(method) != place]
        if method in ("radio", "segmented_control", "pills", "select_slider") and "format_func" in named:
            options = node.args[1] if len(node.args) > 1 else named.get("options")
            shown = [one for one in shown if one is not options] + [named["format_func"]]
            if isinstance(named["format_func"], ast.Lambda) and options is not None:
                self.scope.bound[named["format_func"].args.args[0].arg] = [options]
        for one in shown:
            self.look(one)

    def look(self, said: ast.expr) -> None:
        if isinstance(said, ast.Attribute) and said.attr in ("get", "__getitem__"):
            said = said.value
        self.house.blamed = ""
        if not self.scope.harmless(said):
            self.found.append(Fault(self.module.path, said.lineno, ast.unparse(said), self.house.blamed))


MAKERS = {"plain"}
"""Functions that turn foreign text into Markdown."""
