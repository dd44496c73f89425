"""Makes jinja/snippets.json: small templates, and what jinja2 as transformers sets it up makes of them.

Run with transformers 5.24 and jinja2 3.1: python3 tests/golden/make_jinja.py
"""
import json
import pathlib

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

VARIABLES = {
    "name": "Zoë",
    "text": "  Hello, <b>World</b>!\n second line \n",
    "words": ["pear", "Apple", "fig", "apple", "Banana"],
    "numbers": [3, 1, 2, 10, -4],
    "mixed": [1, "a", None, 2.5, True, [1, 2], {"k": "v"}],
    "empty": [],
    "none": None,
    "yes": True,
    "no": False,
    "i": 7,
    "f": 2.5,
    "d": {"b": 1, "a": {"x": [1, 2, {"y": "deep"}]}, "C": 3, "items": "shadow"},
    "people": [
        {"name": "Ann", "age": 31, "city": "Rome", "tags": ["x"]},
        {"name": "bob", "age": 25, "city": "oslo", "tags": []},
        {"name": "Cid", "age": 31, "city": "Oslo"},
    ],
    "tree": [{"n": "a", "c": [{"n": "b", "c": []}, {"n": "c", "c": [{"n": "d", "c": []}]}]}, {"n": "e", "c": []}],
    "schema": {"type": "object", "properties": {"q": {"type": "string", "enum": ["a", "é"]}, "n": {"type": "integer"}},
               "required": ["q"]},
    "greek": "ΑΣ ΟΔΟΣ straße ŉ ﬁn İ ǆ",
    "odd": "a\u00a0b\u2028c\x1cd\te\r\nf",
}

# Each line is a template. Grouped by what they are about.
SNIPPETS = r"""
# literals and printing
{{ 1 }} {{ -1 }} {{ 1.0 }} {{ 1e3 }} {{ 1e16 }} {{ 1.5e-7 }} {{ 123456789.125 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }}
{{ 'a' 'b' "c" }} {{ 'it\'s' }} {{ "tab\there" }} {{ '\x41\u00e9\U0001F600\101' }} {{ '\q' }} {{ 'a\
b' }}
{{ true }} {{ True }} {{ false }} {{ none }} {{ None }} {{ [] }} {{ {} }} {{ () }} {{ (1,) }} {{ (1, 2) }} {{ [1, 'a', none] }}
{{ {'a': 1, "b": [true, 2.0]} }} {{ ['it\'s', 'q"q', 'both\'"'] }} {{ ['\n\t\x00é\u200b'] }}
{{ 1, 2 }} {{ [1, 2,] }} {{ {'a': 1,} }} {{ {1: 2, 1.0: 3, true: 4} }} {{ {'a': 1, 'a': 2} }}
{{ mixed }}|{{ d }}|{{ words }}|{{ none }}|{{ undefined_thing }}|{{ f }}
{{ 1.0 }} {{ 0.1 + 0.2 }} {{ 1e100 }} {{ 1e-5 }} {{ 0.0001 }} {{ 100000000000000000.0 }} {{ -0.0 }} {{ 5e-324 }}
{{ 9223372036854775807 }} {{ -9223372036854775807 }}
# arithmetic
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1.0 // 0.1 }} {{ -0.5 // 1 }} {{ 5 % 2.5 }}
{{ 2 + 3 * 4 }} {{ (2 + 3) * 4 }} {{ 2 * 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 10 - 3 - 2 }} {{ 100 / 10 / 2 }} {{ - - 3 }} {{ + 3 }}
{{ true + 1 }} {{ true * 3 }} {{ -true }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ 'ab' * -1 }} {{ [1] * 2 }} {{ (1,) * 2 }} {{ [1] + [2] }} {{ (1,) + (2,) }}
{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ [1] ~ undefined_thing ~ 2.0 }} {{ 1 ~ 2 + 3 }} {{ 1 + 2 ~ 3 }} {{ 2 * 3 ~ 4 }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1.0 % 0 }}
{{ none + 1 }}
{{ [1] + (2,) }}
{{ {} + {} }}
{{ -'a' }}
{{ +[] }}
{{ undefined_thing + 1 }}
{{ 'a' - 'b' }}
{{ 'ab' * 1.5 }}
# comparing
{{ 1 < 2 }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 == 2.0 != 3 }} {{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ 'é' > 'z' }}
{{ [1, 2] == [1, 2] }} {{ [1, 2] == (1, 2) }} {{ {'a': 1} == {'a': 1.0} }} {{ [1, 2] < [1, 3] }} {{ [1] < [1, 0] }} {{ (1, 'a') < (1, 'b') }} {{ none == none }} {{ 1 != 'a' }}
{{ 1 in [1, 2] }} {{ 'a' in 'cat' }} {{ 'x' not in 'cat' }} {{ 'a' in d }} {{ 3 in d.values() }} {{ 1 in (1, 2) }} {{ '' in '' }} {{ 'k' in mixed[6] }} {{ not 1 in [1] }}
{{ undefined_thing == undefined_thing }} {{ undefined_thing == none }} {{ undefined_thing == '' }} {{ undefined_thing != 1 }} {{ 1 in undefined_thing }}
{{ 1 < 'a' }}
{{ [1] < 1 }}
{{ none < 1 }}
{{ {} < {} }}
{{ 1 in 5 }}
{{ 1 in 'abc' }}
{{ [] in {} }}
{{ undefined_thing < 1 }}
{{ 2 > 1 > undefined_thing }}
# logic
{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or [] }} {{ none or 0 or 'z' }} {{ not '' }} {{ not [1] }} {{ not not 3 }} {{ 1 and not 0 or 5 }}
{{ 'a' if true else 'b' }} {{ 'a' if false }}|{{ 'a' if false else 'b' if false else 'c' }} {{ 1 if [] else 2 }} {{ (1 if 0) is defined }}
{{ ('a' if false) + 'b' }}
{{ 'x' if undefined_thing else 'y' }} {{ undefined_thing and 1 }}| {{ undefined_thing or 'default' }} {{ yes and no or i }}
# attributes, subscripts, slices
{{ d.b }} {{ d['b'] }} {{ d.a.x[2].y }} {{ d['a']['x'][0] }} {{ d.a.x.2.y }} {{ d.missing }}| {{ d['missing'] }}| {{ words.0 }} {{ words[-1] }} {{ words[9] }}|
{{ d['items'] }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.keys() }} {{ d.values() | list | length }} {{ {'a': 1}.items() }} {{ people[0].name }}
{{ words[1:3] }} {{ words[:2] }} {{ words[-2:] }} {{ words[::-1] }} {{ words[::2] }} {{ words[3:0:-1] }} {{ words[10:] }} {{ words[-10:2] }} {{ words[:] }} {{ words[4:1] }} {{ words[5:0:-2] }}
{{ name[0] }} {{ name[-1] }} {{ name[1:] }} {{ name[::-1] }} {{ name[:2] }} {{ name[-1:] }} {{ 'abcdef'[1:5:2] }} {{ 'abcdef'[::-2] }} {{ (1, 2, 3)[1:] }} {{ name[99] }}| {{ 'abc'[none:2] }}
{{ 'abc'['upper']() }} {{ ('a', 'b')[1] }} {{ [[1, 2], [3]][0][1] }} {{ words[true] }} {{ d[none] }}| {{ i.real }} {{ i.foo }}|
{{ undefined_thing.x }}
{{ undefined_thing['x'] }}
{{ undefined_thing[1:] }}
{{ d.missing.deeper }}
{{ none.x }}|{{ none['x'] }}|{{ 5['x'] }}
{{ words['a':] }}
{{ words[::0] }}
{{ d[1:2] }}
{{ i[0:1] }}
{{ words.append(1) }}
{{ d.update({}) }}
{{ d.pop('a') }}
{{ words.sort() }}
{{ ''.__class__ }}
{{ ''.__class__.__mro__ }}
{{ d.__class__ is defined }} {{ words.append is defined }} {{ words.pop }}|
{{ undefined_function(1) }}
{{ 'a'() }}
{{ d.b() }}
# string methods
{{ text.strip() }}|{{ text.lstrip() }}|{{ text.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ 'abcba'.rstrip('ab') }}|{{ 'éaé'.strip('é') }}
{{ 'a b  c'.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ ' a  b '.split(maxsplit=1) }} {{ 'a--b--c'.rsplit('--', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('c') }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith('') }} {{ 'abc'.endswith(('x', 'y')) }}
{{ 'aXbXc'.replace('X', '-') }} {{ 'aXbXc'.replace('X', '-', 1) }} {{ 'abc'.replace('', '.') }} {{ 'abc'.replace('', '.', 2) }} {{ 'aaa'.replace('aa', 'b') }} {{ ''.replace('', 'x') }}
{{ 'hello'.upper() }} {{ 'HeLLo'.lower() }} {{ 'hello wORLD'.title() }} {{ 'hELLO world'.capitalize() }} {{ "they're bill's".title() }} {{ 'Hello'.swapcase() }} {{ greek.upper() }} {{ greek.lower() }} {{ greek.title() }} {{ greek.capitalize() }} {{ greek.swapcase() }}
{{ ','.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join({'x': 1, 'y': 2}) }} {{ ', '.join(words | sort) }} {{ 'x'.join([]) }}
{{ ','.join([1, 2]) }}
{{ ','.join(5) }}
{{ 'hello'.find('l') }} {{ 'hello'.rfind('l') }} {{ 'hello'.find('z') }} {{ 'hello'.index('e') }} {{ 'hello'.count('l') }} {{ 'hello'.count('') }} {{ 'éàé'.find('é', 1) }} {{ 'éàé'.rfind('é') }} {{ 'hello'.find('l', 3) }} {{ 'hello'.find('', 9) }} {{ 'hello'.count('l', 3) }}
{{ 'hello'.index('z') }}
{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'abc'.removesuffix('') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ odd.splitlines() }} {{ odd.split() }} {{ ''.splitlines() }}
{{ '123'.isdigit() }} {{ '1²'.isdigit() }} {{ '1²'.isdecimal() }} {{ ''.isdigit() }} {{ 'aé'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' \t'.isspace() }} {{ 'Ab'.istitle() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ 'é'.isascii() }} {{ 'A B'.istitle() }} {{ '1'.isupper() }} {{ 'aB'.istitle() }}
{{ 'ab'.center(6) }}| {{ 'ab'.center(5, '*') }} {{ 'abc'.center(6, '*') }} {{ 'ab'.ljust(4) }}| {{ 'ab'.rjust(4, '.') }} {{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ 'abc'.center(2) }}
{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('x', 'y') }} {{ '{a} {b}'.format(a=1, b=[2]) }} {{ '{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c') }} {{ '{:05d} {:+d} {:x} {:#x} {:b} {:,}'.format(42, 42, 255, 255, 5, 1234567) }} {{ '{:.2f} {:8.3f}| {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25) }}
{{ '{0.name} {0[age]} {1[0]}'.format(people[0], words) }} {{ '{{}}{}'.format(1) }} {{ '{!r} {!s}'.format('a', 'b') }} {{ '{:{w}}|'.format('a', w=4) }} {{ '{:*^7}'.format('mid') }} {{ '{:.2}'.format('abcdef') }} {{ '{}'.format(true) }} {{ '{:5}|{:<5}|'.format(true, 3) }} {{ '{:.3}'.format(3.0) }} {{ '{:10}|'.format(2.5) }}
{{ '{}'.format() }}
{{ '{a}'.format(b=1) }}
{{ '{'.format(1) }}
{{ '}'.format(1) }}
{{ '{} {0}'.format(1) }}
{{ '{:d}'.format('a') }}
{{ '{:s}'.format(1) }}
{{ '{:z}'.format(1) }}
{{ 'abc'.split('') }}
{{ 'abc'.nothing() }}
{{ 'abc'.strip(1) }}
{{ 'abc'.replace('a') }}
{{ 'abc'.startswith(1) }}
{{ 'abc'.upper(1) }}
# % formatting
{{ '%s %d %5.2f %x %05d %-5s| %+d %%' % ('a', 3, 2.5, 255, 42, 'b', 7) }} {{ '%s' % 'x' }} {{ '%s' % [1] }} {{ '%(a)s %(b)03d' % {'a': 'x', 'b': 7} }} {{ '%r' % 'a' }} {{ '%5s|%.2s' % ('ab', 'abcdef') }} {{ '%*d' % (5, 42) }} {{ '%e %g %G' % (12345.678, 1e-10, 1e20) }} {{ '%i' % 3.99 }} {{ '%o %X %#x' % (8, 255, 255) }} {{ '%s' % none }} {{ '%s' % undefined_thing }}|
{{ '%s %s' | format('a', 1) }} {{ '%(n)s' | format(n='kw') }} {{ '[%d] ' | format(3) ~ 'x' }} {{ '%.1f%%' | format(99.55) }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % (1, 2) }}
{{ '%q' % 1 }}
{{ '%' % 1 }}
{{ '%(a)s' % 1 }}
{{ '%x' % 1.5 }}
# filters: text
{{ text | trim }}|{{ 'xax' | trim('x') }}|{{ 'hello world' | title }} {{ "it's a (small) <thing>-x" | title }} {{ 'ABC' | lower }} {{ 'abc' | upper }} {{ 'hELLO' | capitalize }} {{ 5 | upper }} {{ none | lower }} {{ undefined_thing | upper }}|
{{ 'hello' | replace('l', 'L') }} {{ 'hello' | replace('l', 'L', 1) }} {{ 123 | replace(2, 'x') }} {{ 'a' | replace('a', none) }} {{ 'x' | replace(old='x', new='y') }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}|{{ 'a\n' | indent }}|{{ '' | indent(first=true) }}
{{ 'foo bar baz qux' | truncate(9) }} {{ 'foo bar baz qux' | truncate(9, true) }} {{ 'foo bar baz qux' | truncate(11) }} {{ 'foo bar baz qux' | truncate(11, false, '...', 0) }} {{ 'short' | truncate(9, end='~') }} {{ 'foobarbazqux' | truncate(6, leeway=0) }}
{{ 'ab' | center(6) }}| {{ 'a b  c' | wordcount }} {{ "it's é_1" | wordcount }} {{ 'hello' | length }} {{ name | count }} {{ 'abc' | reverse }} {{ name | first }} {{ name | last }} {{ 'abc' | list }} {{ 'bca' | sort }}
{{ 'a b/c?d=é&' | urlencode }} {{ {'a b': 'c/d', 'e': 1} | urlencode }} {{ '<a href="x">\'&' | escape }} {{ '<' | e }} {{ '<' | safe }} {{ ('<' | safe) + '<' }} {{ '<' ~ ('>' | e) }} {{ ('<b>' | e) | upper }} {{ ['<' | e] }} {{ ('<' | e) == '&lt;' }} {{ ('&' | e) | e }} {{ ('&' | e) | forceescape }} {{ '<' + ('&' | e) }} {{ ('a' | safe).replace('a', '<') }} {{ ('-' | safe).join(['<', 'x']) }}
{{ 5 | string + 'a' }} {{ [1] | string | length }} {{ none | string }} {{ 'x' | default('y') }} {{ undefined_thing | default('y') }} {{ '' | default('y') }}| {{ '' | default('y', true) }} {{ undefined_thing | d }}| {{ none | default('y') }} {{ none | d('y', boolean=true) }} {{ d.missing | default([]) }}
{{ 5 | trim }} {{ 'x' | indent(-1) }} {{ 12 | length }}
{{ none | indent }}
{{ 'abc' | truncate(1) }}
# filters: numbers
{{ '42' | int }} {{ '42.9' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ '0x1f' | int(base=16) }} {{ '11' | int(0, 2) }} {{ 3.9 | int }} {{ -3.9 | int }} {{ none | int }} {{ true | int }} {{ ' 12 ' | int }} {{ '1_000' | int }} {{ '1e3' | int }} {{ [] | int(1) }} {{ '-5' | int }} {{ '+5' | int }} {{ '0b11' | int(base=0) }}
{{ '3.5' | float }} {{ '3' | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ none | float }} {{ 2 | float }} {{ '1e-3' | float }} {{ 'inf' | float }} {{ 'nan' | float }} {{ ' -2.5 ' | float }} {{ '.5' | float }} {{ '5.' | float }}
{{ 42.55 | round }} {{ 42.55 | round(1) }} {{ 42.55 | round(1, 'floor') }} {{ 42.51 | round(1, 'ceil') }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 0.125 | round(2) }} {{ 2.675 | round(2) }} {{ 42 | round }} {{ 42 | round(-1) }} {{ 45 | round(-1) }} {{ 55 | round(-1) }} {{ 1234.5 | round(-2) }} {{ 42.55 | round | int }} {{ -2.5 | round }} {{ 5 | round(0, 'floor') }}
{{ -5 | abs }} {{ -2.5 | abs }} {{ true | abs }} {{ numbers | sum }} {{ [1.5, 2] | sum }} {{ people | sum(attribute='age') }} {{ [[1], [2]] | sum(start=[]) }} {{ [] | sum }} {{ numbers | sum(start=100) }}
{{ numbers | min }} {{ numbers | max }} {{ words | min }} {{ words | max }} {{ ['b', 'A'] | min(case_sensitive=true) }} {{ people | max(attribute='age') | attr('name') }}| {{ (people | min(attribute='age')).name }} {{ [] | min }}| {{ empty | max is defined }}
{{ 'a' | abs }}
{{ undefined_thing | int }}
{{ undefined_thing | float }}
{{ ['a', 1] | sum }}
{{ [1, 'a'] | min }}
{{ 'a' | round }}
{{ 1.5 | round(1, 'up') }}
{{ 'inf' | float | int }}
# filters: sequences
{{ numbers | sort }} {{ numbers | sort(reverse=true) }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ people | sort(attribute='age') | map(attribute='name') | list }} {{ people | sort(attribute='city,name') | map(attribute='name') | join(' ') }} {{ people | sort(attribute='age', reverse=true) | map(attribute='name') | join }} {{ [[2, 'b'], [1, 'a']] | sort(attribute=0) }} {{ d | sort }}
{{ words | unique | list }} {{ [1, 1.0, true, 2] | unique | list }} {{ words | unique(case_sensitive=true) | list }} {{ people | unique(attribute='age') | map(attribute='name') | list }}
{{ numbers | join(', ') }} {{ words | join }} {{ people | join('; ', attribute='name') }} {{ [1, none, 'a', undefined_thing] | join('|') }} {{ d | join(',') }} {{ 'abc' | join('-') }} {{ [1, 2] | join(d=0) }}
{{ numbers | first }} {{ numbers | last }} {{ [] | first }}| {{ [] | last }}| {{ d | first }} {{ d | last }} {{ numbers | reverse | list }} {{ d | list }} {{ d | length }} {{ d.items() | list | length }} {{ numbers | length }} {{ undefined_thing | length }} {{ undefined_thing | list }} {{ (numbers | map('abs')) | first }}
{{ words | map('upper') | list }} {{ words | map('replace', 'a', 'o') | list }} {{ people | map(attribute='tags') | list }} {{ people | map(attribute='tags', default='none') | list }} {{ people | map(attribute='tags.0', default='-') | list }} {{ [[1, 2], [3, 4]] | map('first') | list }} {{ ['a', 'b'] | map('tojson') | join }} {{ [1, 2] | map('string') | join('+') }} {{ ['1', 'x'] | map('int', default=5) | list }} {{ [[1, 2]] | map(attribute=1) | list }} {{ [] | map('nope') | list }} {{ none | map('upper') | list }}
{{ numbers | select | list }} {{ numbers | select('odd') | list }} {{ numbers | select('gt', 2) | list }} {{ numbers | reject('even') | list }} {{ numbers | select('divisibleby', 2) | list }} {{ mixed | select('string') | list }} {{ mixed | reject('none') | list | length }} {{ [0, 1, '', 'a'] | select | list }} {{ [1, 2, 3] | select('in', [1, 3]) | list }} {{ [0, 1] | reject | list }}
{{ people | selectattr('tags') | map(attribute='name') | list }} {{ people | selectattr('age', 'equalto', 31) | map(attribute='name') | list }} {{ people | rejectattr('age', '==', 31) | map(attribute='name') | list }} {{ people | selectattr('tags', 'defined') | list | length }} {{ people | rejectattr('tags', 'undefined') | list | length }} {{ people | selectattr('age', '<', 30) | first | attr('name') }}| {{ people | selectattr('city', 'in', ['Rome', 'Oslo']) | map(attribute='city') | list }} {{ people | selectattr('name', 'ne', 'Ann') | list | length }}
{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, 'x') | list }} {{ [1, 2, 3, 4, 5] | slice(2) | list }} {{ [1, 2, 3, 4, 5] | slice(3, 'x') | list }} {{ [] | batch(2) | list }}
{{ d | dictsort }} {{ {'b': 1, 'A': 2, 'c': 0} | dictsort }} {{ {'b': 1, 'A': 2} | dictsort(true) }} {{ {'b': 1, 'A': 2, 'c': 0} | dictsort(by='value') }} {{ {'b': 1, 'a': 2} | dictsort(reverse=true) }} {{ d | items | list | length }} {{ undefined_thing | items | list }} {{ {'a': 1} | items | first }}
{% for city, group in people | groupby('city') %}{{ city }}:{{ group | map(attribute='name') | join(',') }};{% endfor %} {% for g in people | groupby('age') %}{{ g.grouper }}={{ g.list | length }} {% endfor %} {{ people | groupby('tags.0', default='?') | map('first') | list }} {{ people | groupby('city', case_sensitive=true) | map(attribute=0) | list }}
{{ people[0] | attr('name') }}| {{ d | attr('keys') is callable }} {{ d | attr('zz') }}|
{{ [1, 'a'] | sort }}
{{ [[1], [2]] | unique | list }}
{{ [1, 2] | map('nope') | list }}
{{ [1, 2] | map | list }}
{{ [1] | map(attribute='x', foo=1) | list }}
{{ 5 | list }}
{{ 5 | first }}
{{ 5 | join }}
{{ numbers | map('abs') | last }}
{{ numbers | map('abs') | length }}
{{ [1] | select('nope') | list }}
{{ [1] | selectattr | list }}
{{ d.b | dictsort }}
{{ 5 | items | list }}
{{ [1] | dictsort }}
{{ d | dictsort(by='x') }}
{{ 5 | reverse }}
# tojson
{{ d | tojson }} {{ mixed | tojson }} {{ 'é<>&"\'\n\t\u2028' | tojson }} {{ 'é😀\x7f' | tojson(ensure_ascii=true) }} {{ [1.0, 1e16, 1e-7, true, none] | tojson }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }} {{ [] | tojson }} {{ {} | tojson(indent=2) }} {{ 'a' | tojson }} {{ 5 | tojson }} {{ 'x' | e | tojson }}
{{ d | tojson(indent=2) }}
{{ schema | tojson(indent=4, sort_keys=true) }}
{{ d | tojson(separators=(',', ':')) }} {{ d | tojson(indent=0) }} {{ [1, [2, {}]] | tojson(indent='--') }} {{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ [1, 2] | tojson(indent=1, separators=(', ', '= ')) }} {{ ['inf' | float, '-inf' | float, 'nan' | float] | tojson }} {{ [1] | tojson(indent=none) }}
{{ undefined_thing | tojson }}
{{ [undefined_thing] | tojson }}
{{ {(1, 2): 3} | tojson }}
{{ range(3) | tojson }}
{{ d.keys() | tojson }}
{{ namespace(a=1) | tojson }}
{{ {'a': 1, 2: 3} | tojson(sort_keys=true) }}
{{ numbers | map('abs') | tojson }}
# tests
{{ 1 is defined }} {{ x is defined }} {{ x is undefined }} {{ x is not defined }} {{ none is none }} {{ 1 is none }} {{ 1 is number }} {{ true is number }} {{ 1.5 is float }} {{ 1 is integer }} {{ true is integer }} {{ true is boolean }} {{ 'a' is string }} {{ d is mapping }} {{ [] is mapping }} {{ [] is sequence }} {{ 'a' is sequence }} {{ 1 is sequence }} {{ d is sequence }} {{ [] is iterable }} {{ 1 is iterable }} {{ 'a' is iterable }} {{ none is iterable }} {{ x is iterable }} {{ x is sequence }}
{{ 3 is odd }} {{ 3 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(4) }} {{ 1 is eq 1 }} {{ 1 is equalto 2 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 1 is le 1 }} {{ 2 is gt 1 }} {{ 2 is ge 3 }} {{ 2 is greaterthan 1 }} {{ 2 is lessthan 1 }} {{ 1 is in [1] }} {{ 1 is not in [1] }} {{ 1 is sameas 1 }} {{ true is sameas true }} {{ 1 is sameas true }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ '1' is lower }} {{ range is callable }} {{ 1 is callable }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ 'a' is escaped }} {{ ('a' | e) is escaped }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'nope' is test }}
{{ not 1 is odd }} {{ 1 is odd and 2 is even }} {{ 1 is not odd or true }} {{ 1 + 1 is even }} {{ (1 + 1) is even }} {{ 'a' ~ 1 is string }} {{ d.b is odd }} {{ -1 is odd }} {{ [1, 2] | length is even }} {{ 3 is divisibleby 2 + 1 }} {{ 1 is odd is defined }}
{{ 'a' is odd }}
{{ 1 is nope }}
{{ x is odd }}
{{ 1 is in 5 }}
{{ 9 is divisibleby }}
{{ 1 is defined is string }}
{{ loop is defined }} {{ caller is defined }} {{ varargs is defined }}
# globals
{{ range(5) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(3) }} {{ range(0, 10, 3) }} {{ range(3)[1] }} {{ range(3) | length }} {{ 2 in range(3) }} {{ range(0) | list }} {{ range(3) | last }} {{ range(3) == range(0, 3) }}
{{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }} {{ dict([('a', 1)]) }} {{ dict() }} {{ namespace(a=1).a }} {{ namespace(a=1).b }}| {{ namespace({'q': 2}).q }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.next() }} {% set j = joiner('; ') %}{{ j() }}a{{ j() }}b{{ j() }}c
{{ raise_exception('stop here') }}
{{ raise_exception('bad ' ~ i ~ ' value') }}
{{ raise_exception() }}
{{ range(100001) }}
{{ range('a') }}
{{ range(1, 2, 0) }}
{{ range() }}
{{ dict(1) }}
{{ strftime_now('%Y') | length }} {{ strftime_now('') }}| {{ strftime_now('100%%') }}
{{ strftime_now(1) }}
{{ namespace(_a=1) }}
# set and namespace
{% set a = 1 %}{{ a }}{% set a, b = 2, 3 %}{{ a }}{{ b }}{% set (c, d2) = [4, 5] %}{{ c }}{{ d2 }}{% set x = 1, 2 %}{{ x }}{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}
{% set b %}block {{ i }}{% endset %}[{{ b }}] {% set b | upper %}block {{ i }}{% endset %}[{{ b }}] {% set b | replace('l', 'L') | trim %} hello {% endset %}[{{ b }}]
{% set ns = namespace(n=0, s='') %}{% for x in [1, 2, 3] %}{% set ns.n = ns.n + x %}{% set ns.s = ns.s ~ x %}{% endfor %}{{ ns.n }} {{ ns.s }} {{ ns['n'] }} {{ ns.zz }}| {% set ns.new = 'x' %}{{ ns.new }} {% set ns.a, ns.b = 1, 2 %}{{ ns.a + ns.b }}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% for i in [1, 2] %}{{ zz }}{% set zz = i %}{{ zz }}{% endfor %}{{ zz }}|
{% if true %}{% set y = 5 %}{% endif %}{{ y }} {% if false %}{% set z = 5 %}{% endif %}{{ z }}| {% if false %}{% set i = 99 %}{% endif %}{{ i }} {% if true %}{% set i = 98 %}{% else %}{% set name = 1 %}{% endif %}{{ i }}{{ name }}
{{ q }}{% set q = 1 %}{{ q }} {% set i = i + 1 %}{{ i }}
{% for x in [1] %}{% if x %}{% set w = x %}{% endif %}{{ w }}{% endfor %}{{ w }}|
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a }}| {% with %}{% set k = 1 %}{{ k }}{% endwith %}{{ k }}|
{% with a = 1, b = a %}{{ b }}|{% endwith %}
{% set s %}{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% endset %}{{ s }}
{% set a, b = 1 %}
{% set a, b = [1] %}
{% set a, b = [1, 2, 3] %}
{% set d.x = 1 %}
{% set undefined_ns.x = 1 %}
{% set ns = namespace() %}{% set ns._x = 1 %}
{% set 1 = 2 %}
{% set 'a' = 2 %}
{% set none = 2 %}
{% set a.b.c = 2 %}
{% set a[0] = 2 %}
{% set a %}
{% set a = %}
# for
{% for x in numbers %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ', ' if not loop.last }}{% endfor %}
{% for x in words %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for x in [1, 2, 3] %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %} {% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %} {% for x in [1, 2, 3] %}{{ loop.cycle('a', 'b') }}{% endfor %} {% for x in [1, 2] %}{{ loop }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {% for k in d %}{{ k }}{% endfor %} {% for c in name %}{{ c }}.{% endfor %} {% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %} {% for x in undefined_thing %}no{% endfor %}
{% for x in [] %}a{% else %}empty{% endfor %} {% for x in [1] %}a{% else %}empty{% endfor %} {% for x in [1, 2] %}{% continue %}{% else %}quirk{% endfor %} {% for x in [1, 2] %}{% break %}{% else %}quirk{% endfor %} {% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}{% else %}quirk{% endfor %}
{% for x in numbers if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %} {% for x in numbers if x > 99 %}{% else %}none{% endfor %} {% for x in numbers if x is odd %}{{ x }}{{ loop.last }}{% endfor %} {% for k, v in d.items() if k != 'a' %}{{ k }}{% endfor %}
{% for x in range(10) %}{% if x == 3 %}{% continue %}{% elif x == 6 %}{% break %}{% endif %}{{ x }}{% endfor %} {% for x in [1, 2] %}{% for y in [1, 2] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}
{% for n in tree recursive %}{{ loop.depth }}{{ n.n }}{% if n.c %}({{ loop(n.c) }}){% endif %}{% endfor %} {% for n in tree recursive %}{{ loop.index }}{{ n.n }}{{ loop(n.c) if n.c }}{% else %}-{% endfor %}
{% for x in [1, 2] %}{{ x }}{% for y in [3, 4] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %} {% for x in [1, 2] %}{% set outer = loop %}{% for y in 'ab' %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
{% for x in 1, 2, 3 %}{{ x }}{% endfor %} {% for x in (1, 2) + (3,) %}{{ x }}{% endfor %} {% for x in numbers | sort | reverse %}{{ x }}{{ loop.last }}{% endfor %} {% for x in numbers | map('abs') %}{{ loop.length }}{% endfor %} {% for i in range(3) %}{{ i }}{% endfor %}{{ i }}
{% set ns = namespace(seen=[]) %}{% for x in [1, 2, 3, 4] if x not in ns.seen %}{{ x }}{% set ns.seen = ns.seen + [x + 1] %}{% endfor %} {{ ns.seen }}
{% for x in [1, 2, 3] %}{{ x if loop.first else '-' ~ x }}{% endfor %}{% for m in people %}{{ loop.previtem.name if loop.previtem is defined }}>{{ m.name }} {% endfor %}
{% for x in [3, 1] %}{% for y in [x, loop.index] %}{{ y }}{% endfor %} {% endfor %}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{% for a, b in [1, 2] %}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% for loop in [1] %}{% endfor %}
{% for x in [1] %}{% set loop = 1 %}{% endfor %}
{% for x in [1] %}{{ loop([2]) }}{% endfor %}
{% for x in [1] %}{{ loop.cycle() }}{% endfor %}
{% for x in [1] %}{{ loop.nope }}|{{ loop.previtem.x }}{% endfor %}
{% break %}
{% if true %}{% continue %}{% endif %}
{% for x in [1] %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for x in [1] %}
{% for x [1] %}{% endfor %}
{% for in [1] %}{% endfor %}
{% for x.y in [1] %}{% endfor %}
# if
{% if i > 5 %}big{% elif i > 3 %}mid{% else %}small{% endif %} {% if no %}a{% elif none %}b{% elif yes %}c{% else %}d{% endif %} {% if not words %}e{% endif %} {% if undefined_thing %}f{% else %}g{% endif %} {% if 1, 2 %}tuple{% endif %} {% if i == 7 and name and not no %}h{% endif %}
{% if true: %}colon{% endif %} {% if false %}{{ 1 | nope }}{% endif %} {{ 1 | nope if false else 'fine' }} {% if false %}{{ 1 is nope }}{% endif %}
{% if true %}{{ 1 | nope }}{% endif %}
{{ 1 | nope }}
{% if %}{% endif %}
{% if true %}
{% endif %}
{% if true %}{% endfor %}{% endif %}
{% elif true %}
{% else %}
{% nope %}
{% %}
{% if true %}{% else %}{% else %}{% endif %}
# macros and calls
{% macro m(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='y') }}{{ m(b=5, a=4) }}{{ m() }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }} {{ m(*[1, 2]) }} {{ m(**{'a': 5, 'z': 6}) }} {{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }}
{% macro outer(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call outer('p') %}in {{ i }}{% endcall %} {% macro each(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, n) each(words) %}{{ n }}{{ x }} {% endcall %}
{% macro fact(n) %}{{ 1 if n < 2 else n * (fact(n - 1) | int) }}{% endmacro %}{{ fact(5) }} {% macro t(s) %}{% if s.type == 'object' %}{ {%- for k, v in s.properties.items() %} {{ k }}{{ '' if k in s.required else '?' }}: {{ t(v) }}{{ ',' if not loop.last }}{% endfor %} }{% else %}{{ s.type }}{% endif %}{% endmacro %}{{ t(schema) }}
{% set g = 1 %}{% macro m() %}{{ g }}{% set g = 5 %}{{ g }}{% endmacro %}{{ m() }}{{ g }}{% set g = 2 %}{{ m() }} {% macro late() %}{{ later }}{% endmacro %}{{ late() }}{% set later = 'L' %}{{ late() }} {% macro noarg() %}x{% endmacro %}{{ noarg() | upper }}{{ noarg() ~ 'y' }}
{% macro m(a=i, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m() }} {{ m(1) }} {% macro opt(x=none) %}{{ x is none }}{% endmacro %}{{ opt() }}{{ opt(1) }} {% macro n(x) %}{{ x is defined }}{% endmacro %}{{ n() }}{{ n(1) }}
{% for x in [1, 2] %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %} {% macro a() %}{% macro b() %}inner{% endmacro %}{{ b() }}{% endmacro %}{{ a() }} {% filter upper %}hello {{ name }}{% endfilter %} {% filter trim | replace('a', 'b') %} aha {% endfilter %} {% filter indent(2) %}a
b{% endfilter %}
{% macro m(x) %}{{ caller is defined }}{% endmacro %}{{ m(1) }} {% macro m2() %}{{ caller }}|{% endmacro %}{{ m2() }} {% print 1, 'a' %} {% macro w(caller=none) %}{{ caller is none }}{% endmacro %}{{ w() }}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(b=1) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}
{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m(a=1, b) %}{% endmacro %}
{% macro %}{% endmacro %}
{% macro m(caller) %}{{ caller() }}{% endmacro %}
{% call 5 %}{% endcall %}
{% macro m() %}{% endmacro %}{% call m() %}x{% endcall %}
{{ m2(1) }}{% macro m2(x) %}{% endmacro %}
{{ dict(**[1]) }}
{{ range(*5) }}
{{ dict(a=1, a=2) }}
{{ dict(a=1, **{'a': 2}) }}
{{ range(stop=3) }}
# generation
{% generation %}said {{ i }}{% endgeneration %} {% for x in [1, 2] %}{% generation %}{{ x }}{% endgeneration %}.{% endfor %}
{% generation %}{% break %}{% endgeneration %}
{% generation %}
# whitespace
a {%- if true -%} b {%- endif -%} c {{- 1 -}} d {#- comment -#} e {%+ if true +%} f {%+ endif +%} g {# c #} h
  {% if true %}  
  x
  {% endif %}
y
a
   {%- set x = 1 %}
   b
   {%+ set y = 2 %}
   c
{% raw %}{{ raw }} {% if %} {# no #}{% endraw %}!{%- raw -%}  x  {%- endraw -%}  y {% raw %}
 z {% endraw %}
{# a {{ 1 }} #}
{#- multi
line -#}
x{#

#}
y
{{ 1 }}
{{ 2 }}

x {{- ' y ' -}} z
{%- for x in [1, 2] %}
  - {{ x }}
{%- endfor %}

end
a{%- set x = ' ' -%} b {%- set y = 1 %} c
	{% if true %}tab{% endif %}
 {{ 'x' }} 
{{ '{{' }} {{ '%}' }} {{ "}}" }} {{ {'a': {'b': 1}} }} {{ {'a': {'b': {}}}}}
{{ "a
b" }}
{%if true%}tight{%endif%}{{1}}{{'a'}}{%-if 1-%} x {%-endif-%}
# syntax errors
{{ }}
{{ 1
{{ 1 2 }}
{{ (1 }}
{{ [1, }}
{{ 1] }}
{{ (1] }}
{{ 'abc }}
{{ a. }}
{{ a.'b' }}
{{ a | }}
{{ a | 5 }}
{{ | upper }}
{{ a is }}
{{ a b }}
{{ a = 1 }}
{{ 1 + }}
{{ * 2 }}
{{ {'a' 1} }}
{{ {1} }}
{{ f(a=1, 2) }}
{{ f(**a, *b) }}
{{ @ }}
{{ a ? b : c }}
{{ a && b }}
{{ !a }}
{{ [x for x in y] }}
{# unclosed
{% raw %} unclosed
{% if true
{{ 'a' if }}
{{ not }}
{{ '\xZZ' }}
{{ '\u12' }}
{% set x = 1 %} {{ x }
{% endmacro %}
{{ a.1b }}
{{ lambda: 1 }}
{{ a if b else }}
{% for x in y %}{% endif %}
{{ "unterminated\" }}
{{ $x }}
line one
{{ 1 }}
{{ undefined_thing.x }}
line one
{% if true %}
{{ 1 / 0 }}
{% endif %}
# as chat templates have it
{% for m in people %}{{ '<|im_start|>' + m.name + '\n' + (m.tags | join(',') if m.tags else 'none') + '<|im_end|>' }}{{ '\n' if not loop.last }}{% endfor %}
{%- set ns = namespace(last=-1) -%}{%- for p in people[::-1] -%}{%- set index = (people | length - 1) - loop.index0 -%}{%- if ns.last < 0 and p.age == 31 -%}{%- set ns.last = index -%}{%- endif -%}{%- endfor -%}{{ ns.last }}
{{ '<think>\nwhy\n</think>\n\nanswer'.split('</think>')[-1].lstrip('\n') }}|{{ '<think>\nwhy\n</think>\n\nanswer'.split('</think>')[0].split('<think>')[-1].strip('\n') }}
{%- macro render_extra_keys(json_dict, handled_keys) -%}{%- if json_dict is mapping %}{%- for json_key in json_dict if json_key not in handled_keys %}{%- if json_dict[json_key] is mapping or (json_dict[json_key] is sequence and json_dict[json_key] is not string) %}{{- '\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | tojson | safe) ~ '</' ~ json_key ~ '>' }}{%- else %}{{- '\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | string) ~ '</' ~ json_key ~ '>' }}{%- endif %}{%- endfor %}{%- endif %}{% endmacro %}{{ render_extra_keys(d, ['b']) }}
{{ (words | first).startswith('p') and words[1:] | select('string') | list | length > 2 }} {{ 'name' in people[0] and people[0]['name'] is string and people[0].name != '' }}
{{- '<tools>' }}{% for t in people %}{{ '\n' ~ t | tojson }}{% endfor %}{{ '\n</tools>' }}
"""


def outputs(line):
    """The outputs of a line that has nothing else."""
    if "{%" in line or "{#" in line:
        return [line]
    found, current = [], None
    try:
        for _, kind, text in jinja2.Environment().lex(line):
            if kind == "variable_begin":
                current = ""
            if current is not None:
                current += text
            if kind == "variable_end":
                found.append(current)
                current = None
    except jinja2.TemplateSyntaxError:
        return [line]
    return found if current is None and found else [line]


def snippets():
    """The templates, one a line, each output for itself. A line with # begins a group."""
    group, lines = "", SNIPPETS.strip("\n").split("\n")
    for line in lines:
        if line.startswith("# "):
            group = line[2:]
            continue
        for output in outputs(line) if group not in ("whitespace", "syntax errors") else [line]:
            yield group, output
    # What cannot be on one line.
    extra = [
        "{{ 'a\\\nb' }}",
        "  {% if true %}  \n  x\n  {% endif %}\ny\n",
        "a\n   {%- set x = 1 %}\n   b\n   {%+ set y = 2 %}\n   c\n",
        "{% raw %}\n z {% endraw %}\n",
        "{#- multi\nline -#}\nx{#\n\n#}\ny\n\n",
        "{{ 1 }}\n{{ 2 }}\n\nx {{- ' y ' -}} z\n{%- for x in [1, 2] %}\n  - {{ x }}\n{%- endfor %}\n\nend\n",
        "\t{% if true %}tab{% endif %}\n {{ 'x' }} \n",
        "{{ 'a\r\nb' | length }}\r\n{% set x = 1 %}\r\nc\rd",
        "{{ \"a\nb\" }}\n\n",
        "{% filter indent(2) %}a\nb{% endfilter %}",
        "line one\n{{ 1 }}\n{{ undefined_thing.x }}",
        "line one\n{% if true %}\n{{ 1 / 0 }}\n{% endif %}",
        "\n\n{{ raise_exception('third line') }}",
        "{% macro m() %}\n{{ none + 1 }}\n{% endmacro %}\n\n{{ m() }}",
        "a\n\n{% nope %}",
        "{% if x %}\n{% for y in z %}\n{% endif %}",
        "{{ 1 }}\n{#\n\n",
        "x\n{%- if true %}\n\n  y{% endif -%}\n\n z",
        "{% set x %}\n  a\n  {% if true %}\n  b\n  {% endif %}\n{% endset %}[{{ x }}]",
        "   {# comment #}\nx\n  {#- comment +#}\n y",
        "{{ 'no newline' }}\n",
        "\n",
        "",
        "   ",
        "{% for x in [1] -%}\n  {{ x }}\n  {%- if true +%}\n  y\n  {%- endif %}\n{% endfor %}",
        "a {%- raw %}\n b {% endraw -%} \n c",
        "\u00a0{%- set x = 1 -%}\u00a0\u2003y",
    ]
    for text in extra:
        yield "several lines", text


def main():
    rows, seen = [], set()
    for group, source in snippets():
        if source in seen:
            continue
        seen.add(source)
        row = {"group": group, "source": source}
        try:
            row["text"] = _compile_jinja_template(source).render(**VARIABLES)
        except Exception as error:  # noqa: BLE001
            row["error"] = type(error).__name__
            row["message"] = str(error)
            line = getattr(error, "lineno", None)
            if line is None:
                trace = error.__traceback__
                while trace is not None:
                    if trace.tb_frame.f_code.co_filename == "<template>":
                        line = trace.tb_lineno
                    trace = trace.tb_next
            row["line"] = line
        rows.append(row)
    out = pathlib.Path(__file__).parent / "jinja"
    out.mkdir(exist_ok=True)
    with open(out / "snippets.json", "w", encoding="utf-8") as file:
        file.write('{"variables": ' + json.dumps(VARIABLES, ensure_ascii=True) + ',\n"rows": [\n')
        file.write(",\n".join(json.dumps(row, ensure_ascii=True) for row in rows))
        file.write("\n]}\n")
    print(len(rows), "templates,", sum("error" in row for row in rows), "of them errors")


if __name__ == "__main__":
    main()
