"""Random chat templates: statements, expressions, filters, tests and methods of the Jinja that templates are written in.
Most run to the end; where one raises, the library has to, too. Left out is what docs/from-transformers.md excludes."""

STRINGS = [
    "''",
    "'a'",
    "'A b c'",
    "'<b>&\"'",
    "'x,y,,z'",
    "' pad \\n'",
    "'é\\u00df'",
    "'one two three four five six seven eight'",
    "'12'",
    "'-3.5'",
    "'%s!'",
    "'{}'",
    "'user'",
]
STRING_FILTERS = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "trim('a ')",
    "replace('a', 'bb')",
    "replace(' ', '_', 2)",
    "indent(2)",
    "indent(3, true)",
    "indent('> ', first=true, blank=true)",
    "truncate(9)",
    "truncate(7, true)",
    "truncate(12, false, '~', 0)",
    "center(12)",
    "string",
    "default('d')",
    "default('d', true)",
    "tojson",
    "urlencode",
    "reverse",
    "e",
    "safe",
    "forceescape",
    "first",
    "last",
]
METHODS = [
    "strip()",
    "lstrip('ax')",
    "rstrip()",
    "upper()",
    "lower()",
    "title()",
    "capitalize()",
    "swapcase()",
    "replace('a', 'o')",
    "replace('a', 'o', 1)",
    "zfill(6)",
    "center(9, '*')",
    "ljust(5)",
    "rjust(5, '.')",
    "removeprefix('A')",
    "removesuffix('c')",
]
SLICES = ["[1:]", "[:-1]", "[::-1]", "[-3:]", "[:2]", "[1:6:2]", "[0]", "[-1]", "[5:1:-2]"]
TESTS = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "float",
    "boolean",
    "mapping",
    "sequence",
    "iterable",
    "true",
    "false",
    "callable",
    "lower",
    "upper",
    "odd",
    "even",
    "divisibleby(2)",
    "eq(1)",
    "ne('a')",
    "gt(0)",
    "le(3)",
    "in([1, 'a'])",
    "equalto('user')",
    "sameas(none)",
]


class Source:
    def __init__(self, rng):
        self.rng = rng
        self.names = {
            "string": [],
            "number": [],
            "list": [],
            "any": ["nothing", "bos_token", "eos_token", "tools", "documents", "add_generation_prompt"],
        }
        self.macros = []
        self.loops = 0
        self.count = 0

    def pick(self, *choices):
        return self.rng.choice(choices)()

    # ---- expressions

    def string(self, depth=0):
        rng = self.rng
        if depth > 2 or rng.random() < 0.3:
            return rng.choice(
                STRINGS
                + self.names["string"] * 2
                + ["messages[0].role", "messages[-1]['role']", "(messages[0].content | string)"]
            )
        inner = lambda: self.string(depth + 1)  # noqa: E731
        return self.pick(
            lambda: f"({inner()} + {inner()})",
            lambda: f"({inner()} ~ {self.any(depth + 1)})",
            lambda: f"({inner()} | {rng.choice(STRING_FILTERS)})",
            lambda: f"({inner()} | {rng.choice(STRING_FILTERS)} | {rng.choice(STRING_FILTERS)})",
            lambda: f"{inner()}.{rng.choice(METHODS)}",
            lambda: f"{inner()}{rng.choice(SLICES)}",
            lambda: f"({inner()} if {self.boolean(depth + 1)} else {inner()})",
            lambda: f"({inner()} if {self.boolean(depth + 1)})",
            lambda: f"({self.list(depth + 1)} | join({inner()}))",
            lambda: f"({self.list(depth + 1)} | map('string') | join('|'))",
            lambda: f"({self.any(depth + 1)} | tojson(indent={rng.randint(0, 3)}))",
            lambda: f"('%s/%r' % ({inner()}, {self.any(depth + 1)}))",
            lambda: f"('%5.2f|%-4d|%s' | format({self.number(depth + 1)}, {self.integer(depth + 1)}, {inner()}))",
            lambda: f"'{{}}:{{:>6}}'.format({inner()}, {inner()})",
            lambda: f"({inner()} * {rng.randint(0, 3)})",
            lambda: f"{inner()}.join({self.list(depth + 1)} | map('string'))",
            lambda: f"{inner()}.partition(' ')[{rng.randrange(3)}]",
            lambda: f"({inner()}.split({rng.choice(['', repr(','), repr('a')])}) | last)",
            lambda: f"({self.any(depth + 1)} | string)",
            lambda: f"{rng.choice(self.macros)}({inner()}, b={inner()})" if self.macros else "'no macro'",
        )

    def integer(self, depth=0):
        rng = self.rng
        if depth > 2 or rng.random() < 0.4:
            return rng.choice(
                [
                    "0",
                    "1",
                    "2",
                    "7",
                    "-3",
                    "1000",
                    *self.names["number"],
                    *(["loop.index", "loop.index0", "loop.revindex", "loop.length"] if self.loops else []),
                ]
            )
        inner = lambda: self.integer(depth + 1)  # noqa: E731
        return self.pick(
            lambda: f"({inner()} {rng.choice(['+', '-', '*', '//', '%'])} {inner()})",
            lambda: f"({self.string(depth + 1)} | length)",
            lambda: f"({self.list(depth + 1)} | {rng.choice(['length', 'count'])})",
            lambda: f"({self.string(depth + 1)} | int)",
            lambda: f"({self.string(depth + 1)} | int(5))",
            lambda: f"{self.string(depth + 1)}.{rng.choice(['count', 'find', 'rfind'])}('a')",
            lambda: f"({inner()} | abs)",
            lambda: f"(-{inner()})",
            lambda: f"({inner()} ** 2)",
            lambda: f"({self.string(depth + 1)} | wordcount)",
            lambda: f"({self.number(depth + 1)} | int)",
            lambda: f"([{inner()}, {inner()}] | {rng.choice(['sum', 'min', 'max'])})",
        )

    def number(self, depth=0):
        rng = self.rng
        if depth > 2 or rng.random() < 0.3:
            return rng.choice(["0.5", "1.0", "-2.25", "1e3", "3.14159", "1e-7", "123456.789"])
        return self.pick(
            lambda: self.integer(depth + 1),
            lambda: f"({self.number(depth + 1)} {rng.choice(['+', '-', '*', '/'])} {self.number(depth + 1)})",
            lambda: f"({self.number(depth + 1)} | round({rng.randrange(4)}{rng.choice(['', ', ' + repr('ceil'), ', ' + repr('floor')])}))",
            lambda: f"({self.string(depth + 1)} | float)",
            lambda: f"({self.integer(depth + 1)} / {rng.choice(['2', '3', '7'])})",
        )

    def boolean(self, depth=0):
        rng = self.rng
        if depth > 2:
            return rng.choice(["true", "false", "add_generation_prompt", "messages"])
        inner = lambda: self.boolean(depth + 1)  # noqa: E731
        return self.pick(
            lambda: f"{self.integer(depth + 1)} {rng.choice(['<', '<=', '==', '!=', '>', '>='])} {self.integer(depth + 1)}",
            lambda: f"{self.integer(depth + 1)} < {self.integer(depth + 1)} <= {self.number(depth + 1)}",
            lambda: f"({self.any(depth + 1)} is {rng.choice(['', 'not '])}{rng.choice(TESTS)})",
            lambda: f"({self.any(depth + 1)} == {self.any(depth + 1)})",
            lambda: f"({self.string(depth + 1)} {rng.choice(['in', 'not in'])} {self.string(depth + 1)})",
            lambda: f"({self.any(depth + 1)} in {self.list(depth + 1)})",
            lambda: f"({inner()} {rng.choice(['and', 'or'])} {inner()})",
            lambda: f"not {inner()}",
            lambda: f"{self.string(depth + 1)}.{rng.choice(['startswith', 'endswith'])}('a')",
            lambda: f"{self.string(depth + 1)}.is{rng.choice(['digit', 'alpha', 'upper', 'lower', 'space', 'alnum', 'title'])}()",
            lambda: f"({self.string(depth + 1)} < {self.string(depth + 1)})",
        )

    def list(self, depth=0):
        rng = self.rng
        if depth > 2 or rng.random() < 0.2:
            return rng.choice(
                [
                    "[]",
                    "[1, 'a', none, true]",
                    "[3, 1, 2]",
                    "['b', 'A', 'c', 'a']",
                    "(1, 2)",
                    "[[1, 2], [3, 4]]",
                    "range(4)",
                    *self.names["list"],
                ]
            )
        inner = lambda: self.list(depth + 1)  # noqa: E731
        roles = "(messages | map(attribute='role') | list)"
        return self.pick(
            lambda: f"[{self.any(depth + 1)}, {self.any(depth + 1)}]",
            lambda: f"{self.string(depth + 1)}.split()",
            lambda: f"{self.string(depth + 1)}.split(',', 1)",
            lambda: f"({self.string(depth + 1)} | list)",
            lambda: f"{self.string(depth + 1)}.splitlines()",
            lambda: f"({inner()} | list)[1:]",
            lambda: f"({inner()} | reverse | list)",
            lambda: f"({inner()} | map('string') | sort{rng.choice(['', '(reverse=true)', '(true, true)'])})",
            lambda: f"({inner()} | unique | list)",
            lambda: f"({inner()} | map('upper') | list)",
            lambda: roles,
            lambda: f"({roles} | unique | list)",
            lambda: f"({inner()} | select('{rng.choice(['string', 'number', 'defined'])}') | list)",
            lambda: f"({inner()} | reject('none') | list)",
            lambda: f"(messages | {rng.choice(['select', 'reject'])}attr('role', 'equalto', 'user') | map(attribute='role') | list)",
            lambda: f"({inner()} | batch({rng.randint(1, 3)}{rng.choice(['', ', 0'])}) | list)",
            lambda: f"({inner()} | list | slice({rng.randint(1, 3)}) | list)",
            lambda: f"({inner()} | list + {inner()} | list)",
            lambda: f"({self.mapping(depth + 1)}.{rng.choice(['keys', 'values', 'items'])}() | list)",
            lambda: f"({self.mapping(depth + 1)} | dictsort{rng.choice(['', '(true)', '(by=' + repr('value') + ')', '(reverse=true)'])})",
            lambda: f"({self.mapping(depth + 1)} | items | list)",
            lambda: f"(messages | groupby('role') | map('first') | list)",
            lambda: f"(messages | map(attribute='name', default='nobody') | list)",
            lambda: f"(messages | sort(attribute='role') | map(attribute='role') | list)",
            lambda: f"range({rng.randint(0, 2)}, {rng.randint(2, 8)}, {rng.randint(1, 3)}) | list",
        )

    def mapping(self, depth=0):
        rng = self.rng
        return self.pick(
            lambda: "{}",
            lambda: f"{{'a': {self.any(depth + 1)}, 'B': {self.integer(depth + 1)}, 'c d': 1}}",
            lambda: f"dict(x={self.integer(depth + 1)}, y={self.string(depth + 1)})",
            lambda: f"{{{self.string(depth + 1)}: 1, 'k': 2.50}}",
            lambda: "messages[0]",
            lambda: f"messages[{rng.choice(['0', '-1', '1'])}]",
        )

    def any(self, depth=0):
        names = self.rng.choice(self.names["any"])
        return self.pick(
            lambda: self.string(depth),
            lambda: self.string(depth),
            lambda: self.integer(depth),
            lambda: self.number(depth),
            lambda: f"({self.boolean(depth)})",
            lambda: self.list(depth),
            lambda: self.mapping(depth),
            lambda: names,
            lambda: f"({self.mapping(depth)}).get('a')",
            lambda: f"({self.mapping(depth)}).a",
            lambda: "none",
        )

    # ---- statements

    def tag(self, words):
        rng = self.rng
        return f"{{%{rng.choice(['', '', '-', '+'])} {words} {rng.choice(['', '', '-', '+' if rng.random() < 0.2 else ''])}%}}"

    def new(self, kind):
        self.count += 1
        name = f"{kind[0]}{self.count}"
        self.names[kind].append(name)
        return name

    def body(self, depth):
        kept = {kind: list(names) for kind, names in self.names.items()}
        out = self.text() + "".join(self.statement(depth + 1) + self.text() for _ in range(self.rng.randint(1, 3)))
        self.names = kept
        return out

    def text(self):
        return self.rng.choice(["", "", "\n", " ", "  \n", "word", "\n  word\n", "<|im_start|>", "a\n\nb", "{ }", "\t"])

    def output(self):
        dash = self.rng.choice(["", "", "-"])
        return f"{{{{{dash} {self.any()} {dash}}}}}"

    def statement(self, depth=0):
        rng = self.rng
        kind = rng.random() if depth < 3 else 0.1
        if kind < 0.45:
            return self.output()
        if kind < 0.57:
            kind = rng.choice(["string", "number", "list"])
            value = {"string": self.string, "number": self.integer, "list": self.list}[kind]()
            return self.tag(f"set {self.new(kind)} = {value}")
        if kind < 0.61:
            body = self.body(depth)
            return (
                self.tag(f"set {self.new('string')}{rng.choice(['', ' | trim', ' | upper'])}")
                + body
                + self.tag("endset")
            )
        if kind < 0.74:
            out = self.tag(f"if {self.boolean()}") + self.body(depth)
            if rng.random() < 0.4:
                out += self.tag(f"elif {self.boolean()}") + self.body(depth)
            return out + (self.tag("else") + self.body(depth) if rng.random() < 0.5 else "") + self.tag("endif")
        if kind < 0.87:
            return self.loop(depth)
        if kind < 0.91:
            self.count += 1
            name = f"macro{self.count}"
            out = (
                self.tag(f"macro {name}(a, b='x', c=none)")
                + f"<{{{{ a }}}}{{{{ b | upper }}}}{{{{ c }}}}{{{{ varargs }}}}{{{{ kwargs }}}}>"
                + self.text()
                + self.tag("endmacro")
            )
            self.macros.append(name)
            return out
        if kind < 0.93 and self.macros:
            return f"{{{{ {rng.choice(self.macros)}({self.any()}, {self.string()}{rng.choice(['', ', 3', ', c=[1]', ', 4, 5', ', z=1'])}) }}}}"
        if kind < 0.95:
            return (
                self.tag(
                    f"filter {rng.choice(['upper', 'trim', 'indent(2)', 'replace(' + repr('a') + ', ' + repr('b') + ')'])}"
                )
                + self.body(depth)
                + self.tag("endfilter")
            )
        if kind < 0.97:
            name = f"n{self.count}"
            self.count += 1
            return (
                self.tag(f"set {name} = namespace(a={self.integer()}, s='')")
                + self.tag(f"for x in {self.list()}")
                + self.tag(f"set {name}.a = {name}.a + {self.integer()}")
                + self.tag(f"set {name}.s = {name}.s ~ x")
                + self.tag("endfor")
                + f"{{{{ {name}.a }}}}/{{{{ {name}.s }}}}"
            )
        if kind < 0.975:
            return (
                self.tag("for x in [[1, [2]], ['a', []], 3] recursive")
                + rng.choice(["{{ loop.depth }}", "{{ loop.depth0 }}", ""])
                + "{{ loop(x) if x is iterable and x is not string else x }}"
                + self.text()
                + self.tag("endfor")
            )
        if kind < 0.98:
            self.count += 1
            return (
                self.tag(f"macro wrap{self.count}(a='z')")
                + "({{ caller() if caller is defined else a }}"
                + self.text()
                + ")"
                + self.tag("endmacro")
                + self.tag(f"call wrap{self.count}({self.string()})")
                + self.body(depth)
                + self.tag("endcall")
            )
        if kind < 0.983:
            return "{% generation %}" + self.body(depth) + "{% endgeneration %}"
        if kind < 0.99:
            return self.tag("with q = " + self.any()) + "{{ q }}" + self.body(depth) + self.tag("endwith")
        return rng.choice(
            [
                "{# comment {{ x }} #}",
                "{#- comment -#}",
                "{% raw %}{{ x }}{% endraw %}",
                "{%- raw -%} {% if %} {%- endraw %}",
                "{{ namespace(a=1).a }}",
            ]
        )

    def loop(self, depth):
        rng = self.rng
        self.loops += 1
        name = f"x{self.count}"
        self.count += 1
        over = rng.choice([self.list(), self.list(), "messages", f"{self.mapping()}.items()"])
        target = f"{name}, {name}v" if over.endswith(".items()") else name
        out = self.tag(f"for {target} in {over}" + (f" if {self.boolean()}" if rng.random() < 0.2 else ""))
        out += rng.choice(
            [
                "{{ loop.index }}",
                "{{ loop.last }}",
                "{{ loop.cycle('p', 'q') }}",
                "{{ loop.previtem }}",
                "{{ loop.nextitem is defined }}",
                "{{ loop.changed(loop.index // 2) }}",
                "",
                "",
            ]
        )
        out += (
            f"{{{{ {name} }}}}"
            if over != "messages"
            else f"{{{{ {name}.role }}}}: {{{{ {name}.content if {name}.content is string else {name}.content | tojson }}}}"
        )
        if rng.random() < 0.15:
            out += self.tag(f"if {self.boolean()}") + self.tag(rng.choice(["break", "continue"])) + self.tag("endif")
        out += self.body(depth)
        out += self.tag("else") + self.text() + "none" if rng.random() < 0.2 else ""
        self.loops -= 1
        return out + self.tag("endfor")


def template(rng):
    source = Source(rng)
    return "".join(source.text() + source.statement() for _ in range(rng.randint(2, 7))) + source.text()
