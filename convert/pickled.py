"""The pickle in a `.pt` file, read by a machine that knows tensors, dictionaries, lists, text and numbers, and no code.

PyTorch's own loader (`torch.load(weights_only=True)` of torch 2.13) runs no foreign code either, but it does not know
pickle protocol 4, and a pickle of a few bytes makes it take any amount of time, or crash: benchmarks/EXPERIMENTS.md has
the cases. Here nothing grows beyond the file: whatever holds other things is used only once, keys are text or small
numbers, and a tensor has no more elements than its storage. No class is looked up. OpenSpliceAI's `calibrate` saves a
whole object; each object in it becomes a `Kept`, which only keeps what it is given.
"""

import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import torch

_MOST_STEPS = 200_000
"""A pickle of the largest network takes 8,321 steps; with the state of an optimizer, several times as many."""

_LONGEST_TEXT = 1000
_LONGEST_PREFIX = 200
"""In letters; the longest key of a network has 49."""

_MOST_DIMENSIONS = 8

_KEYS_BELOW = 2**31
"""An optimizer numbers its parameters; larger numbers can be chosen so that a dictionary of them takes for ever."""

_OBJECTS = {
    "openspliceai.calibrate.temperature_scaling ModelWithTemperature",
    *(f"openspliceai.train_base.openspliceai {name}" for name in ("Cropping1D", "ResidualUnit", "Skip", "SpliceAI")),
    "torch.nn.modules.activation LeakyReLU",
    "torch.nn.modules.batchnorm BatchNorm1d",
    "torch.nn.modules.container ModuleList",
    "torch.nn.modules.conv Conv1d",
}

_IGNORED = {
    "__builtin__ set",
    "_codecs encode",
    "numpy dtype",
    "numpy.core.multiarray scalar",
    "numpy._core.multiarray scalar",
}
"""What such an object holds beside its tensors: None takes its place."""

_STORAGES = {
    f"torch {name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}

_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
"""Operation -> what it puts on the stack."""

_FUNCTIONS = {"collections OrderedDict", "torch._utils _rebuild_parameter", "torch._utils _rebuild_tensor_v2"}

OpenStorage = Callable[[str, torch.dtype, int], torch.Tensor]
"""Returns the storage of a key, a type and a number of elements, as a tensor of one axis."""


class NotPlainError(Exception):
    """A pickle holds something other than tensors, dictionaries, lists, text and numbers; the text says what."""


@dataclass(eq=False)
class Kept:
    """Stands for an object of one of OpenSpliceAI's classes."""

    attributes: dict[Any, Any] = field(default_factory=dict, repr=False)

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Yield what PyTorch's `state_dict` would hold."""
        if len(prefix) > _LONGEST_PREFIX:
            raise NotPlainError("objects within objects without end")
        for kind in ("_parameters", "_buffers"):
            for name, value in self._part(kind).items():
                if value is not None:
                    yield f"{prefix}{name}", value
        for name, module in self._part("_modules").items():
            if isinstance(module, Kept):
                yield from module.tensors(f"{prefix}{name}.")

    def _part(self, kind: str) -> dict[Any, Any]:
        found = self.attributes.get(kind)
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class _Global:
    name: str


def read_pickle(file: BinaryIO, open_storage: OpenStorage) -> Any:
    """Read one pickle, from where the file is to the pickle's end.

    Arguments:
        file: The file, in memory.
        open_storage: Called for the storages of the tensors.

    Raises:
        NotPlainError: It holds something else.
        Exception: It is damaged, in any of many ways.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    argument: Any
    for step, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if step == _MOST_STEPS:
            raise NotPlainError(f"more than {_MOST_STEPS} values")
        match operation.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name if name in _NEW:
                stack.append(_NEW[name]())
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "SHORT_BINSTRING":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(_short(argument))
            case "MARK":
                marks.append(len(stack))
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                stack.append(tuple(_taken(stack, marks.pop() if name == "TUPLE" else len(stack) - int(name[-1]))))
            case "APPEND" | "APPENDS" as name:
                items = _taken(stack, marks.pop() if name == "APPENDS" else len(stack) - 1)
                _of_type(list, stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS" as name:
                items = _taken(stack, marks.pop() if name == "SETITEMS" else len(stack) - 2)
                _set_items(_of_type(dict, stack[-1]), items)
            case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                memo[len(memo) if argument is None else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(_again(memo[argument]))
            case "GLOBAL":
                stack.append(_known(argument))
            case "STACK_GLOBAL":  # protocol 4
                stack.append(_known(" ".join(_of_type(str, part) for part in _taken(stack, len(stack) - 2))))
            case "BINPERSID":
                stack.append(_storage(stack.pop(), open_storage))
            case "REDUCE" | "NEWOBJ":
                arguments = _of_type(tuple, stack.pop())
                stack[-1] = _made(_of_type(_Global, stack[-1]).name, arguments)
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Kept):
                    stack[-1].attributes = _of_type(dict, state)
            case other:
                raise NotPlainError(f"the operation {other}")
    raise EOFError("the pickle has no end")


def _taken(stack: list[Any], first: int) -> list[Any]:
    items = stack[first:]
    del stack[first:]
    return items


def _short(text: str) -> str:
    if len(text) > _LONGEST_TEXT:
        raise NotPlainError(f"a text of {len(text)} letters")
    return text


def _again(value: Any) -> Any:
    if isinstance(value, dict | list | tuple | Kept):
        raise NotPlainError("the same dictionary, list, tuple or object twice")
    return value


def _set_items(target: dict[Any, Any], items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) is not str and not (type(key) is int and abs(key) < _KEYS_BELOW):
            raise NotPlainError("a dictionary whose keys are neither text nor small numbers")
        target[key] = value


def _of_type(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise NotPlainError(f"a {type(value).__name__} where there should be a {kind.__name__}")
    return value


def _known(name: str) -> _Global:
    if name not in _OBJECTS | _IGNORED | _FUNCTIONS | _STORAGES.keys():
        raise NotPlainError(name.replace(" ", "."))
    return _Global(name)


def _made(name: str, arguments: tuple[Any, ...]) -> Any:
    match name:
        case "collections OrderedDict":
            return {}
        case "torch._utils _rebuild_tensor_v2":
            return _tensor(*arguments)
        case "torch._utils _rebuild_parameter":
            return _of_type(torch.Tensor, arguments[0])
    return Kept() if name in _OBJECTS else None


def _storage(identifier: Any, open_storage: OpenStorage) -> torch.Tensor:
    """Return the storage that a pickle names by "storage", type, key, device and number of elements."""
    word, kind, key, _, size, *view = _of_type(tuple, identifier)
    dtype = _STORAGES.get(_of_type(_Global, kind).name)
    if word != "storage" or dtype is None or not isinstance(key, str) or type(size) is not int or size < 0 or any(view):
        raise NotPlainError("a storage of another kind")
    return open_storage(key, dtype, size)


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _gradient: Any = None, _hooks: Any = None, metadata: Any = None
) -> torch.Tensor:
    numbers = (offset, *size, *stride)
    if len(size) > _MOST_DIMENSIONS or not all(type(number) is int and number >= 0 for number in numbers):
        raise NotPlainError("a tensor of no possible shape")
    if metadata:
        raise NotPlainError("a tensor whose values are still to be negated or conjugated")
    elements, known = math.prod(size), _of_type(torch.Tensor, storage).numel()
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if elements > known or (elements and last >= known):
        raise NotPlainError(f"a tensor of more elements than the {known} of its storage")
    return storage.as_strided(size, stride, offset)
