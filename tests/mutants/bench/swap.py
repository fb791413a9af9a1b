"""A changed text of a module that is loaded: what it has to be given to be that.

Most mutants differ from the module in the code of one function, and a function takes another
code at any time, wherever it is known already. So the tests need not be collected anew.
"""

from __future__ import annotations

from inspect import CO_OPTIMIZED
from types import CodeType, FunctionType, ModuleType


__all__ = ["changed_functions", "swap"]

Codes = dict[str, CodeType]


def changed_functions(before: str, after: str) -> Codes | None:
    """Return the code of each function that differs; None if that is not all that does."""
    old, new = (compile(text, "text", "exec", dont_inherit=True) for text in (before, after))
    if _rest(old) != _rest(new):
        return None
    olds, news = _functions(old), _functions(new)
    changed = {name: code for name, code in news.items() if olds[name] != code}
    same = all(olds[name].co_freevars == code.co_freevars for name, code in changed.items())
    return changed if same else None


def swap(module: ModuleType, codes: Codes) -> bool:
    """Give the functions of *module* these *codes*; False if one of them is not found."""
    for name, code in codes.items():
        found: object = module
        for part in name.split("."):
            found = vars(found).get(part)
        for inner in ("fget", "__func__"):
            found = getattr(found, inner, found)
        if not isinstance(found, FunctionType):
            return False
        found.__code__ = code
    return True


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & CO_OPTIMIZED) and "<" not in code.co_qualname


def _functions(code: CodeType) -> Codes:
    """Return the functions of a module, or of a class, and those of the classes in it."""
    found: Codes = {}
    for each in code.co_consts:
        if isinstance(each, CodeType) and _is_function(each):
            found[each.co_qualname] = each
        elif isinstance(each, CodeType):
            found |= _functions(each)
    return found


def _rest(code: CodeType) -> tuple[object, ...]:
    """Return all of the code of a module, or of a class, but its functions."""
    inner = tuple(
        (each.co_qualname if _is_function(each) else _rest(each))
        if isinstance(each, CodeType)
        else (type(each), repr(each))
        for each in code.co_consts
    )
    return code.co_code, code.co_names, inner
