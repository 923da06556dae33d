"""What runs inside the sandbox, on CPython 3.8 or later: bubblewrap and WASI hand this file's text to `python -c`.

Nothing here is trusted once the program has begun: the host believes only what the interpreter of the *tests* says, and
no line of the program runs in that one. Imports little, because each import is paid for at every start.

A job comes on stdin, as a length and a literal. The report goes to stderr, as the last line, behind a nonce.
In a check there are two interpreters, each in a sandbox of its own. The one of the program ("solve") answers
calls on its stdin and stdout; the one of the tests ("test") asks. Only plain values, rebuilt by exact type, cross;
whatever else the program returns stays there, and the tests hold a `Remote` in its place.
"""

# It must catch whatever a hostile program throws, runs on old Pythons, and imports nothing it can do without.
# ruff: noqa: BLE001, UP031, RUF005, B905, SIM105, SIM115, RET504
# mypy: ignore-errors

import os
import sys

WIRE_MOST = 64 << 20  # bytes of one message


def encode(value, export, out):
    """Append `value` to the list `out`. Subclasses go as their base, read by the base's own methods."""
    if value is None or value is True or value is False:
        out.append(b"n" if value is None else b"t" if value is True else b"f")
        return
    if isinstance(value, Remote):
        body, tag = b"%d" % value._gristmill_id, b"y"
    elif isinstance(value, int):
        body, tag = b"%x" % int.__index__(value), b"i"
    elif isinstance(value, float):
        body, tag = float.hex(value).encode(), b"d"
    elif isinstance(value, complex):
        body = (float.hex(complex.__getattribute__(value, "real")) + " ").encode()
        body, tag = body + float.hex(complex.__getattribute__(value, "imag")).encode(), b"c"
    elif isinstance(value, str):
        body, tag = str.encode(value, "utf-8", "surrogatepass"), b"s"
    elif isinstance(value, (bytes, bytearray)):
        body, tag = bytes(memoryview(value)), b"b" if isinstance(value, bytes) else b"a"
    elif type(value) is range:
        body, tag = b"%d %d %d" % (value.start, value.stop, value.step), b"r"
    elif isinstance(value, (list, tuple, set, frozenset)):
        kind = next(k for k in (list, tuple, set, frozenset) if isinstance(value, k))
        items = list(kind.__iter__(value))
        out.append(b"%s%d:" % ({list: b"l", tuple: b"u", set: b"e", frozenset: b"z"}[kind], len(items)))
        for item in items:
            encode(item, export, out)
        return
    elif isinstance(value, dict):
        pairs = list(dict.items(value))
        out.append(b"m%d:" % len(pairs))
        for key, item in pairs:
            encode(key, export, out)
            encode(item, export, out)
        return
    elif type(value) is type(sys):
        body, tag = str(value.__name__).encode(), b"M"
    else:
        body, tag = b"%d" % export(value), b"x"
    out.append(b"%s%d:" % (tag, len(body)))
    out.append(body)


def decode(data, at, remote, local):
    """The value at `at`, and where the next one begins."""
    tag = data[at : at + 1]
    if tag in b"ntf":
        return {b"n": None, b"t": True, b"f": False}[tag], at + 1
    colon = data.index(b":", at + 1, at + 20)
    size = int(data[at + 1 : colon])
    at = colon + 1
    if not 0 <= size <= len(data) - at:
        raise ValueError("bad size")
    if tag in b"luez":
        items = []
        for _ in range(size):
            item, at = decode(data, at, remote, local)
            items.append(item)
        return {b"l": list, b"u": tuple, b"e": set, b"z": frozenset}[tag](items), at
    if tag == b"m":
        pairs = {}
        for _ in range(size):
            key, at = decode(data, at, remote, local)
            pairs[key], at = decode(data, at, remote, local)
        return pairs, at
    body, at = data[at : at + size], at + size
    if tag == b"i":
        return int(body, 16), at
    if tag == b"d":
        return float.fromhex(body.decode()), at
    if tag == b"c":
        real, imag = body.decode().split()
        return complex(float.fromhex(real), float.fromhex(imag)), at
    if tag == b"s":
        return body.decode("utf-8", "surrogatepass"), at
    if tag in b"ba":
        return (bytes if tag == b"b" else bytearray)(body), at
    if tag == b"r":
        return range(*map(int, body.split())), at
    if tag == b"M":
        return StdlibModule(body.decode()), at
    return (remote if tag == b"x" else local)(int(body)), at


class StdlibModule:
    """A module that the program imported; the tests get the library's own, never the program's."""

    def __init__(self, name):
        self.name = name


class Remote:
    """Something of the other interpreter.

    It never equals a plain value, has no order and no arithmetic with one, and is in no container of one: else an
    object that answers "yes" to everything would pass every test.
    """

    __slots__ = ("_gristmill_id", "_gristmill_wire")

    def __init__(self, wire, number):
        object.__setattr__(self, "_gristmill_id", number)
        object.__setattr__(self, "_gristmill_wire", wire)

    def __call__(self, *args, **kwargs):
        return self._gristmill_wire.ask("call", self, args, kwargs)

    def __getattr__(self, name):
        return self._gristmill_wire.ask("get", self, (name,), {})

    def __setattr__(self, name, value):
        self._gristmill_wire.ask("set", self, (name, value), {})

    def __eq__(self, other):
        return isinstance(other, Remote) and self._gristmill_wire.ask("__eq__", self, (other,), {}) is True

    def __hash__(self):
        return hash(self._gristmill_id)


def forwarded(name, both):
    def method(self, *args):
        if both and not isinstance(args[0], Remote):
            return NotImplemented
        answer = self._gristmill_wire.ask(name, self, args, {})
        return answer

    return method


for _name in ("len", "iter", "next", "getitem", "setitem", "delitem", "bool", "str", "repr", "enter", "exit"):
    setattr(Remote, "__%s__" % _name, forwarded("__%s__" % _name, False))
for _name in ("lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and", "or", "xor"):
    setattr(Remote, "__%s__" % _name, forwarded("__%s__" % _name, True))


class Lost(BaseException):
    """The other interpreter is gone, or talks nonsense."""


class Ended(BaseException):
    """The program wanted to end itself."""


class Wire:
    """Questions and answers between the two interpreters. The tests' side lets nothing but calls of functions in."""

    def __init__(self, inp, trusted):
        self.inp, self.trusted, self.objects, self.numbers = inp, trusted, {}, {}

    def export(self, value):
        if self.trusted and not callable(value):
            raise TypeError("a test can pass plain values and functions, not %s" % type(value).__name__)
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.objects)
            self.objects[number] = value
        return number

    def send(self, *parts):
        out = []
        encode(parts, self.export, out)
        data = b"".join(out)
        data = b"%08x" % len(data) + data
        while data:
            try:
                data = data[os.write(1, data) :]
            except OSError:
                raise Lost from None

    def receive(self):
        head = self.inp.read(8)
        try:
            size = int(head, 16)
            if len(head) != 8 or size > WIRE_MOST:
                raise ValueError(head)
            data = self.inp.read(size)
            if len(data) != size:
                raise ValueError("cut")
            message, _ = decode(data, 0, lambda n: Remote(self, n), self.objects.__getitem__)
            if type(message) is not tuple or type(message[0]) is not str:
                raise ValueError("no message")
        except RecursionError:
            raise
        except Exception:
            raise Lost from None
        return message

    def ask(self, what, target, args, kwargs):
        self.send(what, target, args, kwargs)
        while True:
            message = self.receive()
            if message[0] in ("value", "error", "exit"):
                break
            self.answer(message)
        if message[0] == "exit":
            raise Ended
        if message[0] == "error":
            raise revived(*message[1:])
        for mine, theirs in zip(args, message[2]):
            restore(mine, theirs)
        if what == "__iter__":
            return iter(lambda: message[1].__next__(), Wire) if isinstance(message[1], Remote) else message[1]
        return message[1]

    def answer(self, message):
        try:
            what, target, args, kwargs = message
            if self.trusted:
                if what != "call":
                    raise TypeError("a function of the tests can only be called")
                value = target(*args, **kwargs)
            elif what == "call":
                value = target(*args, **kwargs)
            elif what == "get":
                value = getattr(target, *args)
            elif what == "set":
                value = setattr(target, *args)
            elif what in ("__bool__", "__str__", "__repr__", "__iter__", "__eq__"):
                value = {"__bool__": bool, "__str__": str, "__repr__": repr, "__iter__": iter}.get(
                    what, lambda other: target == other
                )(*([target] if what != "__eq__" else args))
            else:
                method = getattr(type(target), what, None)
                if method is None:
                    raise TypeError("%s has no %s" % (type(target).__name__, what))
                value = method(target, *args)
            reply = ("value", value, [a if isinstance(a, (list, dict, set, bytearray)) else None for a in args])
        except (SystemExit, KeyboardInterrupt, GeneratorExit):
            reply = ("exit",)
        except (Lost, Ended):
            raise
        except BaseException as error:
            reply = ("error",) + described(error)
        self.send(*reply)


def restore(mine, theirs):
    """What the program did to a list, dict or set that it was given, done to the tests' own."""
    if type(mine) is not type(theirs) or not isinstance(mine, (list, dict, set, bytearray)):
        return
    if isinstance(mine, (list, bytearray)):
        mine[:] = theirs
    else:
        mine.clear()
        mine.update(theirs)


def described(error):
    """Type, message, line of a program's exception: strings and a number, whatever it does to hide."""
    try:
        kind = str(type.__getattribute__(type(error), "__name__"))
    except BaseException:
        kind = "Exception"
    try:
        message = str.__str__(str(error))[:2000]
    except BaseException:
        message = ""
    line = 0
    try:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename in ("main.py", "tests.py"):
                line = trace.tb_lineno
            trace = trace.tb_next
        if isinstance(error, SyntaxError) and error.filename in ("main.py", "tests.py"):
            line = error.lineno or 0
        line = int.__index__(line)
    except BaseException:
        line = 0
    return kind, message, line


class ProgramError(Exception):
    pass


def revived(kind, message, line):
    """An exception of the program as the tests see it: of the built-in type of that name, if there is one."""
    import builtins

    found = getattr(builtins, kind, None)
    if not (isinstance(found, type) and issubclass(found, Exception)):
        found = type(kind, (ProgramError,), {})
    try:
        error = found(message)
    except Exception:
        error = ProgramError(message)
    error._gristmill = (kind, message, line)
    return error


def main():
    inp = open(0, "rb", closefd=False)
    job = eval(inp.read(int(inp.readline())))
    nonce, mode = job["nonce"].encode(), job["mode"]
    try:
        err = os.dup(2)
    except (AttributeError, OSError):  # WASI
        err = 2
    os.write(err, nonce + b"+\n")
    real_exit, real_write = os._exit, os.write

    def report(outcome, kind="", message="", line=0, code=0, where="program", files=()):
        fields = [outcome, kind, message, str(line), str(code), where]
        for name, body in files:
            fields += [name, body]
        data = b"\n" + nonce
        for field in fields:
            data += (
                b" " + (field if isinstance(field, bytes) else field.encode("utf-8", "surrogatepass")).hex().encode()
            )
        data += b"\n"
        while data:
            data = data[real_write(err, data) :]
        real_exit(code & 255)

    import io

    for name, body in job["files"].items():
        with open(name, "wb") as file:
            file.write(body)
    if mode == "run":
        sys.stdin = io.TextIOWrapper(io.BytesIO(job["stdin"]), encoding="utf-8")
    else:
        sys.stdin = io.StringIO("")
        sys.stdout = sys.stderr
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="surrogatepass", write_through=False)

    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    space = module.__dict__
    space["__builtins__"] = __builtins__
    where = "tests" if mode == "test" else "program"
    outcome, kind, message, line, code = "ok", "", "", 0, 0
    wire = Wire(inp, trusted=mode == "test")
    names = job["names"]
    try:
        try:
            if mode == "test":
                first = wire.receive()
                builtin = set(dir(__builtins__)) | set(getattr(sys, "stdlib_module_names", sys.builtin_module_names))
                for name, value in first[1].items() if type(first[1]) is dict else ():
                    if isinstance(value, StdlibModule):
                        if name == value.name and name in builtin and name not in ("__main__", "antigravity", "this"):
                            space[name] = __import__(name)
                    elif type(name) is str and name not in builtin and (names is None or name in names):
                        space[name] = value
            exec(compile(job["code"], "tests.py" if mode == "test" else "main.py", "exec", dont_inherit=True), space)
            if mode == "solve":
                wire.send("names", {k: v for k, v in space.items() if k[:2] != "__"}, [], {})
                while True:
                    wire.answer(wire.receive())
        finally:
            if mode == "run":
                if "threading" in sys.modules:
                    sys.modules["threading"]._shutdown()
                if "atexit" in sys.modules:
                    sys.modules["atexit"]._run_exitfuncs()
    except Lost:
        outcome = "lost"
    except Ended:
        outcome, where = "exit", "program"
    except SystemExit as end:
        status = end.code
        if isinstance(status, int):
            code = int.__index__(status) & 255
        elif status is not None:
            code = 1
            try:
                print(status, file=sys.stderr)
            except BaseException:
                pass
        outcome = "ok" if code == 0 and mode == "run" else "exit"
    except BaseException as error:
        kind, message, line = described(error)
        try:
            theirs = error._gristmill if mode == "test" and "_gristmill" in error.__dict__ else None
        except BaseException:
            theirs = None
        if theirs:
            where, (kind, message, line) = "program", theirs
        outcome, code = "error", 1
        if isinstance(error, MemoryError) or kind == "MemoryError":
            outcome = "memory"
        elif mode == "test" and not theirs and isinstance(error, AssertionError):
            outcome = "wrong"
        try:
            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename == "<string>":
                trace = trace.tb_next
            sys.__excepthook__(type(error), error, trace)
        except BaseException:
            pass
        error = trace = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    files, left = [], job["files_kb"] * 1024
    for name in job["keep"]:
        try:
            with open(name, "rb") as file:
                body = file.read(left + 1)
        except OSError:
            continue
        if len(body) <= left:
            files.append((name, body))
            left -= len(body)
    report(outcome, kind, message, line, code, where, files)


if __name__ == "__main__":
    main()
