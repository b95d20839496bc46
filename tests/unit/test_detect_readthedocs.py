"""What a .readthedocs.yaml decides, as people write it."""

from __future__ import annotations

import pytest

from tests.detecting import plan

FILE = ".readthedocs.yaml"
CONF = "project = 'x'\nextensions = []\n"
OUTPUT = 'export READTHEDOCS_OUTPUT="$PWD/_readthedocs" && mkdir -p "$READTHEDOCS_OUTPUT" && '


@pytest.mark.parametrize(
    ("install", "steps"),
    [
        ("    - requirements: docs/r.txt\n", "uv pip install -r docs/r.txt"),
        ("  - requirements: ./docs/r.txt  # pinned\n", "uv pip install -r ./docs/r.txt"),
        ("    - method: pip\n      path: .\n", "uv pip install ."),
        (
            (
                "    - method: pip\n      path: .\n      extra_requirements:\n        - docs\n"
                "        - test_all\n    - requirements: 'docs/r.txt'\n"
            ),
            "uv pip install '.[docs,test_all]' && uv pip install -r docs/r.txt",
        ),
        (
            "    - path: lib/core\n      method: pip\n      extra_requirements: [docs, 'a-b']\n",
            "uv pip install 'lib/core[docs,a-b]'",
        ),
        (
            (
                "    - path: .\n      extra_requirements:\n      - docs\n\n    # more\n"
                '    - path: "lib"\n'
            ),
            "uv pip install '.[docs]' && uv pip install lib",
        ),
    ],
)
def test_packages_are_installed_in_the_order_in_which_they_are_asked_for(
    install: str, steps: str
) -> None:
    text = f"version: 2\npython:\n  install:\n{install}sphinx:\n  configuration: docs/conf.py\n"
    found = plan({FILE: text, "docs/conf.py": CONF, "docs/r.txt": "sphinx\n"})
    assert f" && {steps}" in found.install
    assert found.install_at == ""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("\n    - pip install sphinx\n    - sphinx-build docs x\n",
         "(pip install sphinx) && (sphinx-build docs x)"),
        ("\n  - pip install sphinx # the newest\n", "(pip install sphinx)"),
        ('\n    - "echo \\"a # b\\""\n', '(echo "a # b"\n)'),
        ("\n    - 'it''s'\n", "(it's)"),
        ("\n    - |\n      cd docs\n      make html\n", "(cd docs\nmake html\n)"),
        ("\n    - >-\n      sphinx-build\n      docs x\n", "(sphinx-build docs x)"),
        ("\n    - sphinx-build\n      docs x\n", "(sphinx-build docs x)"),
        ("\n    - asdf plugin add uv\n    - asdf global uv latest\n    - uv run x\n", "(uv run x)"),
    ],
)  # fmt: skip
def test_commands_are_the_build_each_in_a_shell_of_its_own(written: str, meant: str) -> None:
    found = plan({FILE: f"build:\n  os: u\n  commands:{written}", "docs/conf.py": CONF})
    assert found.command == OUTPUT + meant
    assert found.outputs == ("_readthedocs/html",)
    assert found.install.startswith("uv venv --seed ")
    assert "the commands of .readthedocs.yaml are the build" in found.notes


def test_commands_work_at_the_top_wherever_the_configuration_lies() -> None:
    text = "mkdocs:\n  configuration: docs/mkdocs.yml\nbuild:\n  commands:\n    - make\n"
    found = plan({FILE: text, "docs/mkdocs.yml": "site_name: x\n", "docs/requirements.txt": ""})
    assert (found.root, found.install_at, found.command) == ("", "", f"{OUTPUT}(make)")


def test_a_command_of_pushlane_toml_goes_before_theirs() -> None:
    files = {FILE: "build:\n  commands:\n    - make\n", "docs/conf.py": CONF}
    found = plan(files, '[build]\ncommand = "sphinx-build docs _site"')
    assert (found.command, found.outputs) == ("sphinx-build docs _site", ("_site",))
    assert plan(files, '[build]\noutput = "x"').outputs == ("x",)


@pytest.mark.parametrize("version", ["'20'", "20", '"20"  # with npm'])
def test_node_is_there_where_it_is_asked_for(version: str) -> None:
    text = f"build:\n  tools:\n    python: '3.12'\n    nodejs: {version}\n"
    found = plan({FILE: text, "docs/conf.py": CONF})
    assert [(each.name, each.version) for each in found.tools] == [
        ("python", "3.12"),
        ("uv", ""),
        ("node", "20"),
    ]
    assert found.tools[-1].why == FILE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("build:\n  jobs:\n    post_install:\n      - pip install .\n", "`build.jobs`"),
        ("build:\n  apt_packages:\n    - graphviz\n", "`build.apt_packages`"),
        ("build:\n  apt_packages: [graphviz]\n", "`build.apt_packages`"),
        ("conda:\n  environment: environment.yml\n", "`conda`"),
        ("sphinx:\n  configuration: docs/conf.py\n  fail_on_warning: true\n", "fail_on_warning"),
    ],
)
def test_what_is_not_followed_is_a_line_of_the_log(text: str, words: str) -> None:
    notes = plan({FILE: text, "docs/conf.py": CONF}).notes
    assert [note for note in notes if words in note and FILE in note]


@pytest.mark.parametrize(
    "text",
    [
        "sphinx:\n  fail_on_warning: false\nbuild:\n  apt_packages: []\n",
        "# build:\n#   jobs:\n#     - x\nversion: 2\n",
        "\x00: - [",
        "",
    ],
)
def test_what_is_not_asked_for_is_not_told_of(text: str) -> None:
    found = plan({FILE: text, "docs/conf.py": CONF, "docs/requirements.txt": "sphinx"})
    assert found.notes == ()
    assert found.command == "sphinx-build -b html docs _site"


def test_sphinx_is_found_by_its_configuration_and_built_by_its_builder() -> None:
    text = "sphinx:\n  builder: dirhtml\n  configuration: manual/en/conf.py\n"
    found = plan({FILE: text, "manual/en/conf.py": CONF})
    assert found.command == "sphinx-build -b dirhtml manual/en _site"


def test_a_configuration_of_mkdocs_may_bear_any_name() -> None:
    text = "mkdocs:\n  configuration: mkdocs.public.yml\n"
    found = plan({FILE: text, "mkdocs.public.yml": "theme: material\n", "mkdocs.yml": ""})
    assert found.command == "mkdocs build --site-dir site --config-file mkdocs.public.yml"
    assert "mkdocs-material" in found.install
    below = "mkdocs:\n  configuration: docs/mkdocs.yml\n"
    found = plan({FILE: below, "docs/mkdocs.yml": "site_name: x\n"})
    assert (found.root, found.command) == ("docs", "mkdocs build --site-dir site")


def test_the_file_that_names_the_configuration_says_what_to_install() -> None:
    text = (
        "mkdocs:\n  configuration: docs/mkdocs.yml\n"
        "python:\n  install:\n    - requirements: tools/pins.txt\n"
    )
    found = plan(
        {
            FILE: text,
            "docs/mkdocs.yml": "site_name: x\n",
            "docs/requirements.txt": "",
            "tools/pins.txt": "mkdocs",
        }
    )
    assert found.install.endswith("uv pip install -r tools/pins.txt")
    assert (found.install_at, found.root) == ("", "docs")
