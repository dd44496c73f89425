#!/usr/bin/env python3
"""Checks README.md and docs/: lengths, links, file names, CMake options, and that every snippet compiles or parses.

usage: check_docs.py SOURCE_DIR text
       check_docs.py SOURCE_DIR snippets WORK_DIR CMAKE GENERATOR COMPILER INCLUDE_DIR...
"""
import pathlib
import re
import shutil
import subprocess
import sys

LANGUAGES = {"bash", "cmake", "cpp", "text"}
failures = []


def fail(page, line, message):
    failures.append(f"{page}:{line}: {message}")


def pages(root):
    return [root / "README.md", root / "CONTRIBUTING.md", root / "CHANGELOG.md", root / "examples/research/README.md",
            *sorted((root / "docs").rglob("*.md"))]


def blocks(page):
    """The code blocks of a page: language, line number, text."""
    language, begin, lines = None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif language is None:
            language, begin, lines = line[3:], number + 1, []
        else:
            yield language, begin, "\n".join(lines) + "\n"
            language = None


def check_prose(page, name, known_options, files):
    code = False
    lines = page.read_text().splitlines()
    if name == "README.md" and len(lines) > 120:
        fail(name, 121, f"{len(lines)} lines, at most 120 are wanted")
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            if not code and line[3:] not in LANGUAGES:
                fail(name, number, f"a code block is one of {sorted(LANGUAGES)}, not '{line[3:]}'")
            code = not code
        exempt = name != "README.md" and (code or line.startswith("|") or re.fullmatch(r"\s*`[^`]*`\.?", line))
        if len(line) > 120 and not exempt:
            fail(name, number, f"{len(line)} columns, at most 120 are wanted")
        for option in re.findall(r"-D(QWEN3VL_\w+)", line):
            if option not in known_options:
                fail(name, number, f"there is no option {option}")
        if code:
            continue
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", line) + re.findall(r'src="([^"]+)"', line):
            if not re.match(r"\w+:", link) and not (page.parent / link).exists():
                fail(name, number, f"{link} does not exist")
        for path in re.findall(r"`(?:\./)?((?:[\w.-]+/)*[\w-]+\.(?:hpp|cuh|cpp|cu|h|cmake|sh|py))`", line):
            if name != "CHANGELOG.md" and not any(("/" + file).endswith("/" + path) for file in files):
                fail(name, number, f"there is no {path}")


def check_text(root):
    sources = subprocess.run(["git", "-C", root, "ls-files"], capture_output=True, text=True).stdout.split()
    if not sources:  # not a clone
        sources = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    options = set()
    for file in sources:
        if file.endswith(("CMakeLists.txt", ".cmake")):
            options.update(re.findall(r"QWEN3VL_\w+", (root / file).read_text()))
    for page in pages(root):
        check_prose(page, str(page.relative_to(root)), options, sources)


def run(name, line, command, **options):
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode != 0:
        fail(name, line, "the snippet fails:\n" + result.stdout[-2000:] + result.stderr[-4000:])


def check_snippets(root, work, cmake, generator, compiler, *includes):
    work = pathlib.Path(work)
    shutil.rmtree(work, ignore_errors=True)
    headers = [f"-I{root / 'include'}", *(f"-isystem{folder}" for folder in includes if folder != "/usr/include")]
    for page in pages(root):
        name = str(page.relative_to(root))
        for language, line, text in blocks(page):
            folder = work / f"{page.stem}-{line}"
            if language == "bash":
                run(name, line, ["bash", "-n"], input=text)
            elif language == "cmake":
                # In a project beside a clone, with the config.json and the program that the snippet names.
                folder.mkdir(parents=True)
                (folder / "qwen3vl").symlink_to(root)
                (folder / "main.cpp").write_text("int main() {}\n")
                config = folder / "path/to/config.json"
                config.parent.mkdir(parents=True)
                shutil.copy(root / "examples/assets/tiny-shapes/config.json", config)
                if "project(" not in text:
                    text = ("cmake_minimum_required(VERSION 3.22)\nproject(snippet LANGUAGES CXX)\n"
                            "add_subdirectory(qwen3vl)\n" + text)
                (folder / "CMakeLists.txt").write_text(text)
                run(name, line, [cmake, "-S", folder, "-B", folder / "build", "-G", generator,
                                 f"-DCMAKE_CXX_COMPILER={compiler}", "-DQWEN3VL_CUDA=OFF"])
                headers += [f"-I{path}" for path in (folder / "build").glob("qwen3vl_variants/*")]
    for page in pages(root):  # after CMake has written the headers of variants
        name = str(page.relative_to(root))
        for language, line, text in blocks(page):
            if language == "cpp":
                run(name, line, [compiler, "-std=c++20", "-fopenmp", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                                 "-Wno-unused-variable", *headers, "-x", "c++", "-"], input=text)


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    if sys.argv[2] == "text":
        check_text(root)
    else:
        check_snippets(root, *sys.argv[3:])
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
