"""The table of facts about frameworks: what marks one, its command, where its output goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What marks a framework, and where its output goes, most likely first.

    A `*` in an output stands for one part of the path.
    """

    name: str
    packages: tuple[str, ...] = ()
    """A dependency on any of these marks it."""
    config: tuple[str, ...] = ()
    """So does a file whose name starts so."""
    outputs: tuple[str, ...] = ("dist",)
    scripts: tuple[str, ...] = ("build",)
    """The first of these that package.json has is executed."""
    command: str = ""
    """The framework's own command, where package.json has none of the scripts."""
    hint: str = ""
    """What to do when there is no output."""


FACTS: Final[tuple[Fact, ...]] = (
    # More special ones first: most of these bring Vite or webpack along.
    Fact(
        name="Next.js",
        packages=("next",),
        outputs=("out",),
        command="next build",
        hint="set `output: 'export'` in next.config, since only static files are published",
    ),
    Fact(
        name="Nuxt",
        packages=("nuxt", "nuxt3", "nuxt-edge"),
        outputs=(".output/public", "dist"),
        scripts=("generate", "build"),
        command="nuxt generate",
        hint="use `nuxt generate`, since only static files are published",
    ),
    Fact(
        name="SvelteKit",
        packages=("@sveltejs/kit",),
        outputs=("build", "dist"),
        command="vite build",
        hint="use @sveltejs/adapter-static, since only static files are published",
    ),
    Fact(name="Astro", packages=("astro",), config=("astro.config.",), command="astro build"),
    Fact(
        name="Docusaurus",
        packages=("@docusaurus/core",),
        outputs=("build",),
        command="docusaurus build",
    ),
    Fact(
        name="VitePress",
        packages=("vitepress",),
        outputs=("docs/.vitepress/dist", ".vitepress/dist", "*/.vitepress/dist"),
        scripts=("build", "docs:build"),
    ),
    Fact(
        name="VuePress",
        packages=("vuepress",),
        outputs=("docs/.vuepress/dist", ".vuepress/dist", "*/.vuepress/dist"),
        scripts=("build", "docs:build"),
    ),
    Fact(name="Gatsby", packages=("gatsby",), outputs=("public",), command="gatsby build"),
    Fact(
        name="Angular",
        packages=("@angular/cli", "@angular/build", "@angular-devkit/build-angular"),
        outputs=("dist/*/browser", "dist/*", "dist"),
        command="ng build",
    ),
    Fact(
        name="Eleventy",
        packages=("@11ty/eleventy",),
        config=(".eleventy.js", "eleventy.config."),
        outputs=("_site", "dist", "public", "build"),
        command="eleventy",
    ),
    Fact(
        name="Create React App",
        packages=("react-scripts",),
        outputs=("build",),
        command="react-scripts build",
    ),
    Fact(name="Vue CLI", packages=("@vue/cli-service",), command="vue-cli-service build"),
    Fact(name="Preact CLI", packages=("preact-cli",), outputs=("build",)),
    Fact(name="Hexo", packages=("hexo",), outputs=("public",), command="hexo generate"),
    Fact(name="Gridsome", packages=("gridsome",), command="gridsome build"),
    Fact(name="Ember", packages=("ember-cli",), command="ember build --environment production"),
    Fact(name="Stencil", packages=("@stencil/core",), outputs=("www", "dist")),
    Fact(name="Ionic", packages=("@ionic/angular-toolkit",), outputs=("www",)),
    Fact(name="Elder.js", packages=("@elderjs/elderjs",), outputs=("public",)),
    Fact(name="Metalsmith", packages=("metalsmith",), outputs=("build", "public", "dist")),
    Fact(
        name="Storybook",
        packages=("storybook",),
        outputs=("storybook-static",),
        scripts=("build-storybook",),
    ),
    Fact(
        name="Vite",
        packages=("vite",),
        config=("vite.config.",),
        outputs=("dist", "build", "public"),
        command="vite build",
    ),
    Fact(name="Parcel", packages=("parcel", "parcel-bundler"), outputs=("dist", "build")),
    Fact(name="Snowpack", packages=("snowpack",), outputs=("build", "dist")),
    Fact(
        name="webpack",
        packages=("webpack", "webpack-cli"),
        config=("webpack.config.",),
        outputs=("dist", "build", "public"),
    ),
    Fact(name="Rollup", packages=("rollup",), outputs=("dist", "public", "build")),
    Fact(name="esbuild", packages=("esbuild",), outputs=("dist", "public", "build", "out", "www")),
)
SCRIPT: Final = Fact(
    name="npm script",
    outputs=("dist", "build", "public", "out", "_site", "www", "site", ".output/public"),
)
"""A `build` script and nothing that says of what."""
COMMAND: Final = Fact(name="Command", outputs=SCRIPT.outputs)
"""A command of the repository's own file, likewise."""
